"""Open regular files only: no pipes that block, no endless devices, no files above a size limit."""

import codecs
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from pallas_ros.core.errors import PallasError

TEXT_BYTES = 4 << 20
"""Default size limit of a text file: the largest configuration in use is 20 kB."""

ANY_BYTES = 1 << 62
"""No size limit: for files of which only a part is read."""


@contextmanager
def open_regular(path: str | Path, what: str, max_bytes: int) -> Iterator[BinaryIO]:
    """Open a regular file for reading; ``what`` describes the expected file ("motion file").

    An `OSError` while reading inside the ``with`` block becomes a `PallasError` too.

    Raises:
        PallasError: the file is missing, is a folder, pipe, socket or device, is larger than
            ``max_bytes``, or cannot be read.
    """
    try:
        # O_NONBLOCK: opening a pipe does not wait for its writer. No effect on regular files.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise PallasError(f"{path}: no such file; give the path of a {what}") from None
    except (
        OSError,
        ValueError,
    ) as error:  # ValueError: a null byte or a lone surrogate in the path
        raise PallasError(f"{path}: not a readable {what}: {_reason(error)}") from None
    try:
        _check_status(os.fstat(handle), path, what, max_bytes)
        file = os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise
    with file:
        try:
            yield file
        except OSError as error:
            raise PallasError(f"{path}: not a readable {what}: {_reason(error)}") from None


def _check_status(status: os.stat_result, path: str | Path, what: str, max_bytes: int) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise PallasError(f"{path}: a folder; give the path of a {what}")
    if not stat.S_ISREG(status.st_mode):
        raise PallasError(f"{path}: a pipe or a device; give the path of a {what}")
    if status.st_size > max_bytes:
        raise PallasError(
            f"{path}: {_size(status.st_size)} is too large for a {what} (at most"
            f" {_size(max_bytes)})"
        )


def read_bytes(path: str | Path, what: str, max_bytes: int) -> bytes:
    """Read a regular file.

    Raises:
        PallasError: as `open_regular`, also if the file grows beyond ``max_bytes`` while being
            read.
    """
    with open_regular(path, what, max_bytes) as file:
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise PallasError(f"{path}: too large for a {what} (at most {_size(max_bytes)})")
    return data


_UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_text(path: str | Path, what: str, max_bytes: int = TEXT_BYTES) -> str:
    """Read a regular file as text without byte order mark: UTF-8, or UTF-16 with the mark.

    Raises:
        PallasError: as `read_bytes`, or it is neither.
    """
    data = read_bytes(path, what, max_bytes)
    try:
        return data.decode("utf-16" if data[:2] in _UTF16_MARKS else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise PallasError(
            f"{path}: not a {what}: not {error.encoding.upper()} text (byte {error.start} is"
            f" 0x{error.object[error.start]:02x})"
        ) from None


def check_regular(path: str | Path, what: str, max_bytes: int) -> Path:
    """Return the path, validated for a library that opens it itself.

    Raises:
        PallasError: as `open_regular`.
    """
    with open_regular(path, what, max_bytes):
        return Path(path)


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _size(number: int) -> str:
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return f"{number} bytes"
