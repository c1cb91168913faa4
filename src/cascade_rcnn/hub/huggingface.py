"""Download and upload checkpoints on the Hugging Face Hub, `hf://owner/name`. Needs the extra `hub`."""

import re
import tempfile
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from cascade_rcnn.errors import UserError, reason
from cascade_rcnn.extras import needs
from cascade_rcnn.hub.cache import is_offline

if TYPE_CHECKING:
    from cascade_rcnn.models.detector import Detector

FILE = "model.safetensors"
# Path collapses two slashes to one. As in the Hub's library, %2F is the slash of a branch, except in these references.
_ADDRESS = re.compile(r"hf:/{1,2}([\w.-]+/[\w.-]+)(?:@(refs/(?:pr|convert)/[\w.-]+|[\w.%-]+))?(?:/(.+))?")
_CARD = """---
library_name: cascade-rcnn
pipeline_tag: object-detection
---
# {name}

A {architecture} with {classes} classes for the Python package cascade-rcnn:

```python
import cascade_rcnn

model = cascade_rcnn.load("hf://{name}")
detections = model.predict("photo.jpg")
```
"""


def is_address(text: str) -> bool:
    """Return whether the text starts like `hf://`."""
    return text.startswith("hf:/")


def fetch(address: str) -> Path:
    """Download hf://owner/name[@revision][/file] (default: model.safetensors) to the cache of the Hub's library.

    A slash in the revision, as in the branch feature/x, is written as %2F.
    Raises UserError if it does not exist or cannot be reached.
    """
    found = _ADDRESS.fullmatch(address)
    if found is None:
        raise UserError(f"{address}: not an address on the Hub; give hf://owner/name or hf://owner/name@revision/file")
    repository, revision, file = found[1], found[2] and unquote(found[2]), found[3] or FILE
    hub = _library()
    try:
        return Path(hub.hf_hub_download(repository, file, revision=revision, local_files_only=is_offline()))
    except Exception as error:  # noqa: BLE001  (the library's HTTP client varies)
        at = "" if revision is None else f"@{found[2]}"
        raise _failed(f"hf://{repository}{at}/{file}", error) from None


def push_to_hub(model: "Detector | str | Path", repository: str, *, private: bool = False) -> str:
    """Upload a detector or checkpoint file to `owner/name` on the Hub, which is created if needed.

    A model card is written if there is none. Returns the address to pass to `load`. Raises UserError if the upload
    fails; log in with `hf auth login`.

    >>> push_to_hub("starter", "me/people")  # doctest: +SKIP
    'hf://me/people'
    """
    from cascade_rcnn.models.checkpoint import load, save

    hub = _library()
    detector = load(model) if isinstance(model, str | Path) else model
    with tempfile.TemporaryDirectory() as folder:
        save(detector, Path(folder) / FILE)
        try:
            api = hub.HfApi()
            api.create_repo(repository, private=private, exist_ok=True)
            if not api.file_exists(repository, "README.md"):
                (Path(folder) / "README.md").write_text(_card(repository, detector), encoding="utf-8")
            api.upload_folder(repo_id=repository, folder_path=folder, commit_message=f"Add a {detector.config.name}")
        except Exception as error:  # noqa: BLE001  (the library's HTTP client varies)
            raise _failed(repository, error) from None
    return f"hf://{repository}"


def _card(repository: str, detector: "Detector") -> str:
    return _CARD.format(name=repository, architecture=detector.config.name, classes=detector.config.num_classes)


def _library() -> Any:
    needs("the Hub", "hub", "huggingface_hub")
    return import_module("huggingface_hub")


def _failed(what: str, error: Exception) -> UserError:
    return UserError(f"{what}: {reason(error)}; check the name, the network and `hf auth whoami`")
