"""Ray datasets of encoded images, from folders, Parquet files and WebDataset archives."""

import tarfile
from collections.abc import Callable, Collection, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, Self

import pyarrow as pa
import pyarrow.parquet as pq
import ray.data
from pyarrow import fs

from cascade_rcnn.errors import UserError, reason
from cascade_rcnn.images.decoding import EXTENSIONS
from cascade_rcnn.ray.storage import Place

_ENCODED = pa.schema([("path", pa.string()), ("bytes", pa.large_binary()), ("error", pa.string())])
_NAMES = ("path", "file_name", "filename", "key", "__key__")  # columns of Parquet files with the image's name
_IMAGES = ("bytes", "image", "img", "jpg")  # and with its content: bytes, or Hugging Face's struct of bytes and path
_BUFFER = 2**20  # bytes of an archive read at once: each request to a server takes time


def read_images(source: str | Path, *, done: Collection[str] = (), block: int = 256) -> ray.data.Dataset:
    """Return a dataset of `path` (string), `bytes` (the encoded image) and `error` (why it cannot be read, or null).

    `source` is an image, a .parquet file, a .tar archive, such as those of WebDataset, or a folder of one of these;
    either a local path, or an address that pyarrow or fsspec opens (s3://bucket/folder). `path` is relative to the
    folder, or the column path, file_name or key of a Parquet file, or the name of an archive's member. Of a damaged
    Parquet file or archive, the images before the damage are read, and a row with its own name has the error. Images
    whose path is in `done` are left out. A block, which becomes a file of the output, has at most `block` images.
    Raises UserError if there is nothing to read, or if a folder mixes kinds.
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
        return _rebatched(_each(place, names, _members), known, block)
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
    columns = _columns(place, names)
    name = next((column for column in _NAMES if column in columns), None)
    image = next((column for column in _IMAGES if column in columns), None)
    if name is None or image is None:
        raise UserError(
            f"{place.address}: has the columns {', '.join(columns)}; give the image as one of {', '.join(_IMAGES)} "
            f"and its name as one of {', '.join(_NAMES)}"
        )
    return _each(place, names, _Rows(name, image))


def _columns(place: Place, names: list[str]) -> list[str]:
    """Return the columns of the first Parquet file that is not damaged. Raises UserError if all are."""
    problem = ""
    for name in names:
        try:
            return pq.read_schema(place.join(name), filesystem=place.files).names
        except (pa.ArrowInvalid, OSError) as error:
            problem = problem or f"{name} cannot be read as a Parquet file ({reason(error)})".lstrip()
    raise UserError(f"{place.address}: {problem}; replace it")


class _Rows:
    """Reads the images in a Parquet file."""

    def __init__(self, name: str, image: str) -> None:
        self.name, self.image = name, image

    def __call__(self, place: Place, name: str) -> Iterator[pa.Table]:
        with place.files.open_input_file(place.join(name)) as file:
            for rows in pq.ParquetFile(file).iter_batches(batch_size=16, columns=[self.name, self.image]):
                image = rows[self.image]
                image = image.field("bytes") if pa.types.is_struct(image.type) else image
                names, images = rows[self.name].cast(pa.string()), image.cast(pa.large_binary())
                own = name or Path(place.path).name
                unnamed = f"{own}: has an image without a name (null in {self.name}); give it one"
                errors = pa.array([unnamed if one is None else None for one in names.to_pylist()], pa.string())
                yield pa.table([names.fill_null(own), images, errors], schema=_ENCODED)


def _each(place: Place, names: list[str], images: Callable[[Place, str], Iterator[pa.Table]]) -> ray.data.Dataset:
    """Return the images in each of these files, which are read in parallel."""
    blocks = [pa.table({"name": [name]}) for name in names]
    return ray.data.from_arrow(blocks).map_batches(_Within(place, images), batch_format="pyarrow")


class _Within:
    """Reads the images in files; if one is damaged, those before the damage, and a row with an error for the rest."""

    def __init__(self, place: Place, images: Callable[[Place, str], Iterator[pa.Table]]) -> None:
        self.place, self.images = place, images

    def __call__(self, batch: pa.Table) -> Iterator[pa.Table]:
        yield _ENCODED.empty_table()  # so that the columns are known also if there are no images
        for name in batch["name"].to_pylist():
            try:
                yield from self.images(self.place, name)
            except Exception as error:  # noqa: BLE001  readers may raise anything on damaged files
                path = name or Path(self.place.path).name
                problem = f"{path}: cannot be read to its end ({reason(error)}); replace it"
                yield pa.Table.from_pylist([{"path": path, "bytes": None, "error": problem}], schema=_ENCODED)


def _members(place: Place, name: str) -> Iterator[pa.Table]:
    """Read the images in an archive one by one, so that memory does not grow with its size."""
    with (
        place.files.open_input_stream(place.join(name), buffer_size=_BUFFER) as stream,
        tarfile.open(fileobj=stream, mode="r|*", errors="replace", tarinfo=_Member) as archive,
    ):
        while member := archive.next():
            if _is_image(member) and (content := archive.extractfile(member)):
                row = {"path": member.name, "bytes": content.read(), "error": None}
                yield pa.Table.from_pylist([row], schema=_ENCODED)
            archive.members.clear()  # pyright: ignore[reportAttributeAccessIssue]  it would list all


def _is_image(member: tarfile.TarInfo) -> bool:
    path = PurePosixPath(member.name)
    return member.isfile() and path.suffix.lower() in EXTENSIONS and not path.name.startswith(".")


class _Member(tarfile.TarInfo):
    """A member of an archive; the standard one takes damaged headers for the archive's end."""

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> Self:  # pyright: ignore[reportIncompatibleMethodOverride]
        try:
            return super().fromtarfile(archive)
        except tarfile.EOFHeaderError:  # pyright: ignore[reportAttributeAccessIssue]  zeros, which mark the end
            raise
        except tarfile.HeaderError:
            raise tarfile.ReadError("damaged or cut off") from None


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
