"""Files and folders by path or address: local, s3://, gs:// and hdfs:// through pyarrow, others through fsspec."""

import os
import posixpath
from collections.abc import Set
from pathlib import Path

import pyarrow as pa
from pyarrow import fs

from cascade_rcnn.errors import UserError, reason


class Place:
    """A file or folder, with its file system; can be pickled."""

    def __init__(self, address: str | Path) -> None:
        """Resolve an address. Raises UserError if no file system can open it."""
        self.address = str(address)
        try:
            self.files, self.path = _resolve(self.address)
        except (ImportError, OSError, ValueError, pa.ArrowInvalid) as error:
            raise UserError(f"{self.address}: cannot be opened ({reason(error)}); check the address") from None

    @property
    def kind(self) -> fs.FileType:
        """The type of what is there: a file, a folder or nothing."""
        return self.files.get_file_info(self.path).type

    def listing(self, suffixes: tuple[str, ...]) -> list[str]:
        """Return the sorted relative paths of files in this folder with one of these suffixes, except hidden ones.

        Broken links count as files, so that reading them reports an error.
        """
        found = self.files.get_file_info(fs.FileSelector(self.path, recursive=True, allow_not_found=True))
        paths = [one.path for one in found if one.type == fs.FileType.File]
        if isinstance(self.files, fs.LocalFileSystem):
            paths += _broken_links(self.path, {one.path for one in found})
        names = [posixpath.relpath(path, self.path) for path in paths]
        shown = (name for name in names if not any(part.startswith(".") for part in name.split("/")))
        return sorted(name for name in shown if name.lower().endswith(suffixes))

    def join(self, name: str) -> str:
        """Return the path of a file in this folder, or of this file itself if `name` is empty."""
        return posixpath.join(self.path, name) if name else self.path

    def read(self, name: str = "") -> bytes:
        """Read a file in this folder, or this file itself if `name` is empty."""
        with self.files.open_input_stream(self.join(name)) as stream:
            return stream.read()

    def write(self, name: str, content: bytes) -> None:
        """Write a small file in this folder, atomically."""
        aside = self.join(f"{name}.tmp")
        self.files.create_dir(self.path, recursive=True)
        with self.files.open_output_stream(aside) as stream:
            stream.write(content)
        self.files.move(aside, self.join(name))


def _broken_links(folder: str, known: Set[str]) -> list[str]:
    """Return the links in a local folder that lead nowhere, which pyarrow does not list among the `known`."""
    files = (posixpath.join(place, name) for place, _, names in os.walk(folder) for name in names)
    return [path for path in files if path not in known and Path(path).is_symlink() and not Path(path).exists()]


def _resolve(address: str) -> tuple[fs.FileSystem, str]:
    scheme, separator, rest = address.partition("://")
    if not separator:
        return fs.LocalFileSystem(), Path(address).absolute().as_posix()
    if scheme in ("file", "s3", "gs", "gcs", "hdfs", "abfs", "abfss"):
        return fs.FileSystem.from_uri(address)
    import fsspec

    return fs.PyFileSystem(fs.FSSpecHandler(fsspec.filesystem(scheme))), rest
