"""Ray datasets of encoded images, from folders, Parquet files and WebDataset archives."""

from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import ray.data
from pyarrow import fs

from cascade_rcnn.errors import UserError, reason
from cascade_rcnn.images.decoding import EXTENSIONS
from cascade_rcnn.ray.storage import Place

_ENCODED = pa.schema([("path", pa.string()), ("bytes", pa.large_binary()), ("error", pa.string())])
_NAMES = ("path", "file_name", "filename", "key", "__key__")  # columns of Parquet files with the image's name
_IMAGES = ("bytes", "image", "img", "jpg")  # and with its content: bytes, or Hugging Face's struct of bytes and path


def read_images(source: str | Path, *, done: Collection[str] = (), block: int = 256) -> ray.data.Dataset:
    """Return a dataset of `path` (string), `bytes` (the encoded image) and `error` (why it cannot be read, or null).

    `source` is an image, a .parquet file, a .tar archive in WebDataset format, or a folder of one of these; either a
    local path, or an address that pyarrow or fsspec opens (s3://bucket/folder). `path` is relative to the folder, or
    the column path, file_name or key of a Parquet file, or the name of an archive's member. Images whose path is in
    `done` are left out. A block, which becomes a file of the output, has at most `block` images. Raises UserError if
    there is nothing to read, or if a folder mixes kinds.
    """
    place, known = Place(source), frozenset(done)
    if place.kind == fs.FileType.NotFound:
        raise UserError(f"{source}: no such file or folder; check the address")
    folder = place.kind == fs.FileType.Directory
    names = place.listing((*EXTENSIONS, ".parquet", ".tar")) if folder else [""]
    suffixes = {Path(name or place.path).suffix.lower() for name in names}
    if suffixes == {".parquet"}:
        return _rebatched(_parquet(place, names), known, block)
    if suffixes == {".tar"}:
        return _rebatched(_archives(place, names), known, block)
    if suffixes & {".parquet", ".tar"}:
        raise UserError(f"{source}: mixes {', '.join(sorted(suffixes))}; give images, Parquet files or archives alone")
    if not suffixes or not suffixes <= set(EXTENSIONS):
        raise UserError(f"{source}: contains no images, Parquet files or .tar archives; check the address")
    return _files(place, [name for name in names if (name or Path(place.path).name) not in known], block)


def _files(place: Place, names: list[str], block: int) -> ray.data.Dataset:
    paths = pa.table({"path": pa.array([name or Path(place.path).name for name in names], pa.string())})
    block = min(block, max(8, len(paths) // 16))  # enough blocks to keep all actors busy until the end
    blocks = [paths.slice(start, block) for start in range(0, len(paths), block)] or [paths]
    inner = place if place.kind == fs.FileType.Directory else _Alone(place)
    return ray.data.from_arrow(blocks).map_batches(_Read(inner), batch_format="pyarrow", batch_size=16)


class _Alone(NamedTuple):
    """A single file, to be read under any name."""

    place: Place

    def read(self, name: str) -> bytes:
        return self.place.read()


class _Read:
    """Reads the files of a batch; a file that cannot be read becomes a row with an error."""

    def __init__(self, place: Place | _Alone) -> None:
        self.place = place

    def __call__(self, batch: pa.Table) -> pa.Table:
        return pa.Table.from_pylist([self._one(path) for path in batch["path"].to_pylist()], schema=_ENCODED)

    def _one(self, path: str) -> dict[str, Any]:
        try:
            return {"path": path, "bytes": self.place.read(path), "error": None}
        except OSError as error:
            return {"path": path, "bytes": None, "error": f"{path}: {error.strerror or reason(error)}"}


def _parquet(place: Place, names: list[str]) -> ray.data.Dataset:
    rows = ray.data.read_parquet([place.join(name) for name in names], filesystem=place.files)
    columns = (rows.schema() or pa.schema([])).names
    name = next((column for column in _NAMES if column in columns), None)
    image = next((column for column in _IMAGES if column in columns), None)
    if name is None or image is None:
        raise UserError(
            f"{place.address}: has the columns {', '.join(columns)}; give the image as one of {', '.join(_IMAGES)} "
            f"and its name as one of {', '.join(_NAMES)}"
        )
    return rows.select_columns([name, image]).map_batches(_Columns(name, image), batch_format="pyarrow")


class _Columns:
    """Renames the columns of a Parquet file."""

    def __init__(self, name: str, image: str) -> None:
        self.name, self.image = name, image

    def __call__(self, batch: pa.Table) -> pa.Table:
        image = batch[self.image]
        if pa.types.is_struct(image.type):
            image = pa.chunked_array([chunk.field("bytes") for chunk in image.chunks])
        return pa.table({"path": batch[self.name].cast(pa.string()), "bytes": image.cast(pa.large_binary())})


def _archives(place: Place, names: list[str]) -> ray.data.Dataset:
    paths = [place.join(name) for name in names]
    kinds = [f"*{suffix}" for suffix in EXTENSIONS]
    rows = ray.data.read_webdataset(paths, filesystem=place.files, decoder=None, suffixes=kinds)
    return rows.map_batches(_member, batch_format="pyarrow")


def _member(batch: pa.Table) -> pa.Table:
    """Return the image of each sample in an archive, under its name there."""
    found = []
    for row in batch.to_pylist():
        kind, content = next(((k, v) for k, v in row.items() if v is not None and not k.startswith("__")), ("", None))
        error = None if content is not None else "no image in this sample"
        found.append({"path": f"{row['__key__']}.{kind}".rstrip("."), "bytes": content, "error": error})
    return pa.Table.from_pylist(found, schema=_ENCODED)


def _rebatched(images: ray.data.Dataset, done: frozenset[str], block: int) -> ray.data.Dataset:
    if done:
        images = images.map_batches(_Undone(done), batch_format="pyarrow")
    return images.repartition(target_num_rows_per_block=block)


class _Undone:
    """Drops the images processed by earlier runs."""

    def __init__(self, done: frozenset[str]) -> None:
        self.done = done

    def __call__(self, batch: pa.Table) -> pa.Table:
        return batch.filter(pa.array([path not in self.done for path in batch["path"].to_pylist()], pa.bool_()))
