#!/bin/bash
# Training on one machine with several GPUs, or on several machines. On each of them, with the same flags:
#
#   NODES=2 MAIN=10.0.0.1 examples/torchrun.sh finetune --data /shared/photos --output /shared/runs/mine
#
# MAIN is the address of one of them. Data and output are on a file system that all of them see.
set -euo pipefail
export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 # or a restart finds the addresses of the processes before it
exec torchrun \
    --nnodes "${NODES:-1}" --nproc-per-node "${PROCESSES:-gpu}" --max-restarts "${RESTARTS:-3}" \
    --rdzv-backend c10d --rdzv-id cascade-rcnn --rdzv-endpoint "${MAIN:-localhost}:${PORT:-29500}" \
    -m cascade_rcnn train "$@" --resume auto
