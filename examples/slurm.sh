#!/bin/bash
# Training on Slurm: sbatch examples/slurm.sh finetune --data /shared/photos --output /shared/runs/mine
#
# One task a node, which starts a process per GPU. After a failure, a requeue or a second sbatch, the training continues
# from the last saved state.
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
export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 # or a restart finds the addresses of the processes before it
# source /shared/venv/bin/activate
main=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
exec srun torchrun \
    --nnodes "$SLURM_JOB_NUM_NODES" --nproc-per-node "${SLURM_GPUS_ON_NODE:-1}" --max-restarts 3 \
    --rdzv-backend c10d --rdzv-id "$SLURM_JOB_ID" --rdzv-endpoint "$main:29500" \
    -m cascade_rcnn train "$@" --resume auto
