"""One MCAP file, read front to back: every chunk that is whole is used, and memory holds two of them at most.

The `mcap` library parses records. Chunks are taken apart here, because its reader keeps the index of the whole file in memory and
cannot read a file that was cut short. Format: https://mcap.dev/spec
"""

import io
import itertools
import struct
import zlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import lz4.frame
import numpy as np
import zstandard
from mcap.data_stream import ReadDataStream
from mcap.exceptions import EndOfFile, McapError
from mcap.records import Channel, Chunk, Footer, Header, Schema, Statistics
from numpy.typing import NDArray

from pallas_ros.body.errors import PallasError

MAGIC = b"\x89MCAP0\r\n"
FOREVER = 2**63 - 1
"""Later than every stamp."""
CHUNK_LIMIT = 1 << 28
"""Bytes of a chunk, compressed or not; more is taken for damage or malice."""
_HEADER, _FOOTER, _SCHEMA, _CHANNEL, _MESSAGE, _CHUNK, _STATISTICS, _DATA_END = (
    0x01,
    0x02,
    0x03,
    0x04,
    0x05,
    0x06,
    0x0B,
    0x0F,
)
_PREFIX = struct.Struct("<BQ")
_CHUNK_SPAN = struct.Struct("<QQ")  # stamps of a chunk's first and last message
_MESSAGE_HEAD = struct.Struct("<HIQQ")

Message = tuple[str, str, int, bytes]


@dataclass
class Index:
    """What a file holds: channels by id, schemas by id, messages per channel, first and last stamp in ns, and what is damaged."""

    channels: dict[int, Channel] = field(default_factory=dict)
    schemas: dict[int, Schema] = field(default_factory=dict)
    counts: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    first: int = 0
    last: int = 0
    damage: str = ""


class _Damaged(Exception):
    """Here the file stops making sense."""


class McapFile:
    """An MCAP file of ROS 2 messages."""

    def __init__(self, path: Path) -> None:
        """Check that it is one.

        Raises:
            PallasError: it is not, or it holds the messages of another system.
        """
        self.path = path
        try:
            with path.open("rb") as stream:
                if stream.read(len(MAGIC)) != MAGIC:
                    raise PallasError(f"{path}: not an MCAP file, whatever its name says")
                header = next(_records(stream), None)
                profile = (
                    _parse(Header, header[1]).profile
                    if header is not None and header[0] == _HEADER
                    else ""
                )
        except OSError as error:
            raise PallasError(f"{path}: cannot be read: {error.strerror}") from None
        except _Damaged:
            profile = ""
        if profile not in ("ros2", ""):
            raise PallasError(f"{path}: an MCAP file of '{profile}', not of ROS 2")
        self._index: Index | None = None
        self._chunks: NDArray[np.int64] | None = None

    def index(self) -> Index:
        """Channels and counts: from the summary at the end, or by reading the file where that is missing; found once."""
        if self._index is None:
            self._index = self._summary() or self._scan()
        return self._index

    def messages(self, topics: set[str], start: int, stop: int) -> Iterator[Message]:
        """Messages of ``topics`` with start <= stamp < stop, in the order of their stamps; stops quietly where the file is cut."""
        part = (
            start > 0 or stop < FOREVER
        )  # chunks are skipped then, and with them the channels they declare
        index, waiting = self.index() if part else Index(), list[Message]()
        try:
            for kind, body in self._part(start, stop) if part else self._data_records():
                if kind == _CHUNK:
                    if len(body) < _CHUNK_SPAN.size:
                        raise _Damaged("a chunk without a head")
                    first, _ = _CHUNK_SPAN.unpack_from(body)
                    ready = [message for message in waiting if message[2] < first]
                    yield from ready
                    waiting = waiting[len(ready) :]
                    waiting += self._from_chunk(body, index, topics, start, stop)
                    waiting.sort(key=_stamp)
                else:
                    waiting += _take(kind, memoryview(body), index, topics, start, stop)
                    if len(waiting) > 1000 and kind == _MESSAGE:  # a file without chunks
                        waiting.sort(key=_stamp)
                        yield from waiting[:500]
                        waiting = waiting[500:]
        except _Damaged:
            pass
        waiting.sort(key=_stamp)
        yield from waiting

    def _from_chunk(
        self, body: bytes, index: Index, topics: set[str], start: int, stop: int
    ) -> list[Message]:
        taken: list[Message] = []
        for kind, record in _split(_unpack(body)):
            taken += _take(kind, record, index, topics, start, stop)
        return taken

    def _data_records(self) -> Iterator[tuple[int, bytes]]:
        with self.path.open("rb") as stream:
            stream.seek(len(MAGIC))
            for kind, body in _records(stream):
                if kind in (_DATA_END, _FOOTER):
                    return
                yield kind, body

    def _part(self, start: int, stop: int) -> Iterator[tuple[int, bytes]]:
        """The chunks that reach into start <= stamp < stop; every record where messages stand outside of chunks."""
        chunks = self._chunk_table()
        if not len(chunks):
            yield from self._data_records()
            return
        with self.path.open("rb") as stream:
            for offset in chunks[(chunks[:, 2] >= start) & (chunks[:, 1] < stop), 0].tolist():
                stream.seek(offset)
                yield from itertools.islice(_records(stream), 1)

    def _chunk_table(self) -> NDArray[np.int64]:
        """(n, 3): where every chunk begins, its first and last stamp; read once, a head at a time. Empty where not all is in chunks."""
        if self._chunks is None:
            found: list[tuple[int, int, int]] = []
            with self.path.open("rb") as stream:
                at, size = len(MAGIC), stream.seek(0, io.SEEK_END)
                while at + _PREFIX.size + _CHUNK_SPAN.size <= size:
                    stream.seek(at)
                    head = stream.read(_PREFIX.size + _CHUNK_SPAN.size)
                    kind, length = _PREFIX.unpack_from(head)
                    if kind == _MESSAGE:
                        found.clear()
                    if kind in (_MESSAGE, _DATA_END, _FOOTER) or at + _PREFIX.size + length > size:
                        break
                    if kind == _CHUNK:
                        first, last = _CHUNK_SPAN.unpack_from(head, _PREFIX.size)
                        found.append((at, min(first, FOREVER), min(last, FOREVER)))
                    at += _PREFIX.size + length
            self._chunks = np.array(found, dtype=np.int64).reshape(-1, 3)
        return self._chunks

    def _summary(self) -> Index | None:
        """The summary section without its chunk indexes; None where there is none, or a damaged one."""
        with self.path.open("rb") as stream:
            size = stream.seek(0, io.SEEK_END)
            tail = _PREFIX.size + 20 + len(MAGIC)
            if size < tail + len(MAGIC):
                return None
            stream.seek(size - tail)
            end = stream.read(tail)
            if not end.endswith(MAGIC) or end[0] != _FOOTER:
                return None
            index, statistics = Index(), None
            try:
                start = _parse(Footer, end[_PREFIX.size : -len(MAGIC)]).summary_start
                if not len(MAGIC) < start < size - tail:
                    return None
                stream.seek(start)
                for kind, body in _records(stream):
                    if kind == _FOOTER:
                        break
                    if kind == _STATISTICS:
                        statistics = _parse(Statistics, body)
                    elif kind in (_SCHEMA, _CHANNEL):
                        _take(kind, memoryview(body), index, set(), 0, 0)
            except _Damaged:
                return None
        if statistics is None or (statistics.message_count and not index.channels):
            return None
        index.counts.update(statistics.channel_message_counts)
        index.first, index.last = (statistics.message_start_time, statistics.message_end_time)
        return index

    def _scan(self) -> Index:
        with self.path.open("rb") as stream:
            stream.seek(-min(len(MAGIC), stream.seek(0, io.SEEK_END)), io.SEEK_END)
            closed = stream.read() == MAGIC
        index = Index(damage="" if closed else f"{self.path.name} was not closed")
        try:
            for kind, body in self._data_records():
                if kind == _CHUNK:
                    for inner, record in _split(_unpack(body)):
                        _count(inner, record, index)
                else:
                    _count(kind, memoryview(body), index)
        except _Damaged as error:
            index.damage = f"{self.path.name} was not closed ({error})"
        return index


def _stamp(message: Message) -> int:
    return message[2]


def _records(stream: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Kind and body of every record from here to the end.

    Raises:
        _Damaged: the file ends within a record, or a record is too long to be one.
    """
    while prefix := stream.read(_PREFIX.size):
        if len(prefix) < _PREFIX.size:
            if prefix == MAGIC:
                return
            raise _Damaged("it ends within a record")
        kind, length = _PREFIX.unpack(prefix)
        if length > CHUNK_LIMIT:
            raise _Damaged(f"a record of {length} bytes")
        body = stream.read(length)
        if len(body) < length:
            raise _Damaged("it ends within a record")
        yield kind, body


def _split(data: bytes) -> Iterator[tuple[int, memoryview]]:
    """The records of an unpacked chunk."""
    view, at = memoryview(data), 0
    while at + _PREFIX.size <= len(view):
        kind, length = _PREFIX.unpack_from(view, at)
        at += _PREFIX.size
        if at + length > len(view):
            raise _Damaged("a chunk that ends within a record")
        yield kind, view[at : at + length]
        at += length


def _unpack(body: bytes) -> bytes:
    """The contents of a chunk record."""
    chunk = _parse(Chunk, body)
    if chunk.uncompressed_size > CHUNK_LIMIT:
        raise _Damaged(f"a chunk of {chunk.uncompressed_size} bytes")
    try:
        if chunk.compression == "zstd":
            data = (
                zstandard.ZstdDecompressor()
                .stream_reader(chunk.data)
                .read(chunk.uncompressed_size + 1)
            )
        elif chunk.compression == "lz4":
            data = lz4.frame.LZ4FrameDecompressor().decompress(
                chunk.data, max_length=chunk.uncompressed_size + 1
            )
        elif not chunk.compression:
            data = chunk.data
        else:
            raise _Damaged(f"a chunk compressed by '{chunk.compression[:20]}', which is not known")
    except (zstandard.ZstdError, RuntimeError, ValueError, EOFError) as error:
        raise _Damaged(f"a chunk that cannot be unpacked: {error}") from None
    if len(data) != chunk.uncompressed_size or (
        chunk.uncompressed_crc and zlib.crc32(data) != chunk.uncompressed_crc
    ):
        raise _Damaged("a chunk with a wrong checksum")
    return bytes(data)


def _parse(record: Any, body: bytes | memoryview) -> Any:
    """A record's fields by the `mcap` library."""
    try:
        return record.read(ReadDataStream(io.BytesIO(body)))
    except (
        EndOfFile,
        McapError,
        struct.error,
        UnicodeDecodeError,
        ValueError,
        MemoryError,
        OverflowError,
    ) as error:
        raise _Damaged(f"a record that cannot be read: {error}") from None


def _take(
    kind: int, record: memoryview | bytes, index: Index, topics: set[str], start: int, stop: int
) -> list[Message]:
    """Learn from a schema or channel; return the message of a message record that is wanted."""
    if kind == _MESSAGE:
        if len(record) < _MESSAGE_HEAD.size:
            raise _Damaged("a message without a head")
        key, _, stamp, _ = _MESSAGE_HEAD.unpack_from(record)
        channel = index.channels.get(key)
        if channel is not None and channel.topic in topics and start <= stamp < stop:
            return [
                (
                    channel.topic,
                    index.schemas[channel.schema_id].name,
                    stamp,
                    bytes(record[_MESSAGE_HEAD.size :]),
                )
            ]
    elif kind == _SCHEMA:
        schema = _parse(Schema, record)
        index.schemas[schema.id] = schema
    elif kind == _CHANNEL:
        channel = _parse(Channel, record)
        if channel.schema_id in index.schemas:
            index.channels[channel.id] = channel
    return []


def _count(kind: int, record: memoryview, index: Index) -> None:
    """Add a record to the index of a file without summary."""
    _take(kind, record, index, set(), 0, 0)
    if kind == _MESSAGE:
        key, _, stamp, _ = _MESSAGE_HEAD.unpack_from(record)
        index.counts[key] += 1
        index.first = stamp if not index.last else min(index.first, stamp)
        index.last = max(index.last, stamp)
