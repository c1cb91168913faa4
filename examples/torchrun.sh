#!/bin/bash
# Train on one machine with several GPUs, or on several machines. Run it on each of them with the same flags:
#
#   NODES=2 MAIN=10.0.0.1 examples/torchrun.sh finetune --data /shared/photos --output /shared/runs/mine
#
# MAIN is the address of one of them. Data and output must be on a file system that all of them share.
set -euo pipefail
export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 # otherwise, restarted processes find stale addresses
exec torchrun \
    --nnodes "${NODES:-1}" --nproc-per-node "${PROCESSES:-gpu}" --max-restarts "${RESTARTS:-3}" \
    --rdzv-backend c10d --rdzv-id cascade-rcnn --rdzv-endpoint "${MAIN:-localhost}:${PORT:-29500}" \
    -m cascade_rcnn train "$@" --resume auto
