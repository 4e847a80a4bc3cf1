"""Records of an MCAP file, found again behind damage, and the contents of its chunks.

Nothing a file says about itself is believed before it is checked: a length must fit into the file,
a chunk must agree with itself, and what is unpacked is limited before memory is reserved for it.
Format: https://mcap.dev/spec
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
"""Later than every stamp."""
CHUNK_LIMIT = 1 << 27
"""Bytes of a record or of an unpacked chunk; the largest maps and point clouds have half of that.
"""
FREE_BYTES = 1 << 28
"""Bytes that any file may inflate to."""
INFLATION = 100
"""Beyond `FREE_BYTES`, unpacked bytes for each packed one; recordings reach 5 to 20."""
READ_AGAIN = 4
"""A file in which looking for the next whole record reads this many times its size is given up."""

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
"""So many records in a row are taken for the way back into a file without chunks."""


class DamagedError(Exception):
    """Here the file stops making sense."""


class Record(NamedTuple):
    """One record: its opcode, where it begins and ends in the file, and its body where it is one
    that is read.
    """

    kind: int
    at: int
    end: int
    body: bytes


class Chunk(NamedTuple):
    """A chunk record, still packed: stamps of its first and last message, what it unpacks to, and
    how.
    """

    first: int
    last: int
    size: int
    crc: int
    compression: bytes
    data: memoryview


@dataclass
class Inflation:
    """How much one reading of a file has unpacked: a small file that inflates without end is
    stopped.
    """

    packed: int = 0
    unpacked: int = 0

    def admit(self, packed: int, unpacked: int) -> None:
        """Count a chunk before it is unpacked.

        Raises:
            DamagedError: it is too large, or the file has inflated to too much already.
        """
        self.packed += packed
        if unpacked > CHUNK_LIMIT:
            raise DamagedError(f"a chunk of {unpacked} bytes")
        if self.unpacked + unpacked > FREE_BYTES + INFLATION * self.packed:
            raise DamagedError(f"it inflates to more than {INFLATION} times its size")
        self.unpacked += unpacked


class Records:
    """The records of a file from ``begin`` on; where one is damaged, those after it are found
    again.

    Attributes:
        faults: where (bytes from the beginning) records were damaged, and how.
        lost_end: what is wrong where no whole record follows any more; empty where the file ends as
            it should.
    """

    def __init__(self, stream: BinaryIO, begin: int = len(MAGIC)) -> None:
        """``stream`` must be seekable."""
        self._stream = stream
        self._size = stream.seek(0, io.SEEK_END)
        self._begin = begin
        self._sure = begin  # up to here nothing is looked for again
        self._chunked = False
        self._spent = 0
        self.faults: dict[int, str] = {}
        self.lost_end = ""

    def __iter__(self) -> Iterator[Record]:
        """The records in the order of the file, up to the end of its data section."""
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
        """The record at ``at``; None at the end of the file."""
        self._stream.seek(at)
        prefix = self._stream.read(PREFIX.size)
        if len(prefix) < PREFIX.size:
            if prefix == MAGIC:
                return None
            raise DamagedError("it ends within a record")
        kind, length = PREFIX.unpack(prefix)
        self._chunked |= kind == CHUNK  # even one that was cut short
        _check_prefix(kind, length, at, self._size)
        end = at + PREFIX.size + length
        if kind == CHUNK or (kind != MESSAGE and length >= _AT_LEAST[CHUNK]):
            head = self._stream.read(min(length, _OVERLAP))
            is_chunk = _agrees(head, length)
            if is_chunk != (kind == CHUNK):
                if not is_chunk:
                    raise DamagedError("a chunk that does not agree with itself")
                self.faults[at] = "a chunk by another name"
                kind = CHUNK
            self._stream.seek(at + PREFIX.size)
        elif kind == MESSAGE and self._chunked:
            if _is_index(self._stream.read(6), length):
                self.faults[at] = "an index by another name"
                kind = MESSAGE_INDEX
            self._stream.seek(at + PREFIX.size)
        if kind not in _READ:
            return Record(kind, at, end, b"")
        if length > CHUNK_LIMIT:
            raise DamagedError(f"a record of {length} bytes")
        self._spent += length
        if self._spent > READ_AGAIN * self._size:
            raise DamagedError("it is damaged all over")
        if kind in (CHUNK, MESSAGE):
            self._sure = end if kind == CHUNK else at + 1
        return Record(kind, at, end, self._stream.read(length))

    def _find(self, failed: int) -> int | None:
        """Where the next chunk begins, or in a file without chunks the next messages; None where
        there are none.
        """
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
    """Refuse what cannot begin a record of a file of ``size`` bytes."""
    if at + PREFIX.size + length > size:
        raise DamagedError("it ends within a record")
    if kind == 0 or length != _FIXED.get(kind, length) or length < _AT_LEAST.get(kind, 0):
        raise DamagedError("something that is not a record")


def _agrees(head: bytes, length: int) -> bool:
    """Whether the first bytes of a record's body are those of a chunk of ``length`` bytes."""
    if len(head) < _AT_LEAST[CHUNK]:
        return False
    named = struct.unpack_from("<I", head, 28)[0]
    if 32 + named + 8 > len(head):
        return False
    return bool(_LENGTH.unpack_from(head, 32 + named)[0] + 40 + named == length)


def _is_index(head: bytes, length: int) -> bool:
    """Whether the first bytes of a record's body are those of the index of a chunk."""
    return int.from_bytes(head[2:6], "little") == length - 6 and (length - 6) % 16 == 0


def chunk_of(body: bytes) -> Chunk:
    """The parts of a chunk record that agrees with itself."""
    first, last, size, crc, named = _CHUNK_HEAD.unpack_from(body)
    compression = bytes(body[32 : 32 + named])
    return Chunk(first, last, size, crc, compression, memoryview(body)[40 + named :])


def unpack(chunk: Chunk, inflation: Inflation) -> bytes | memoryview:
    """The contents of a chunk.

    Raises:
        DamagedError: they cannot be unpacked, are not what the chunk announces, or would fill the
            memory.
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
            raise DamagedError(f"a chunk compressed by '{name}', which is not known")
    except (zstandard.ZstdError, RuntimeError, ValueError, EOFError, MemoryError) as error:
        raise DamagedError(f"a chunk that cannot be unpacked: {str(error)[:80]}") from None
    if len(data) != chunk.size or (chunk.crc and zlib.crc32(data) != chunk.crc):
        raise DamagedError("a chunk with a wrong checksum")
    return data


@dataclass
class Run:
    """Messages that lie in one buffer, in the order of their stamps.

    Attributes:
        data: the buffer.
        stamps: (n,) ns, rising.
        spans: (n, 2) where in ``data`` the n bodies begin and end.
        keys: (n,) channel of each.
        next: the first that has not been given out yet.
    """

    data: bytes | memoryview
    stamps: NDArray[np.int64]
    spans: NDArray[np.int64]
    keys: NDArray[np.int64]
    next: int = 0

    @property
    def head(self) -> int:
        """Stamp of the next message; `FOREVER` after the last."""
        return int(self.stamps[self.next]) if self.next < len(self.stamps) else FOREVER

    def until(self, stamp: int) -> Iterator[tuple[int, int, bytes]]:
        """Channel, stamp and bytes of each further message whose stamp is below ``stamp``."""
        begin = self.next
        self.next = int(np.searchsorted(self.stamps, stamp))
        part = slice(begin, max(self.next, begin))
        data = self.data
        rows = zip(self.keys[part].tolist(), self.stamps[part].tolist(), self.spans[part].tolist())
        for key, at, (start, stop) in rows:
            yield key, at, bytes(data[start:stop])


@dataclass
class Contents:
    """What is in a chunk: the messages that were asked for, and where definitions lie: (kind,
    begin, end).
    """

    run: Run
    definitions: list[tuple[int, int, int]] = field(default_factory=list)


def contents(
    data: bytes | memoryview,
    wanted: Mapping[int, Any] | None = None,
    start: int = 0,
    stop: int = FOREVER,
) -> Contents:
    """Take an unpacked chunk apart: messages of the channels ``wanted`` (None: all) with start <=
    stamp < stop.

    Raises:
        DamagedError: the records in it do not fit.
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
                raise DamagedError("a message without a head")
            if (wanted is None or key in wanted) and start <= stamp < stop:
                stamps.append(stamp)
                spans.append(at + head)
                spans.append(end)
                keys.append(key)
        elif kind in (SCHEMA, CHANNEL) and length >= 14:
            definitions.append((kind, at + 9, end))
        else:
            raise DamagedError("a chunk with something else than messages in it")
        at = end
    while at < size:  # what is too short to be a message
        kind, length = PREFIX.unpack(bytes(data[at : at + 9]).ljust(9, b"\xff"))
        if kind not in (SCHEMA, CHANNEL) or at + 9 + length > size:
            raise DamagedError("a chunk that ends within a record")
        definitions.append((kind, at + 9, at + 9 + length))
        at += 9 + length
    return Contents(_run(data, stamps, spans, keys), definitions)


def loose(records: list[tuple[int, int, bytes]]) -> Run:
    """A run of messages that stand outside of chunks: (channel, stamp, bytes) each."""
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
    """A record's fields by the `mcap` library.

    Raises:
        DamagedError: they cannot be read.
    """
    try:
        return record.read(ReadDataStream(io.BytesIO(body)))
    except (EndOfFile, McapError, struct.error, ValueError, MemoryError, OverflowError):
        raise DamagedError("a record that cannot be read") from None
