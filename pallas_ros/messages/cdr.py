"""Plain CDR, little-endian: the encoding of serialised messages.

DDS-XTypes 1.3, section 7.4.1, encoding version 1, as sent by every ROS 2 middleware.
"""

import re
import struct
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

LITTLE_ENDIAN = b"\x00\x01\x00\x00"
"""The first bytes of a message in this byte order."""
START = len(LITTLE_ENDIAN)
"""Offset to which alignment is relative."""
COUNT = struct.Struct("<I")
TIME = struct.Struct("<iI")
NS = 1_000_000_000

Numbers = NDArray[Any]


def aligned(at: int, size: int) -> int:
    """The first offset from ``at`` on that is aligned to ``size`` bytes."""
    return at + (START - at) % size


def align(out: bytearray, size: int) -> None:
    """Append padding up to an offset aligned to ``size`` bytes."""
    out += bytes((START - len(out)) % size)


def text(string: str) -> bytes:
    """A string as written: its length including the terminating zero, then both."""
    data = string.encode() + b"\0"
    return COUNT.pack(len(data)) + data


def put(out: bytearray, string: str) -> None:
    """Append a string."""
    align(out, 4)
    out += text(string)


def get(data: bytes, at: int) -> tuple[str, int]:
    """Return a string and its end offset.

    Raises:
        ValueError, struct.error: there is none.
    """
    at = aligned(at, 4)
    (length,) = COUNT.unpack_from(data, at)
    end = at + 4 + length
    if length == 0 or end > len(data):
        raise ValueError("a string that extends past the end")
    if data[end - 1]:
        raise ValueError("a string without a terminating zero")
    return data[at + 4 : end - 1].decode(), end


def put_array(out: bytearray, values: ArrayLike, kind: str, count: int) -> None:
    """Append a sequence: number of items, then their values contiguously."""
    align(out, 4)
    out += COUNT.pack(count)
    if not count:  # no values, so no alignment
        return
    align(out, np.dtype(kind).itemsize)
    out += np.ascontiguousarray(values, dtype=kind).tobytes()


def get_array(data: bytes, at: int, kind: str, width: int) -> tuple[Numbers, int]:
    """Return a sequence of items of ``width`` numbers, flat, and its end offset.

    Raises:
        ValueError, struct.error: it extends past the end.
    """
    at = aligned(at, 4)
    (count,) = COUNT.unpack_from(data, at)
    size = np.dtype(kind).itemsize
    at = aligned(at + 4, size) if count else at + 4
    if count * width * size > len(data):
        raise ValueError("a sequence that extends past the end")
    return np.frombuffer(data, kind, count * width, at), at + count * width * size


def padded(*parts: bytes) -> tuple[bytes, re.Pattern[bytes]]:
    """Join parts, each aligned to 4 bytes; also return a pattern to read them with any padding
    bytes.
    """
    out = bytearray()
    pattern = b""
    for part in parts:
        padding = -len(out) % 4
        out += bytes(padding) + part
        pattern += b"." * padding + re.escape(part)
    return bytes(out), re.compile(pattern, re.DOTALL)
