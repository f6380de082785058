"""``ray submit ray_cluster.yaml cluster/jobs/evaluate.py s3://…/runs/er --out s3://…/report``."""

import sys

from radiotrain.cli import main

sys.argv[1:1] = ["evaluate"]
main()
