"""Launch of training processes, and the lock on their output folder."""

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.plugins.precision import MixedPrecision, Precision

from cascade_rcnn.arguments import as_path
from cascade_rcnn.engine.training import processes
from cascade_rcnn.engine.training.lost import is_lost_contact
from cascade_rcnn.engine.training.settings import check_numbers
from cascade_rcnn.engine.training.state import FILES, STATE, holds_state
from cascade_rcnn.errors import UserError, reason
from cascade_rcnn.files import remove_leftovers
from cascade_rcnn.locks import locked
from cascade_rcnn.outputs import check_apart, check_owned
from cascade_rcnn.recipes import Recipe


class Autocast(MixedPrecision):
    """Mixed precision by autocast alone: Lightning's own also rounds inputs, and with them the boxes to learn from."""

    def convert_input(self, data: Any) -> Any:
        """Return the input as it is: in bf16, a coordinate of 500 pixels could be wrong by one."""
        return data


def launch(recipe: Recipe) -> Fabric:
    """Start the processes, or join those of torchrun. Raises UserError for what this machine does not support."""
    check_numbers(recipe)
    kind = _kind(recipe)
    gpu = kind == "cuda"
    devices = processes.on_this_machine(recipe.devices)
    if gpu and devices > torch.cuda.device_count():
        raise UserError(f"devices is {devices}, but there are {torch.cuda.device_count()} GPUs; give at most that many")
    externally = processes.are_started_externally()
    most = max(2, os.cpu_count() or 1)  # on one core, two processes are good for a trial
    if kind == "cpu" and not externally and devices > most:
        raise UserError(f"devices is {devices}; give at most {most} on the CPU of this machine")
    if devices > 1:
        logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # otherwise it prints six lines
        warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")  # of 1x1 kernels
    if kind == "mps" and devices > 1:
        raise UserError(f"devices is {devices}, but only one Apple GPU is supported; give 1")
    precision = _native_precision(kind) if recipe.precision == "auto" else recipe.precision
    nodes = processes.of_the_run(recipe.devices) // devices
    fabric = Fabric(
        accelerator=kind,
        devices=devices,
        num_nodes=nodes,
        strategy="ddp" if devices * nodes > 1 else "auto",
        plugins=[
            _arithmetic(precision, kind),
            *([] if externally else [LightningEnvironment()]),  # not Slurm's: srun has not started this process
        ],
    )
    if (cluster := getattr(fabric.strategy, "cluster_environment", None)) is not None:
        processes.start(devices, externally=cluster.creates_processes_externally)
    _connect(fabric)
    return fabric


def _arithmetic(precision: str, kind: str) -> Precision:
    match precision:
        case "bf16":
            return Autocast("bf16-mixed", kind)
        case "fp16":
            return Autocast("16-mixed", kind)
        case _:
            return Precision()


def _connect(fabric: Fabric) -> None:
    try:
        fabric.launch()
    except RuntimeError as error:
        if not is_lost_contact(error):
            raise
        advice = "check the address, and that all machines can reach each other"
        if os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") != "0":  # see pytorch/pytorch#135712
            advice = "start torchrun with TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 in its environment, or it cannot restart"
        raise UserError(f"the processes of this training run cannot connect ({reason(error)}); {advice}") from None


def _kind(recipe: Recipe) -> Literal["cpu", "cuda", "mps"]:
    """Return the type of device to train on; Apple's GPU only on request, as it lacks operators (and autocast)."""
    gpu = torch.cuda.is_available() and recipe.accelerator in ("auto", "cuda")
    if recipe.accelerator == "cuda" and not gpu:
        raise UserError("accelerator cuda: torch sees no GPU here; choose cpu, or run `cascade-rcnn doctor`")
    if recipe.accelerator == "mps" and not torch.backends.mps.is_available():
        raise UserError("accelerator mps: torch sees no Apple GPU here (macOS 14 or newer); choose cpu or auto")
    if recipe.accelerator == "mps" and recipe.precision not in ("auto", "fp32"):
        raise UserError(f"precision {recipe.precision} is not supported on Apple's GPU; choose fp32")
    if recipe.precision == "fp16" and not gpu:
        raise UserError("precision fp16 needs a GPU; choose bf16 or fp32 on a CPU")
    return "cuda" if gpu else "mps" if recipe.accelerator == "mps" else "cpu"


def _native_precision(kind: Literal["cpu", "cuda", "mps"]) -> str:
    """Return bf16 if the hardware supports it natively, else fp32."""
    if kind == "mps":
        return "fp32"
    if kind == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    known = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    wide = torch.backends.cpu.get_cpu_capability().startswith("AVX512")  # as used by torch, not as available
    names = ("avx512_bf16", "amx_bf16", "amx_tile") if wide else ("bf16",)
    return "bf16" if any(known.get(name) for name in names) else "fp32"


@contextmanager
def claim(recipe: Recipe, fabric: Fabric, *, resume: bool) -> Iterator[None]:
    """Lock the output folder inside the block.

    Raises UserError if another process holds it, if there is no run to `resume`, or if it contains a run that is not to
    be resumed, files that a new run would replace but no run has written, or the data or weights to start from.
    """
    output = as_path("output", recipe.output)
    if resume and not holds_state(output):
        raise UserError(f"{output / STATE}: there is no training run to resume; omit --resume")
    fabric.barrier()
    with ExitStack() as stack:
        refusal = ""
        if fabric.is_global_zero:
            try:
                stack.enter_context(locked(output))
                if not resume:
                    _check_new(recipe, output)
                remove_leftovers(output)
            except UserError as error:
                refusal = str(error)
        refusal = fabric.broadcast(refusal)
        if refusal:
            raise UserError(refusal)
        yield


def _check_new(recipe: Recipe, output: Path) -> None:
    if holds_state(output):
        raise UserError(f"{output}: contains a training run; add --resume to continue it, or choose another --output")
    check_owned(output, FILES, record="recipe.json")
    inputs = (recipe.init, recipe.weights_backbone, recipe.data.train, recipe.data.val)
    check_apart([output / name for name in FILES], inputs)
