"""The metadata of an exported file, stored as JSON in the metadata field of its format."""

from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from cascade_rcnn.config import ModelConfig
from cascade_rcnn.config.checks import MOST, check
from cascade_rcnn.config.migrations import FORMAT, migrate
from cascade_rcnn.errors import UserError

KEY = "cascade_rcnn"
WEIGHTS = "cascade_rcnn_weights"  # of OpenVINO: the digest of the weights, which are in a file of their own

ExportPrecision = Literal["fp32", "fp16", "int8"]


@dataclass(frozen=True, kw_only=True)
class Description:
    """The config of an exported model, and the shape of its input `images` (B, 3, H, W)."""

    config: ModelConfig
    precision: ExportPrecision = "fp32"
    divisor: int = 32  # H and W are multiples of it
    size: tuple[int, int] | None = None  # fixed H, W, into which one image at a time is fitted; None: any B, H, W

    def __post_init__(self) -> None:
        """Raise UserError for a divisor or size that no image can have."""
        check(self, divisor=(1, 1024), size=(1, MOST))

    def to_json(self) -> str:
        """Return the description as JSON."""
        return msgspec.json.encode({"format": FORMAT, **msgspec.to_builtins(self)}).decode()

    @classmethod
    def from_json(cls, text: str | bytes | None, path: object) -> "Description":
        """Invert `to_json`. Raises UserError naming the file."""
        if not text:
            raise UserError(f"{path}: not exported by cascade-rcnn (it has no description); create it with `export`")
        try:
            given = msgspec.json.decode(text, type=dict[str, Any])
            given["config"] = migrate(given["config"], given.pop("format", 1))
            return msgspec.convert(given, cls)
        except UserError as error:
            raise UserError(f"{path}: {error}") from None
        except (msgspec.MsgspecError, KeyError, TypeError) as error:
            raise UserError(
                f"{path}: its description does not fit this version of cascade-rcnn ({error}); export it again"
            ) from None
