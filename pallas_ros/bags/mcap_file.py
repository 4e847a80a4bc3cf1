"""Sequential reader of one MCAP file: uses every intact chunk and reports missing data.

The `mcap` library parses definitions. Chunks are parsed in `mcap_records`, because the library
keeps the index of the whole file in memory and cannot read truncated files. Memory is limited to
two chunks, whatever the file claims.
"""

import io
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np
from mcap.records import Channel, Footer, Header, Schema, Statistics
from numpy.typing import NDArray

from pallas_ros.bags import mcap_records as records
from pallas_ros.bags.mcap_records import (
    CHUNK_LIMIT,
    FOREVER,
    MAGIC,
    DamagedError,
    Inflation,
    Record,
    Records,
    Run,
)
from pallas_ros.body.errors import PallasError

DEFINITIONS_LIMIT = 1 << 25
"""Maximum bytes of all schemas and channels of a file; a graph of a hundred topics has 1 MB."""
_LOOSE = 500
"""Bytes; messages outside of chunks are sorted within twice as many."""
_FOOTER_BYTES = records.PREFIX.size + 20 + len(MAGIC)
_PLAUSIBLE_NS = 10**16  # four months; a longer span is itself due to damage
_CHUNK_TIMES = 24  # bytes: first and last timestamp and offset, at the beginning of a chunk index

_NO_ROWS = np.zeros((0, 2), dtype=np.int64)

Message = tuple[str, str, int, bytes]


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


@dataclass(frozen=True)
class Gap:
    """A damaged region: reason, number of lost messages (None: unknown), and their time span."""

    why: str
    messages: int | None = None
    first: int = 0
    last: int = 0


class McapFile:
    """An MCAP file.

    Attributes:
        path: of the file.
        gaps: damaged regions found so far, by file offset.
    """

    def __init__(self, path: Path) -> None:
        """Check that it is an MCAP file.

        Raises:
            PallasError: it is not, or it contains ROS 1 messages.
        """
        self.path = path
        self.gaps: dict[int, Gap] = {}
        self._troubles: dict[str, None] = {}
        self._index: Index | None = None
        self._announced = 0  # number of messages according to the summary
        self._missing: int | None = None
        self._chunks: NDArray[np.int64] | None = None
        try:
            with path.open("rb") as stream:
                self._begin(stream)
        except OSError as error:
            raise PallasError(f"{path}: cannot be read: {error.strerror}") from None

    @property
    def damage(self) -> str:
        """Describe known damage to the file; empty if there is none."""
        words = list(self._troubles)
        if self.gaps:
            words.append(f"is damaged in {_times(len(self.gaps), 'place')}")
        if self.gaps or self._missing:
            words.append(self._lost())
        return f"{self.path.name} " + ", ".join(words) if words else ""

    def index(self) -> Index:
        """Channels and counts, computed once.

        They are read from the summary at the end or, if it is missing, by scanning the file.
        """
        if self._index is None:
            self._index = self._summary() or self._scan()
        return self._index

    def messages(self, topics: set[str], start: int, stop: int) -> Iterator[Message]:
        """Yield messages of ``topics`` with start <= stamp < stop, in order of timestamp.

        Damaged chunks are skipped.
        """
        names = {key: name for key, name in self.index().known.items() if name[0] in topics}
        for key, stamp, data in _in_order(self._runs(names, start, stop)):
            topic, msgtype = names[key]
            yield topic, msgtype, stamp, data

    def check(self, progress: Callable[[int], None] = lambda count: None) -> None:
        """Read everything to complete `damage`; ``progress`` is called with the message count."""
        index = self.index()
        found = Index()
        outside = Index()
        indexes = _Indexes()
        inflation = Inflation()
        read = 0
        described = True
        with self.path.open("rb") as stream:
            walk = Records(stream)
            for record in walk:
                if record.kind == records.CHUNK:
                    run = self._unpacked(record, inflation, found)
                    indexes.expect(run)
                    if run is not None:
                        found.count(run)
                        if not _times_agree(record, run):
                            self._troubles["has chunks with wrong times"] = None
                elif record.kind in (records.SCHEMA, records.CHANNEL):
                    described &= outside.learn(record.kind, record.body)
                elif record.kind == records.MESSAGE_INDEX:
                    indexes.compare(stream, record)
                elif record.kind == records.MESSAGE:
                    found.count_one(*_message(record.body)[:2])
                elif record.kind == records.DATA_END:
                    self._check_data(stream, record)
                if (count := sum(found.counts.values())) // 1000 > read // 1000:
                    progress(count)
                read = count
            self._note(walk)
        indexes.expect(None)
        if indexes.wrong:
            self._troubles["has a damaged index"] = None
        if not (
            described
            and outside.channels.items() <= index.channels.items()
            and outside.schemas.items() <= index.schemas.items()
        ):
            self._troubles["has a damaged description of a topic"] = None
        if self._announced:
            here = ((count, found.counts.get(key, 0)) for key, count in index.counts.items())
            self._missing = sum(max(promised - count, 0) for promised, count in here)

    def _check_data(self, stream: BinaryIO, record: Record) -> None:
        """Verify the checksum of the data section, if present."""
        wanted = int.from_bytes(record.body, "little")
        if wanted and _checksum(stream, 0, record.at) != wanted:
            self._troubles["does not match its checksum"] = None

    def _begin(self, stream: BinaryIO) -> None:
        """Check the magic bytes and the header."""
        begin = stream.read(len(MAGIC))
        alike = sum(a == b for a, b in zip(begin, MAGIC))
        if alike < len(MAGIC) - 1:
            raise PallasError(f"{self.path}: not an MCAP file, whatever its name says")
        if begin != MAGIC:
            self._troubles["has a damaged beginning"] = None
        first = next(iter(Records(stream)), None)
        try:
            if first is None or first.kind != records.HEADER or first.at != len(MAGIC):
                raise DamagedError
            profile = records.parse(Header, first.body).profile
        except DamagedError:
            if stream.seek(0, io.SEEK_END) > len(MAGIC) + records.PREFIX.size:
                self._troubles["has a damaged beginning"] = None
            return
        if profile == "ros1":
            raise PallasError(
                f"{self.path}: an MCAP file of ROS 1, not of ROS 2; convert the .bag that it was"
                " made from: rosbags-convert --src recording.bag --dst recording"
            )

    def _runs(
        self, names: dict[int, tuple[str, str]], start: int, stop: int
    ) -> Iterator[tuple[int, Run]]:
        """Yield the timestamp of the first message, and the messages, of each chunk."""
        inflation = Inflation()
        waiting = list[tuple[int, int, bytes]]()
        with self.path.open("rb") as stream:
            for record in self._data(stream, start, stop):
                if record.kind == records.CHUNK:
                    if waiting:
                        yield _pack(waiting)
                    run = self._unpacked(record, inflation, None, names, start, stop)
                    if run is not None and len(run.stamps):
                        yield run.head, run
                elif record.kind == records.MESSAGE:
                    key, stamp, data = _message(record.body)
                    if key in names and start <= stamp < stop:
                        waiting.append((key, stamp, data))
                    if len(waiting) >= _LOOSE:
                        yield _pack(waiting)
            if waiting:
                yield _pack(waiting)

    def _unpacked(
        self,
        record: Record,
        inflation: Inflation,
        learner: Index | None = None,
        wanted: dict[int, tuple[str, str]] | None = None,
        start: int = 0,
        stop: int = FOREVER,
    ) -> Run | None:
        """Return the contents of a chunk; record damage and return None if it is damaged."""
        chunk = records.chunk_of(record.body)
        try:
            data = records.unpack(chunk, inflation)
            found = records.contents(data, wanted, start, stop)
        except DamagedError as error:
            if record.at not in self.gaps:
                count = self._indexed_after(record.end)
                self.gaps[record.at] = Gap(str(error), count, chunk.first, chunk.last)
            return None
        if learner is not None:
            for kind, begin, end in found.definitions:
                learner.learn(kind, memoryview(data)[begin:end])
        return found.run

    def _indexed_after(self, end: int) -> int | None:
        """Return a chunk's message count according to the indexes that follow it, or None."""
        count = None
        with self.path.open("rb") as stream:
            for record in Records(stream, end):
                if record.kind != records.MESSAGE_INDEX:
                    break
                count = (count or 0) + (record.end - record.at - records.PREFIX.size - 6) // 16
        return count

    def _data(self, stream: BinaryIO, start: int, stop: int) -> Iterator[Record]:
        """Yield the records of the data section; for a time range, only chunks that overlap it.

        The range is start <= stamp < stop.
        """
        chunks = self._chunk_table() if start > 0 or stop < FOREVER else ()
        if not len(chunks):
            walk = Records(stream)
            yield from walk
            self._note(walk)
            return
        assert isinstance(chunks, np.ndarray)
        for at in chunks[(chunks[:, 2] >= start) & (chunks[:, 1] < stop), 0].tolist():
            record = next(iter(Records(stream, at)), None)
            if record is not None and record.kind == records.CHUNK and record.at == at:
                yield record
            else:
                self.gaps.setdefault(at, Gap("a chunk that is not where the index says"))

    def _note(self, walk: Records) -> None:
        """Store the faults found when reading all records."""
        for at, why in walk.faults.items():
            self.gaps.setdefault(at, Gap(why))
        if walk.lost_end and not self._closed():
            self._troubles[f"was not closed ({walk.lost_end})"] = None
            self._troubles.pop("was not closed", None)
        elif walk.lost_end:
            self.gaps.setdefault(-1, Gap(walk.lost_end))

    def _closed(self) -> bool:
        with self.path.open("rb") as stream:
            stream.seek(-min(len(MAGIC), stream.seek(0, io.SEEK_END)), io.SEEK_END)
            return stream.read() == MAGIC

    def _chunk_table(self) -> NDArray[np.int64]:
        """Return (n, 3) offset, first and last timestamp of every chunk; computed once.

        Empty if some messages are outside of chunks.
        """
        if self._chunks is None:
            self.index()
        if self._chunks is None:  # a summary without chunk indexes
            table = list[tuple[int, int, int]]()
            with self.path.open("rb") as stream:
                for record in Records(stream):
                    if record.kind == records.MESSAGE:
                        table.clear()
                        break
                    if record.kind == records.CHUNK:
                        chunk = records.chunk_of(record.body)
                        ends = min(chunk.first, FOREVER), min(chunk.last, FOREVER)
                        table.append((record.at, *ends))
            self._chunks = _table(table)
        return self._chunks

    def _summary(self) -> Index | None:
        """Return the summary section; None if missing or damaged."""
        with self.path.open("rb") as stream:
            size = stream.seek(0, io.SEEK_END)
            if size < _FOOTER_BYTES + len(MAGIC):
                return None
            stream.seek(size - _FOOTER_BYTES)
            end = stream.read(_FOOTER_BYTES)
            if not end.endswith(MAGIC) or end[0] != records.FOOTER:
                return None
            try:
                footer = records.parse(Footer, end[records.PREFIX.size : -len(MAGIC)])
                start = footer.summary_start
                if start == 0:
                    return None
                if not len(MAGIC) < start < size - _FOOTER_BYTES:
                    raise DamagedError
                until = size - len(MAGIC) - 4  # the checksum covers the footer up to itself
                if footer.summary_crc and _checksum(stream, start, until) != footer.summary_crc:
                    raise DamagedError
                return self._read_summary(stream, start)
            except DamagedError:
                self._troubles["has a damaged index"] = None
                return None

    def _read_summary(self, stream: BinaryIO, start: int) -> Index | None:
        index = Index()
        statistics = None
        table = list[tuple[int, int, int]]()
        walk = Records(stream, start)
        for record in walk:
            if record.kind == records.STATISTICS:
                statistics = records.parse(Statistics, record.body)
            elif record.kind in (records.SCHEMA, records.CHANNEL):
                index.learn(record.kind, record.body)
            elif record.kind == records.CHUNK_INDEX:
                table.append(_chunk_times(stream, record))
        if walk.faults or walk.lost_end:
            raise DamagedError
        if statistics is None or (statistics.message_count and not index.channels):
            return None
        index.counts.update(statistics.channel_message_counts)
        index.first = statistics.message_start_time
        index.last = statistics.message_end_time
        self._announced = statistics.message_count
        if len(table) == statistics.chunk_count:
            self._chunks = _table(table)
        return index

    def _scan(self) -> Index:
        """Scan the whole file for its contents."""
        if not self._closed():
            self._troubles["was not closed"] = None
        index = Index()
        doubtful = Index()
        inflation = Inflation()
        table = list[tuple[int, int, int]]()
        loose = False
        with self.path.open("rb") as stream:
            walk = Records(stream)
            try:
                for record in walk:
                    if record.kind == records.CHUNK:
                        run = self._unpacked(record, inflation, index)
                        if run is None:
                            _learn_anyway(record, doubtful)
                        elif len(run.stamps):
                            index.count(run)
                            table.append((record.at, run.head, int(run.stamps[-1])))
                    elif record.kind == records.MESSAGE:
                        loose = True
                        index.count_one(*_message(record.body)[:2])
                    elif record.kind in (records.SCHEMA, records.CHANNEL):
                        index.learn(record.kind, record.body)
            except DamagedError as error:
                self.gaps.setdefault(0, Gap(str(error)))
            self._note(walk)
        self._chunks = _table([] if loose else table)
        index.schemas = {**doubtful.schemas, **index.schemas}
        index.channels = {**doubtful.channels, **index.channels}
        nameless = sum(count for key, count in index.counts.items() if key not in index.channels)
        if nameless:
            self._troubles[f"has {nameless} messages on topics that it does not describe"] = None
        return index

    def _lost(self) -> str:
        """Return the number of missing messages and their time span, as far as known."""
        counts = [gap.messages for gap in self.gaps.values()]
        known = sum(count or 0 for count in counts)
        if self._missing is not None:
            number = f"{self._missing} of {self._announced} messages are missing"
        elif None in counts:
            number = f"at least {known} messages are missing" if known else "messages are missing"
        else:
            number = f"{known} messages are missing"
        first = self._index.first if self._index is not None else 0
        spans = [(gap.first - first, gap.last - first) for gap in self.gaps.values() if gap.first]
        begin = min((a for a, _ in spans), default=-1)
        end = max((b for _, b in spans), default=-1)
        if not first or not 0 <= begin <= end < _PLAUSIBLE_NS:
            return number
        return f"{number} between {begin / 1e9:.2f} and {end / 1e9:.2f} s"


def _in_order(runs: Iterator[tuple[int, Run]]) -> Iterator[tuple[int, int, bytes]]:
    """Merge the messages of possibly overlapping chunks by timestamp.

    Messages more than `CHUNK_LIMIT` bytes late are yielded late.
    """
    waiting: list[Run] = []
    for first, run in runs:
        yield from _before(waiting, first)
        waiting.append(run)
        while sum(len(run.data) for run in waiting) > 2 * CHUNK_LIMIT:
            oldest = min(waiting, key=lambda run: run.head)
            yield from oldest.until(FOREVER)
            waiting.remove(oldest)
    yield from _before(waiting, FOREVER)


def _before(waiting: list[Run], stamp: int) -> Iterator[tuple[int, int, bytes]]:
    """Remove and yield the messages in ``waiting`` before ``stamp``."""
    while waiting:
        waiting.sort(key=lambda run: run.head)
        run = waiting[0]
        if run.head >= stamp:
            return
        other = waiting[1].head + 1 if len(waiting) > 1 else FOREVER
        yield from run.until(min(stamp, other))
        if run.head == FOREVER:
            waiting.remove(run)


def _pack(waiting: list[tuple[int, int, bytes]]) -> tuple[int, Run]:
    run = records.loose(waiting)
    waiting.clear()
    return run.head, run


def _message(body: bytes) -> tuple[int, int, bytes]:
    """Return channel, timestamp and bytes of a message record."""
    key, _, stamp, _ = records.MESSAGE_HEAD.unpack_from(body)
    return key, min(stamp, FOREVER), body[records.MESSAGE_HEAD.size :]


class _Indexes:
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


def _times_agree(record: Record, run: Run) -> bool:
    """Whether the first and last timestamp in a chunk's header are correct."""
    chunk = records.chunk_of(record.body)
    return not len(run.stamps) or (chunk.first, chunk.last) == (run.head, int(run.stamps[-1]))


def _learn_anyway(record: Record, doubtful: Index) -> None:
    """Use definitions from a chunk with a wrong checksum, in case there are no others."""
    chunk = records.chunk_of(record.body)
    if chunk.compression:
        return
    try:
        for kind, begin, end in records.contents(chunk.data, {}).definitions:
            doubtful.learn(kind, chunk.data[begin:end])
    except DamagedError:
        return


def _chunk_times(stream: BinaryIO, record: Record) -> tuple[int, int, int]:
    """Return offset, first and last timestamp of a chunk from its index."""
    stream.seek(record.at + records.PREFIX.size)
    body = stream.read(_CHUNK_TIMES)
    if len(body) < _CHUNK_TIMES:
        raise DamagedError
    first, last, at = (int.from_bytes(body[k : k + 8], "little") for k in (0, 8, 16))
    return min(at, FOREVER), min(first, FOREVER), min(last, FOREVER)


def _table(rows: list[tuple[int, int, int]]) -> NDArray[np.int64]:
    return np.array(rows, dtype=np.int64).reshape(-1, 3)


def _checksum(stream: BinaryIO, begin: int, end: int) -> int:
    stream.seek(begin)
    crc = 0
    while begin < end:
        block = stream.read(min(1 << 20, end - begin))
        if not block:
            break
        crc = zlib.crc32(block, crc)
        begin += len(block)
    return crc


def _times(count: int, thing: str) -> str:
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"
