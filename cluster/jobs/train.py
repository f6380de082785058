"""``ray submit ray_cluster.yaml cluster/jobs/train.py --config run.yaml --workers 8``."""

import sys

from radiotrain.cli import main

sys.argv[1:1] = ["train", "--backend", "ray"]
main()
