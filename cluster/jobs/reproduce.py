"""``ray submit ray_cluster.yaml cluster/jobs/reproduce.py s3://…/Duke --out s3://…/duke``."""

import sys

from radiotrain.cli import main

sys.argv[1:1] = ["reproduce", "--backend", "ray"]
main()
