"""The errors of torch that end a training run, turned into one line that says what to do."""

from collections.abc import Iterator
from contextlib import contextmanager

from lightning_fabric import Fabric

from cascade_rcnn.engine.interrupt import Interrupted
from cascade_rcnn.engine.training import processes
from cascade_rcnn.engine.training.lost import is_lost_contact, report_lost
from cascade_rcnn.errors import UserError, is_out_of_memory, reason
from cascade_rcnn.recipes import Recipe


@contextmanager
def explained(recipe: Recipe, fabric: Fabric) -> Iterator[None]:
    """Raise UserError for full memory, a missing operator, too small a batch or a lost process inside the block."""
    try:
        yield
    except (UserError, Interrupted):
        processes.wait_for_first()
        raise
    except (RuntimeError, TypeError, ValueError) as error:
        if is_out_of_memory(error):
            raise _too_large(recipe, error) from error
        if (known := missing_operator(error) or lone_value(error)) is not None:
            raise known from error
        if isinstance(error, RuntimeError) and fabric.world_size > 1 and is_lost_contact(error):
            raise report_lost(error, fabric.global_rank, fabric.world_size) from None
        raise


def _too_large(recipe: Recipe, error: Exception) -> UserError:
    """Return one line on memory that is full in the middle of a run, with torch's reason."""
    again = "" if recipe.options.checkpointing else ", or --options.checkpointing"
    way = f"smaller images (--options.min-size){again}"
    if recipe.batch_size > 1:
        half = max(size for size in range(1, recipe.batch_size) if recipe.batch_size % size == 0)
        accumulate = recipe.accumulate * (recipe.batch_size // half)
        way = f"--batch-size {half} --accumulate {accumulate}, for updates of as many images, or {way}"
    return UserError(f"out of memory ({reason(error).partition('. Tried')[0][:120]}); start a new run with {way}")


def lone_value(error: Exception) -> UserError | None:
    """Return a UserError if torch's error is that a batch is too small to normalise, else None."""
    if "more than 1 value per channel" not in str(error):
        return None
    return UserError(
        "batch normalisation cannot be trained on a single image where a map has only one pixel, as of small images or "
        "in some networks' channel attention; give --batch-size 2 or more, or keep the statistics with "
        "--options.backbone-norm affine"
    )


def missing_operator(error: Exception) -> UserError | None:
    """Return a UserError if torch's error is that Apple's GPU lacks an operator or a type, else None."""
    text = reason(error)
    if "MPS" not in text or not isinstance(error, NotImplementedError | TypeError):
        return None
    advice = "choose --accelerator cpu"
    if isinstance(error, NotImplementedError):
        advice = f"set PYTORCH_ENABLE_MPS_FALLBACK=1 to run missing operators on the CPU, or {advice}"
    return UserError(f"Apple's GPU cannot run this model with this version of torch ({text[:120]}); {advice}")
