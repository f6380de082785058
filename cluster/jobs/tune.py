"""``ray submit ray_cluster.yaml cluster/jobs/tune.py --config sweep.yaml``."""

import sys

from radiotrain.cli import main

sys.argv[1:1] = ["tune"]
main()
