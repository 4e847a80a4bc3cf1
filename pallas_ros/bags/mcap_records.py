"""Records of an MCAP file, resynchronised after damage, and the contents of its chunks.

The file is not trusted: a length must fit into the file, a chunk must be consistent, and the
decompressed size is limited before memory is allocated. Format: https://mcap.dev/spec
"""

import io
import re
import struct
import zlib
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO, NamedTuple

import lz4.frame
import numpy as np
import zstandard
from mcap.data_stream import ReadDataStream
from mcap.exceptions import EndOfFile, McapError
from numpy.typing import NDArray

MAGIC = b"\x89MCAP0\r\n"
FOREVER = 2**63 - 1
"""Later than every timestamp."""
CHUNK_LIMIT = 1 << 27
"""Maximum bytes of a record or of a decompressed chunk; the largest maps and point clouds have half
of that.
"""
FREE_BYTES = 1 << 28
"""Decompressed bytes that any file may have."""
INFLATION = 100
"""Beyond `FREE_BYTES`, maximum compression ratio; recordings reach 5 to 20."""
READ_AGAIN = 4
"""Reading stops if the search for the next valid record has read this many times the file size."""

HEADER, FOOTER, SCHEMA, CHANNEL, MESSAGE, CHUNK, MESSAGE_INDEX = range(1, 8)
CHUNK_INDEX, ATTACHMENT, ATTACHMENT_INDEX, STATISTICS = range(8, 12)
METADATA, METADATA_INDEX, SUMMARY_OFFSET, DATA_END = range(12, 16)

PREFIX = struct.Struct("<BQ")
MESSAGE_HEAD = struct.Struct("<HIQQ")
_MESSAGE_RECORD = struct.Struct("<BQHIQQ")
_CHUNK_HEAD = struct.Struct("<QQQII")
_LENGTH = struct.Struct("<Q")
_FIXED = {FOOTER: 20, DATA_END: 4}
_AT_LEAST = {HEADER: 8, SCHEMA: 14, CHANNEL: 16, MESSAGE: 22, CHUNK: 40, MESSAGE_INDEX: 6}
_READ = {HEADER, FOOTER, SCHEMA, CHANNEL, MESSAGE, CHUNK, STATISTICS, DATA_END}
_CHUNK_START = re.compile(
    rb"(?s)(?=\x06.{4}\0{4}.{16}.{4}\0{4}.{4}(?:\0{4}|\x03\0{3}lz4|\x04\0{3}zstd))"
)
_MESSAGE_START = re.compile(rb"(?s)(?=\x05.{4}\0{4})")
_WINDOW = 1 << 20
_OVERLAP = 64
_CHAIN = 3
"""Consecutive valid records required to resynchronise in a file without chunks."""


class DamagedError(Exception):
    """The file is invalid from this position on."""


class Record(NamedTuple):
    """One record: opcode, start and end offset and, for opcodes of interest, its body."""

    kind: int
    at: int
    end: int
    body: bytes


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


class Records:
    """Iterate over the records of a file from ``begin``, resynchronising after damaged ones.

    Attributes:
        faults: byte offsets of damaged records, with reasons.
        lost_end: what is wrong if no valid record follows any more; empty if the file ends
            properly.
    """

    def __init__(self, stream: BinaryIO, begin: int = len(MAGIC)) -> None:
        """``stream`` must be seekable."""
        self._stream = stream
        self._size = stream.seek(0, io.SEEK_END)
        self._begin = begin
        self._sure = begin  # offsets below are not searched again
        self._chunked = False
        self._spent = 0
        self.faults: dict[int, str] = {}
        self.lost_end = ""

    def __iter__(self) -> Iterator[Record]:
        """Yield the records in file order, up to the end of the data section."""
        at = self._begin
        while at < self._size:
            try:
                record = self._read(at)
            except DamagedError as error:
                found = self._find(at)
                if found is None:
                    self.lost_end = str(error)
                    return
                self.faults[at] = str(error)
                at = found
                self._sure = found + 1
                continue
            if record is None:
                return
            yield record
            if record.kind in (DATA_END, FOOTER):
                return
            at = record.end

    def _read(self, at: int) -> Record | None:
        """Return the record at ``at``; None at the end of the file."""
        self._stream.seek(at)
        prefix = self._stream.read(PREFIX.size)
        if len(prefix) < PREFIX.size:
            if prefix == MAGIC:
                return None
            raise DamagedError("it ends within a record")
        kind, length = PREFIX.unpack(prefix)
        self._chunked |= kind == CHUNK  # even if it is truncated
        _check_prefix(kind, length, at, self._size)
        end = at + PREFIX.size + length
        if kind == CHUNK or (kind != MESSAGE and length >= _AT_LEAST[CHUNK]):
            head = self._stream.read(min(length, _OVERLAP))
            is_chunk = _agrees(head, length)
            if is_chunk != (kind == CHUNK):
                if not is_chunk:
                    raise DamagedError("an inconsistent chunk")
                self.faults[at] = "a chunk with another record type"
                kind = CHUNK
            self._stream.seek(at + PREFIX.size)
        elif kind == MESSAGE and self._chunked:
            if _is_index(self._stream.read(6), length):
                self.faults[at] = "an index with another record type"
                kind = MESSAGE_INDEX
            self._stream.seek(at + PREFIX.size)
        if kind not in _READ:
            return Record(kind, at, end, b"")
        if length > CHUNK_LIMIT:
            raise DamagedError(f"a record of {length} bytes")
        self._spent += length
        if self._spent > READ_AGAIN * self._size:
            raise DamagedError("it is damaged throughout")
        if kind in (CHUNK, MESSAGE):
            self._sure = end if kind == CHUNK else at + 1
        return Record(kind, at, end, self._stream.read(length))

    def _find(self, failed: int) -> int | None:
        """Find the next chunk or, in a file without chunks, the next messages; None at the end."""
        if self._spent > READ_AGAIN * self._size:
            return None
        found = next(self._search(_CHUNK_START, self._sure), None)
        if found is None and not self._chunked:
            found = next(self._search(_MESSAGE_START, failed + 1), None)
        return found

    def _search(self, pattern: re.Pattern[bytes], begin: int) -> Iterator[int]:
        at = begin
        while at < self._size:
            self._stream.seek(at)
            window = self._stream.read(_WINDOW + _OVERLAP)
            for match in pattern.finditer(window):
                if match.start() < _WINDOW and self._is_whole(pattern, at + match.start()):
                    yield at + match.start()
            at += _WINDOW

    def _is_whole(self, pattern: re.Pattern[bytes], at: int) -> bool:
        self._stream.seek(at)
        head = self._stream.read(PREFIX.size + _OVERLAP)
        kind, length = PREFIX.unpack_from(head)
        try:
            _check_prefix(kind, length, at, self._size)
            if pattern is _CHUNK_START:
                return _agrees(head[PREFIX.size :], length)
            for _ in range(_CHAIN):
                self._stream.seek(at)
                kind, length = PREFIX.unpack(self._stream.read(PREFIX.size).ljust(PREFIX.size))
                _check_prefix(kind, length, at, self._size)
                at += PREFIX.size + length
                if at + PREFIX.size >= self._size or kind == DATA_END:
                    return True
        except DamagedError:
            return False
        return True


def _check_prefix(kind: int, length: int, at: int, size: int) -> None:
    """Reject a prefix that cannot begin a record in a file of ``size`` bytes."""
    if at + PREFIX.size + length > size:
        raise DamagedError("it ends within a record")
    if kind == 0 or length != _FIXED.get(kind, length) or length < _AT_LEAST.get(kind, 0):
        raise DamagedError("something that is not a record")


def _agrees(head: bytes, length: int) -> bool:
    """Whether the first bytes of a record body can be those of a chunk of ``length`` bytes."""
    if len(head) < _AT_LEAST[CHUNK]:
        return False
    named = struct.unpack_from("<I", head, 28)[0]
    if 32 + named + 8 > len(head):
        return False
    return bool(_LENGTH.unpack_from(head, 32 + named)[0] + 40 + named == length)


def _is_index(head: bytes, length: int) -> bool:
    """Whether the first bytes of a record body can be those of a chunk index."""
    return int.from_bytes(head[2:6], "little") == length - 6 and (length - 6) % 16 == 0


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
class Run:
    """Messages in one buffer, in order of timestamp.

    Attributes:
        data: the buffer.
        stamps: (n,) ns, increasing.
        spans: (n, 2) start and end of the n bodies in ``data``.
        keys: (n,) channel of each.
        next: the first message not yet yielded.
    """

    data: bytes | memoryview
    stamps: NDArray[np.int64]
    spans: NDArray[np.int64]
    keys: NDArray[np.int64]
    next: int = 0

    @property
    def head(self) -> int:
        """Timestamp of the next message; `FOREVER` after the last."""
        return int(self.stamps[self.next]) if self.next < len(self.stamps) else FOREVER

    def until(self, stamp: int) -> Iterator[tuple[int, int, bytes]]:
        """Yield channel, timestamp and bytes of each further message before ``stamp``."""
        begin = self.next
        self.next = int(np.searchsorted(self.stamps, stamp))
        part = slice(begin, max(self.next, begin))
        data = self.data
        rows = zip(self.keys[part].tolist(), self.stamps[part].tolist(), self.spans[part].tolist())
        for key, at, (start, stop) in rows:
            yield key, at, bytes(data[start:stop])


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
    return Contents(_run(data, stamps, spans, keys), definitions)


def loose(records: list[tuple[int, int, bytes]]) -> Run:
    """Return a run of messages from outside of chunks: (channel, timestamp, bytes) each."""
    ends = np.cumsum([len(data) for _, _, data in records]).tolist()
    spans = [edge for (_, _, data), end in zip(records, ends) for edge in (end - len(data), end)]
    return _run(
        b"".join(data for _, _, data in records),
        array("q", [stamp for _, stamp, _ in records]),
        array("q", spans),
        array("q", [key for key, _, _ in records]),
    )


def _run(
    data: bytes | memoryview, stamps: "array[int]", spans: "array[int]", keys: "array[int]"
) -> Run:
    run = Run(
        data,
        np.frombuffer(stamps, dtype=np.int64) if stamps else np.zeros(0, dtype=np.int64),
        np.frombuffer(spans, dtype=np.int64).reshape(-1, 2)
        if spans
        else np.zeros((0, 2), dtype=np.int64),
        np.frombuffer(keys, dtype=np.int64) if keys else np.zeros(0, dtype=np.int64),
    )
    if (np.diff(run.stamps) < 0).any():
        order = np.argsort(run.stamps, kind="stable")
        run.stamps = run.stamps[order]
        run.spans = run.spans[order]
        run.keys = run.keys[order]
    return run


def parse(record: Any, body: bytes | memoryview) -> Any:
    """Parse a record with the `mcap` library.

    Raises:
        DamagedError: parsing fails.
    """
    try:
        return record.read(ReadDataStream(io.BytesIO(body)))
    except (EndOfFile, McapError, struct.error, ValueError, MemoryError, OverflowError):
        raise DamagedError("a record that cannot be read") from None
