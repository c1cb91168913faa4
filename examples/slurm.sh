#!/bin/bash
# Train on Slurm: sbatch examples/slurm.sh finetune --data /shared/photos --output /shared/runs/mine
#
# Runs one task per node, which starts one process per GPU. After a failure, a requeue or another sbatch, training
# continues from its last saved state.
#SBATCH --job-name=cascade-rcnn
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=32
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
set -euo pipefail
export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 # otherwise, restarted processes find stale addresses
# source /shared/venv/bin/activate
main=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
exec srun torchrun \
    --nnodes "$SLURM_JOB_NUM_NODES" --nproc-per-node "${SLURM_GPUS_ON_NODE:-1}" --max-restarts 3 \
    --rdzv-backend c10d --rdzv-id "$SLURM_JOB_ID" --rdzv-endpoint "$main:29500" \
    -m cascade_rcnn train "$@" --resume auto
