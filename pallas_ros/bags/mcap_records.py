"""Records of an MCAP file, resynchronised after damage.

The file is not trusted: a length must fit into the file, and a chunk must be consistent. Format:
https://mcap.dev/spec
"""

import io
import re
import struct
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

from mcap.data_stream import ReadDataStream
from mcap.exceptions import EndOfFile, McapError

MAGIC = b"\x89MCAP0\r\n"
FOREVER = 2**63 - 1
"""Later than every timestamp."""
CHUNK_LIMIT = 1 << 27
"""Maximum bytes of a record or of a decompressed chunk; the largest maps and point clouds have half
of that.
"""
READ_AGAIN = 4
"""Reading stops if the search for the next valid record has read this many times the file size."""

HEADER, FOOTER, SCHEMA, CHANNEL, MESSAGE, CHUNK, MESSAGE_INDEX = range(1, 8)
CHUNK_INDEX, ATTACHMENT, ATTACHMENT_INDEX, STATISTICS = range(8, 12)
METADATA, METADATA_INDEX, SUMMARY_OFFSET, DATA_END = range(12, 16)

PREFIX = struct.Struct("<BQ")
MESSAGE_HEAD = struct.Struct("<HIQQ")
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


def parse(record: Any, body: bytes | memoryview) -> Any:
    """Parse a record with the `mcap` library.

    Raises:
        DamagedError: parsing fails.
    """
    try:
        return record.read(ReadDataStream(io.BytesIO(body)))
    except (EndOfFile, McapError, struct.error, ValueError, MemoryError, OverflowError):
        raise DamagedError("a record that cannot be read") from None


def message_of(body: bytes) -> tuple[int, int, bytes]:
    """Return channel, timestamp and bytes of a message record."""
    key, _, stamp, _ = MESSAGE_HEAD.unpack_from(body)
    return key, min(stamp, FOREVER), body[MESSAGE_HEAD.size :]


def checksum(stream: BinaryIO, begin: int, end: int) -> int:
    """Return the CRC-32 of the bytes of a file from ``begin`` to before ``end``."""
    stream.seek(begin)
    crc = 0
    while begin < end:
        block = stream.read(min(1 << 20, end - begin))
        if not block:
            break
        crc = zlib.crc32(block, crc)
        begin += len(block)
    return crc
