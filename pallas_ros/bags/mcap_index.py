"""Index of an MCAP file: topics, message counts, time span, positions of chunks and of damage."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import BinaryIO

import numpy as np
from mcap.records import Channel, Schema
from numpy.typing import NDArray

from pallas_ros.bags import mcap_records as records
from pallas_ros.bags.mcap_chunks import chunk_of, contents
from pallas_ros.bags.mcap_records import (
    CHUNK_LIMIT,
    FOREVER,
    DamagedError,
    Record,
)
from pallas_ros.bags.mcap_runs import Run

DEFINITIONS_LIMIT = 1 << 25
"""Maximum bytes of all schemas and channels of a file; a graph of a hundred topics has 1 MB."""
_CHUNK_TIMES = 24  # bytes: first and last timestamp and offset, at the beginning of a chunk index
_NO_ROWS = np.zeros((0, 2), dtype=np.int64)


@dataclass
class Index:
    """File index: channels and schemas by id, messages per channel, time span in ns."""

    channels: dict[int, Channel] = field(default_factory=dict)
    schemas: dict[int, Schema] = field(default_factory=dict)
    counts: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    first: int = 0
    last: int = 0
    _bytes: int = field(default=0, init=False)

    def learn(self, kind: int, body: bytes | memoryview) -> bool:
        """Register a schema or channel record; return False if it cannot be read.

        Raises:
            DamagedError: there are so many that they would exhaust the memory.
        """
        self._bytes += len(body)
        if self._bytes > DEFINITIONS_LIMIT:
            raise DamagedError(f"its topics are described in more than {DEFINITIONS_LIMIT} bytes")
        try:
            if kind == records.SCHEMA:
                schema = records.parse(Schema, body)
                self.schemas[schema.id] = schema
            elif kind == records.CHANNEL:
                channel = records.parse(Channel, body)
                self.channels[channel.id] = channel
        except DamagedError:
            return False
        return True

    def count(self, run: Run) -> None:
        """Add messages."""
        if not len(run.stamps):
            return
        for key, count in Counter(run.keys.tolist()).items():
            self.counts[key] += count
        first = int(run.stamps[0])
        last = int(run.stamps[-1])
        self.first = first if not self.last else min(self.first, first)
        self.last = max(self.last, last)

    def count_one(self, key: int, stamp: int) -> None:
        """Add a message outside of chunks."""
        self.counts[key] += 1
        self.first = stamp if not self.last else min(self.first, stamp)
        self.last = max(self.last, stamp)

    @property
    def known(self) -> dict[int, tuple[str, str]]:
        """Return topic and type of each channel of ROS 2 messages."""
        return {
            key: (channel.topic, self.schemas[channel.schema_id].name)
            for key, channel in self.channels.items()
            if channel.schema_id in self.schemas and channel.message_encoding == "cdr"
        }


class MessageIndexes:
    """Compare the message indexes behind each chunk (channel, then timestamp and offset of each
    message) with the chunk.
    """

    def __init__(self) -> None:
        self._expected: dict[int, NDArray[np.int64]] | None = None
        self._some = False
        self._lacking = False
        self._differing = False

    @property
    def wrong(self) -> bool:
        """Whether an index differed from its chunk, or was missing for some chunks only."""
        return self._differing or (self._some and self._lacking)

    def expect(self, run: Run | None) -> None:
        """Set the next chunk; None if it is damaged or missing."""
        self._lacking |= self._expected is not None and len(self._expected) > 0
        if run is None:
            self._expected = None
            return
        head = records.PREFIX.size + records.MESSAGE_HEAD.size
        rows = np.stack((run.stamps, run.spans[:, 0] - head), axis=1)
        keys = set(run.keys.tolist())
        self._expected = {key: rows[run.keys == key] for key in keys}

    def compare(self, stream: BinaryIO, record: Record) -> None:
        """Compare the next index."""
        if self._expected is None:
            return
        self._some = True
        stream.seek(record.at + records.PREFIX.size)
        body = stream.read(min(record.end - record.at - records.PREFIX.size, CHUNK_LIMIT))
        there = np.frombuffer(body[6 : 6 + (len(body) - 6) // 16 * 16], dtype="<i8").reshape(-1, 2)
        there = there[np.lexsort((there[:, 1], there[:, 0]))]
        wanted = self._expected.pop(int.from_bytes(body[:2], "little"), _NO_ROWS)
        self._differing |= int.from_bytes(body[2:6], "little") != len(body) - 6
        self._differing |= there.shape != wanted.shape or bool((there != wanted).any())


def times_agree(record: Record, run: Run) -> bool:
    """Whether the first and last timestamp in a chunk's header are correct."""
    chunk = chunk_of(record.body)
    return not len(run.stamps) or (chunk.first, chunk.last) == (run.head, int(run.stamps[-1]))


def learn_anyway(record: Record, doubtful: Index) -> None:
    """Use definitions from a chunk with a wrong checksum, in case there are no others."""
    chunk = chunk_of(record.body)
    if chunk.compression:
        return
    try:
        for kind, begin, end in contents(chunk.data, {}).definitions:
            doubtful.learn(kind, chunk.data[begin:end])
    except DamagedError:
        return


def chunk_times(stream: BinaryIO, record: Record) -> tuple[int, int, int]:
    """Return offset, first and last timestamp of a chunk from its index."""
    stream.seek(record.at + records.PREFIX.size)
    body = stream.read(_CHUNK_TIMES)
    if len(body) < _CHUNK_TIMES:
        raise DamagedError
    first, last, at = (int.from_bytes(body[k : k + 8], "little") for k in (0, 8, 16))
    return min(at, FOREVER), min(first, FOREVER), min(last, FOREVER)


def table_of(rows: list[tuple[int, int, int]]) -> NDArray[np.int64]:
    """Return (n, 3) offset, first and last timestamp of each chunk."""
    return np.array(rows, dtype=np.int64).reshape(-1, 3)


@dataclass(frozen=True)
class Gap:
    """A damaged region: reason, number of lost messages (None: unknown), and their time span."""

    why: str
    messages: int | None = None
    first: int = 0
    last: int = 0
