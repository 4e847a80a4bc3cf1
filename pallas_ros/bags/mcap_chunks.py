"""Chunks of an MCAP file: decompression, and the messages and definitions in them.

The decompressed size is limited before memory is allocated.
"""

import struct
import zlib
from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import lz4.frame
import zstandard

from pallas_ros.bags.mcap_records import (
    CHANNEL,
    CHUNK_LIMIT,
    FOREVER,
    MESSAGE,
    PREFIX,
    SCHEMA,
    DamagedError,
)
from pallas_ros.bags.mcap_runs import Run, run_of

FREE_BYTES = 1 << 28
"""Decompressed bytes that any file may have."""
INFLATION = 100
"""Beyond `FREE_BYTES`, maximum compression ratio; recordings reach 5 to 20."""
_MESSAGE_RECORD = struct.Struct("<BQHIQQ")
_CHUNK_HEAD = struct.Struct("<QQQII")


class Chunk(NamedTuple):
    """A compressed chunk: timestamps of its first and last message, size, compression."""

    first: int
    last: int
    size: int
    crc: int
    compression: bytes
    data: memoryview


@dataclass
class Inflation:
    """Decompressed bytes of one pass over a file; stops decompression bombs."""

    packed: int = 0
    unpacked: int = 0

    def admit(self, packed: int, unpacked: int) -> None:
        """Count a chunk before it is decompressed.

        Raises:
            DamagedError: it is too large, or the total is already too large.
        """
        self.packed += packed
        if unpacked > CHUNK_LIMIT:
            raise DamagedError(f"a chunk of {unpacked} bytes")
        if self.unpacked + unpacked > FREE_BYTES + INFLATION * self.packed:
            raise DamagedError(f"it inflates to more than {INFLATION} times its size")
        self.unpacked += unpacked


def chunk_of(body: bytes) -> Chunk:
    """Parse a consistent chunk record."""
    first, last, size, crc, named = _CHUNK_HEAD.unpack_from(body)
    compression = bytes(body[32 : 32 + named])
    return Chunk(first, last, size, crc, compression, memoryview(body)[40 + named :])


def unpack(chunk: Chunk, inflation: Inflation) -> bytes | memoryview:
    """Decompress a chunk.

    Raises:
        DamagedError: decompression fails, the result does not match the chunk header, or would
            exhaust the memory.
    """
    inflation.admit(len(chunk.data), chunk.size)
    data: bytes | memoryview
    try:
        if chunk.compression == b"zstd":
            reader = zstandard.ZstdDecompressor().stream_reader(chunk.data)
            data = reader.read(chunk.size + 1)
        elif chunk.compression == b"lz4":
            decompressor = lz4.frame.LZ4FrameDecompressor()
            data = decompressor.decompress(chunk.data, max_length=chunk.size + 1)
        elif not chunk.compression:
            data = chunk.data
        else:
            name = chunk.compression[:20].decode("ascii", "replace")
            raise DamagedError(f"a chunk with unknown compression '{name}'")
    except (zstandard.ZstdError, RuntimeError, ValueError, EOFError, MemoryError) as error:
        raise DamagedError(f"a chunk that cannot be unpacked: {str(error)[:80]}") from None
    if len(data) != chunk.size or (chunk.crc and zlib.crc32(data) != chunk.crc):
        raise DamagedError("a chunk with a wrong checksum")
    return data


@dataclass
class Contents:
    """Contents of a chunk: the requested messages, and the definitions as (kind, begin, end)."""

    run: Run
    definitions: list[tuple[int, int, int]] = field(default_factory=list)


def contents(
    data: bytes | memoryview,
    wanted: Mapping[int, Any] | None = None,
    start: int = 0,
    stop: int = FOREVER,
) -> Contents:
    """Parse a decompressed chunk: messages of the channels ``wanted`` (None: all) with start <=
    stamp < stop.

    Raises:
        DamagedError: the records in it are inconsistent.
    """
    stamps = array("q")
    spans = array("q")
    keys = array("q")
    definitions: list[tuple[int, int, int]] = []
    at = 0
    size = len(data)
    head = _MESSAGE_RECORD.size
    while at + head <= size:
        kind, length, key, _, stamp, _ = _MESSAGE_RECORD.unpack_from(data, at)
        end = at + 9 + length
        if end > size:
            raise DamagedError("a chunk that ends within a record")
        if kind == MESSAGE:
            if length < 22:
                raise DamagedError("a message without a header")
            if (wanted is None or key in wanted) and start <= stamp < stop:
                stamps.append(stamp)
                spans.append(at + head)
                spans.append(end)
                keys.append(key)
        elif kind in (SCHEMA, CHANNEL) and length >= 14:
            definitions.append((kind, at + 9, end))
        else:
            raise DamagedError("a chunk that contains other records than messages")
        at = end
    while at < size:  # remainder too short for a message
        kind, length = PREFIX.unpack(bytes(data[at : at + 9]).ljust(9, b"\xff"))
        if kind not in (SCHEMA, CHANNEL) or at + 9 + length > size:
            raise DamagedError("a chunk that ends within a record")
        definitions.append((kind, at + 9, at + 9 + length))
        at += 9 + length
    return Contents(run_of(data, stamps, spans, keys), definitions)
