"""One MCAP file, read front to back: every chunk that is whole is used, what is missing is
reported.

The `mcap` library parses definitions. Chunks are taken apart in `mcap_records`, because the library
keeps the index of the whole file in memory and cannot read a file that was cut short. Memory holds
two chunks, whatever the file says.
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
"""Bytes of all schemas and channels of a file; a graph of a hundred topics has 1 MB."""
_LOOSE = 500
"""Messages outside of chunks are put in order within twice as many."""
_FOOTER_BYTES = records.PREFIX.size + 20 + len(MAGIC)
_PLAUSIBLE_NS = 10**16  # four months; a span beyond is the damage itself
_CHUNK_TIMES = 24  # bytes: first and last stamp and place, at the head of a chunk's index

_NO_ROWS = np.zeros((0, 2), dtype=np.int64)

Message = tuple[str, str, int, bytes]


@dataclass
class Index:
    """What a file holds: channels and schemas by id, messages per channel, first and last stamp in
    ns.
    """

    channels: dict[int, Channel] = field(default_factory=dict)
    schemas: dict[int, Schema] = field(default_factory=dict)
    counts: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    first: int = 0
    last: int = 0
    _bytes: int = field(default=0, init=False)

    def learn(self, kind: int, body: bytes | memoryview) -> bool:
        """Take in a schema or channel record; False where it cannot be read.

        Raises:
            DamagedError: there are so many that they would fill the memory.
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
        """Add a message that stands outside of chunks."""
        self.counts[key] += 1
        self.first = stamp if not self.last else min(self.first, stamp)
        self.last = max(self.last, stamp)

    @property
    def known(self) -> dict[int, tuple[str, str]]:
        """Topic and type of each channel of ROS 2 messages."""
        return {
            key: (channel.topic, self.schemas[channel.schema_id].name)
            for key, channel in self.channels.items()
            if channel.schema_id in self.schemas and channel.message_encoding == "cdr"
        }


@dataclass(frozen=True)
class Gap:
    """A damaged place: why nothing can be read there, and how many messages were (None: unknown),
    between which stamps.
    """

    why: str
    messages: int | None = None
    first: int = 0
    last: int = 0


class McapFile:
    """An MCAP file.

    Attributes:
        path: of the file.
        gaps: damaged places found so far, by where they are in the file.
    """

    def __init__(self, path: Path) -> None:
        """Check that it is one.

        Raises:
            PallasError: it is not, or it holds the messages of ROS 1.
        """
        self.path = path
        self.gaps: dict[int, Gap] = {}
        self._troubles: dict[str, None] = {}
        self._index: Index | None = None
        self._announced = 0  # messages that a summary promises
        self._missing: int | None = None
        self._chunks: NDArray[np.int64] | None = None
        try:
            with path.open("rb") as stream:
                self._begin(stream)
        except OSError as error:
            raise PallasError(f"{path}: cannot be read: {error.strerror}") from None

    @property
    def damage(self) -> str:
        """What is known to be wrong with the file, in words; empty when nothing is."""
        words = list(self._troubles)
        if self.gaps:
            words.append(f"is damaged in {_times(len(self.gaps), 'place')}")
        if self.gaps or self._missing:
            words.append(self._lost())
        return f"{self.path.name} " + ", ".join(words) if words else ""

    def index(self) -> Index:
        """Channels and counts: from the summary at the end, or by reading the file where that is
        missing; found once.
        """
        if self._index is None:
            self._index = self._summary() or self._scan()
        return self._index

    def messages(self, topics: set[str], start: int, stop: int) -> Iterator[Message]:
        """Messages of ``topics`` with start <= stamp < stop, in the order of their stamps; damaged
        chunks are left out.
        """
        names = {key: name for key, name in self.index().known.items() if name[0] in topics}
        for key, stamp, data in _in_order(self._runs(names, start, stop)):
            topic, msgtype = names[key]
            yield topic, msgtype, stamp, data

    def check(self, progress: Callable[[int], None] = lambda count: None) -> None:
        """Read everything, so that `damage` is complete; ``progress`` is called with the number of
        messages read.
        """
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
        """Check the checksum of all records where the writer gave one."""
        wanted = int.from_bytes(record.body, "little")
        if wanted and _checksum(stream, 0, record.at) != wanted:
            self._troubles["does not have the checksum that it says"] = None

    def _begin(self, stream: BinaryIO) -> None:
        """Check the first bytes and the header."""
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
                f"{self.path}: an MCAP file of 'ros1', not of ROS 2; convert the .bag that it was "
                "made from: rosbags-convert --src recording.bag --dst recording"
            )

    def _runs(
        self, names: dict[int, tuple[str, str]], start: int, stop: int
    ) -> Iterator[tuple[int, Run]]:
        """Stamp of the first message, and the messages, of each chunk."""
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
        """What is in a chunk; a damaged one is noted, and None."""
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
        """How many messages a chunk had, by the indexes that follow it; None where there
        are none.
        """
        count = None
        with self.path.open("rb") as stream:
            for record in Records(stream, end):
                if record.kind != records.MESSAGE_INDEX:
                    break
                count = (count or 0) + (record.end - record.at - records.PREFIX.size - 6) // 16
        return count

    def _data(self, stream: BinaryIO, start: int, stop: int) -> Iterator[Record]:
        """The records of the data section; of a part of it the chunks that reach into start <=
        stamp < stop.
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
        """Keep what was wrong with the records of a whole reading."""
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
        """(n, 3): where every chunk begins, its first and last stamp; found once.

        Empty where not all is in chunks.
        """
        if self._chunks is None:
            self.index()
        if self._chunks is None:  # a summary without them
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
        """The summary section; None where there is none, or a damaged one."""
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
                until = size - len(MAGIC) - 4  # the checksum spans all of the footer before itself
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
        """Read everything for what there is."""
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
            self._troubles[f"has {nameless} messages of topics that it does not describe"] = None
        return index

    def _lost(self) -> str:
        """How many messages are missing, and from where to where, as far as it is known."""
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
    """The messages of chunks that may overlap, by stamp; what comes more than `CHUNK_LIMIT` bytes
    late comes late.
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
    """Take from ``waiting`` what comes before ``stamp``."""
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
    """Channel, stamp and bytes of a message record."""
    key, _, stamp, _ = records.MESSAGE_HEAD.unpack_from(body)
    return key, min(stamp, FOREVER), body[records.MESSAGE_HEAD.size :]


class _Indexes:
    """Compares the indexes behind each chunk (channel, then stamp and place of each message) with
    the chunk.
    """

    def __init__(self) -> None:
        self._expected: dict[int, NDArray[np.int64]] | None = None
        self._some = False
        self._lacking = False
        self._differing = False

    @property
    def wrong(self) -> bool:
        """Whether one differed from its chunk, or chunks lacked theirs where others had them."""
        return self._differing or (self._some and self._lacking)

    def expect(self, run: Run | None) -> None:
        """The next chunk, None where it is damaged or there is none."""
        self._lacking |= self._expected is not None and len(self._expected) > 0
        if run is None:
            self._expected = None
            return
        head = records.PREFIX.size + records.MESSAGE_HEAD.size
        rows = np.stack((run.stamps, run.spans[:, 0] - head), axis=1)
        keys = set(run.keys.tolist())
        self._expected = {key: rows[run.keys == key] for key in keys}

    def compare(self, stream: BinaryIO, record: Record) -> None:
        """The next index."""
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
    """Whether a chunk says of its first and last stamp what they are."""
    chunk = records.chunk_of(record.body)
    return not len(run.stamps) or (chunk.first, chunk.last) == (run.head, int(run.stamps[-1]))


def _learn_anyway(record: Record, doubtful: Index) -> None:
    """Take definitions from a chunk whose checksum is wrong: better than none, should there be no
    others.
    """
    chunk = records.chunk_of(record.body)
    if chunk.compression:
        return
    try:
        for kind, begin, end in records.contents(chunk.data, {}).definitions:
            doubtful.learn(kind, chunk.data[begin:end])
    except DamagedError:
        return


def _chunk_times(stream: BinaryIO, record: Record) -> tuple[int, int, int]:
    """Place, first and last stamp of a chunk, by its index."""
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
