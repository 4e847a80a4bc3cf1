"""Load arrays from ``.npz`` files; every member's header is checked against its size first."""

import math
import re
import zipfile
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from pallas_ros.core.errors import PallasError
from pallas_ros.files.opening import open_regular

MAX_FILE_BYTES = 2**31 - 1
"""Above this zipfile uses the zip64 directory format, which no file of this package has."""
FREE_BYTES = 256 << 20
"""Unpacked size allowed for any file: an hour of four sensors at 100 Hz is 115 MB."""
MAX_RATIO = 10
"""Maximum compression ratio beyond that: measured motion reaches 1.1 to 3, a zip bomb 1000."""
FREE_VALUES = 1 << 25
"""Numbers allowed for any file, because they become float64: an hour of motion at 60 Hz is 33e6."""
MAX_VALUES_PER_BYTE = 2.5
"""Maximum numbers per byte of the file beyond that: measured motion has up to 0.75."""
MAX_ARRAYS = 1000
MAX_DIMENSIONS = 8
_HEADER_BYTES = 4096
_DIRECTORY_BYTES = 1 << 20
_CHUNK_BYTES = 1 << 20
_DESCR = re.compile(r"'descr'\s*:\s*'([<>|=]?[biufSU]\d{1,9})'")
_ORDER = re.compile(r"'fortran_order'\s*:\s*(True|False)")
_SHAPE = re.compile(r"'shape'\s*:\s*\(([\d,L\s]*)\)")


def load_npz(
    path: str | Path,
    what: str,
    only: Collection[str] | None = None,
    free_values: int = FREE_VALUES,
) -> dict[str, NDArray[Any]]:
    """Load the arrays of a ``.npz``, numbers and strings; ``what`` describes it ("motion file").

    With ``only``, other arrays are not read, whatever they contain. ``free_values`` are allowed in
    a file of any size.

    Raises:
        PallasError: the file is missing, damaged, contains pickled objects, or would unpack to far
            more than its size.
    """
    with _open(path, what) as (archive, file):
        return _arrays(archive, file, only, free_values)


def array_names(path: str | Path, what: str) -> list[str]:
    """Return the sorted array names of a ``.npz`` without reading the arrays.

    Raises:
        PallasError: the file is missing, or its directory is damaged.
    """
    with _open(path, what) as (archive, _):
        return sorted(info.filename.removesuffix(".npy") for info in _members(archive))


@contextmanager
def _open(path: str | Path, what: str) -> Iterator[tuple[zipfile.ZipFile, BinaryIO]]:
    """Open an archive and its file; convert errors while reading to `PallasError`."""
    with open_regular(path, what, MAX_FILE_BYTES) as file:
        try:
            _check_archive(file)
            with zipfile.ZipFile(file) as archive:
                yield archive, file
        except (_Refused, zipfile.BadZipFile, zlib.error, EOFError) as error:
            raise PallasError(
                f"{path}: not a readable {what} (.npz without pickles): {error}"
            ) from None
        except (ValueError, KeyError, NotImplementedError, RuntimeError, OverflowError) as error:
            # raised by zipfile on damaged directories, besides BadZipFile
            raise PallasError(
                f"{path}: not a readable {what} (.npz without pickles): damaged archive ({error})"
            ) from None


class _Refused(Exception):
    """Reason for rejecting an archive."""


def _check_archive(file: BinaryIO) -> None:
    """Reject a file that is not a zip archive or has a huge directory; rewind the file."""
    head = file.read(6)
    if head == npy.MAGIC_PREFIX:
        raise _Refused("it is a single array (.npy); save named arrays with numpy.savez")
    if not head:
        raise _Refused("it is empty")
    if head[:2] != b"PK":
        raise _Refused("it is not a zip archive")
    size = file.seek(0, 2)
    file.seek(max(0, size - 65557))  # the end record has 22 bytes and may be followed by a comment
    tail = file.read()
    end = tail.rfind(b"PK\5\6")
    if end < 0 or len(tail) < end + 22:
        raise _Refused("it is truncated or damaged (no directory at its end)")
    directory = int.from_bytes(tail[end + 12 : end + 16], "little")
    if directory > min(size, _DIRECTORY_BYTES) or tail[max(0, end - 20) :][:4] == b"PK\6\7":
        raise _Refused("its directory is damaged or too large")
    file.seek(0)


def _members(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    members = [info for info in archive.infolist() if info.filename.endswith(".npy")]
    if len(members) > MAX_ARRAYS:
        raise _Refused(f"it holds {len(members)} arrays (at most {MAX_ARRAYS})")
    return members


def _arrays(
    archive: zipfile.ZipFile, file: BinaryIO, only: Collection[str] | None, free_values: int
) -> dict[str, NDArray[Any]]:
    members = [
        info
        for info in _members(archive)
        if only is None or info.filename.removesuffix(".npy") in only
    ]
    allowed = max(FREE_BYTES, MAX_RATIO * file.seek(0, 2))
    stated = sum(info.file_size for info in members)
    if stated > allowed:
        raise _Refused(
            f"its arrays would take {stated / 1e6:.0f} MB (at most {allowed / 1e6:.0f} MB for its"
            " size)"
        )
    arrays: dict[str, NDArray[Any]] = {}
    left = max(free_values, int(MAX_VALUES_PER_BYTE * file.seek(0, 2)))
    for info in members:
        name = info.filename.removesuffix(".npy")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise _Refused(f"array '{name}' uses a compression that numpy does not write")
        if info.flag_bits & 1:
            raise _Refused(f"array '{name}' is encrypted")
        with archive.open(info) as member:
            arrays[name] = _array(member, info.file_size, name, left)
        left -= arrays[name].size
    return arrays


def _array(member: Any, stated: int, name: str, most: int) -> NDArray[Any]:
    """Read one ``.npy`` member of ``stated`` bytes and at most ``most`` values."""
    shape, fortran, dtype = _header(member, name)
    if not dtype.itemsize:
        raise _Refused(f"array '{name}' contains strings of zero length")
    nbytes = math.prod(shape) * dtype.itemsize  # Python integers do not overflow
    if nbytes > stated or max(shape, default=0) >= 2**31:
        raise _Refused(f"array '{name}' is truncated: its shape {shape} needs {nbytes} bytes")
    if math.prod(shape) > most:
        raise _Refused(f"array '{name}' of shape {shape} has too many values for the file's size")
    data = bytearray(nbytes)
    view = memoryview(data)
    filled = 0
    while filled < nbytes:
        got = member.readinto(view[filled : filled + _CHUNK_BYTES])  # which it copies twice
        if not got:
            raise _Refused(f"array '{name}' is truncated")
        filled += got
    member.read(1)  # the checksum is verified at the end of the member
    flat: NDArray[Any] = np.frombuffer(data, dtype=dtype)
    return flat.reshape(shape, order="F" if fortran else "C")


def _header(member: Any, name: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Parse shape, memory order and type from the header of a member (NEP 1).

    Parsed by regular expressions, because evaluating a literal can exhaust Python's parser.
    """
    head = member.read(8)
    long = head[6:7] > b"\1"
    length = int.from_bytes(member.read(4 if long else 2), "little")
    if head[:6] != npy.MAGIC_PREFIX or length > _HEADER_BYTES:
        raise _Refused(f"the header of array '{name}' is damaged")
    text = member.read(length).decode("latin-1")
    found = [pattern.search(text) for pattern in (_DESCR, _ORDER, _SHAPE)]
    if None in found:
        raise _Refused(
            f"array '{name}' contains neither numbers nor strings, or its header is damaged;"
            " structures and pickled objects are not read"
        )
    descr, order, shape = (match[1] for match in found if match)
    sizes = tuple(int(n) for n in re.findall(r"\d+", shape))
    if len(sizes) > MAX_DIMENSIONS:
        raise _Refused(f"array '{name}' has {len(sizes)} dimensions (at most {MAX_DIMENSIONS})")
    try:
        return sizes, order == "True", np.dtype(descr)
    except (TypeError, ValueError):
        raise _Refused(f"array '{name}' is of type {descr}, which is not read") from None
