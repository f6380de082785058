#!/bin/bash
# sbatch cluster/slurm.sh tune --config sweep.yaml
# sbatch cluster/slurm.sh train --backend ray --workers 4 --config run.yaml
#
# A Ray cluster on the nodes of one job, for one command of radiotrain; it ends with the command. Run
# in the project's folder, on a file system that all nodes share, with its environment in .venv.
# It was checked as bash; a Slurm to try it on was not at hand.

#SBATCH --job-name=radiotrain
#SBATCH --nodes=2
# One Ray a node; it starts the workers itself.
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --mem=64G
#SBATCH --time=24:00:00
# Begun again when a node fails: sweeps and trainings go on from their folders.
#SBATCH --requeue

set -euo pipefail

# Of this job alone: others on the same network may neither join nor run anything.
RAY_AUTH_TOKEN=$(openssl rand -hex 32)
export RAY_AUTH_TOKEN RAY_AUTH_MODE=token
export RAY_USAGE_STATS_ENABLED=0 NCCL_DEBUG=WARN
# Sockets' names have 107 bytes at most, and batch systems like long folders.
export TMPDIR=/tmp
export PATH="$PWD/.venv/bin:$PATH"

# awk reads to the end: a reader that leaves earlier would end this script by its pipe.
head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | awk 'NR == 1')
address=$(getent ahostsv4 "$head" | awk 'NR == 1 { print $1 }')
# Two jobs may share a node.
port=$((20000 + SLURM_JOB_ID % 10000))
export RAY_ADDRESS="$address:$port"

# Begins Ray on all nodes and the command on the first, and ends Ray afterwards. The object store is
# kept small, since it shares /dev/shm with the cohort.
srun --kill-on-bad-exit=1 ray symmetric-run --address "$RAY_ADDRESS" \
  --min-nodes "$SLURM_JOB_NUM_NODES" --num-cpus "$SLURM_CPUS_PER_TASK" \
  --object-store-memory 1000000000 -- radiotrain "$@"
