"""``ray submit ray_cluster.yaml cluster/jobs/preprocess.py s3://…/Duke s3://…/duke.zarr``."""

import sys

from radiotrain.cli import main

sys.argv[1:1] = ["preprocess", "--backend", "ray"]
main()
