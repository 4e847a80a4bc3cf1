"""Sequential reader of one MCAP file: uses every intact chunk and reports missing data.

The `mcap` library parses definitions. Records and chunks are read in `mcap_records` and
`mcap_chunks`, because the library keeps the index of the whole file in memory and cannot read
truncated files. Memory is limited to two chunks, whatever the file claims.
"""

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from mcap.records import Footer, Header, Statistics
from numpy.typing import NDArray

from pallas_ros.bags import mcap_records as records
from pallas_ros.bags.mcap_chunks import Inflation, chunk_of, contents, unpack
from pallas_ros.bags.mcap_index import (
    Gap,
    Index,
    MessageIndexes,
    chunk_times,
    learn_anyway,
    table_of,
    times_agree,
)
from pallas_ros.bags.mcap_records import (
    FOREVER,
    MAGIC,
    DamagedError,
    Record,
    Records,
    checksum,
    message_of,
)
from pallas_ros.bags.mcap_runs import Run, in_order, pack
from pallas_ros.body.errors import PallasError

_LOOSE = 500
"""Bytes; messages outside of chunks are sorted within twice as many."""
_FOOTER_BYTES = records.PREFIX.size + 20 + len(MAGIC)
_PLAUSIBLE_NS = 10**16  # four months; a longer span is itself due to damage


Message = tuple[str, str, int, bytes]


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
        for key, stamp, data in in_order(self._runs(names, start, stop)):
            topic, msgtype = names[key]
            yield topic, msgtype, stamp, data

    def check(self, progress: Callable[[int], None] = lambda count: None) -> None:
        """Read everything to complete `damage`; ``progress`` is called with the message count."""
        index = self.index()
        found = Index()
        outside = Index()
        indexes = MessageIndexes()
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
                        if not times_agree(record, run):
                            self._troubles["has chunks with wrong times"] = None
                elif record.kind in (records.SCHEMA, records.CHANNEL):
                    described &= outside.learn(record.kind, record.body)
                elif record.kind == records.MESSAGE_INDEX:
                    indexes.compare(stream, record)
                elif record.kind == records.MESSAGE:
                    found.count_one(*message_of(record.body)[:2])
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
        if wanted and checksum(stream, 0, record.at) != wanted:
            self._troubles["does not match its checksum"] = None

    def _begin(self, stream: BinaryIO) -> None:
        """Check the magic bytes and the header."""
        begin = stream.read(len(MAGIC))
        alike = sum(a == b for a, b in zip(begin, MAGIC))
        if alike < len(MAGIC) - 1:
            raise PallasError(f"{self.path}: not an MCAP file, despite its name")
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
                        yield pack(waiting)
                    run = self._unpacked(record, inflation, None, names, start, stop)
                    if run is not None and len(run.stamps):
                        yield run.head, run
                elif record.kind == records.MESSAGE:
                    key, stamp, data = message_of(record.body)
                    if key in names and start <= stamp < stop:
                        waiting.append((key, stamp, data))
                    if len(waiting) >= _LOOSE:
                        yield pack(waiting)
            if waiting:
                yield pack(waiting)

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
        chunk = chunk_of(record.body)
        try:
            data = unpack(chunk, inflation)
            found = contents(data, wanted, start, stop)
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
        chunks = self._chunk_table() if start > 0 or stop < FOREVER else table_of([])
        if not len(chunks):
            walk = Records(stream)
            yield from walk
            self._note(walk)
            return
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
                        chunk = chunk_of(record.body)
                        ends = min(chunk.first, FOREVER), min(chunk.last, FOREVER)
                        table.append((record.at, *ends))
            self._chunks = table_of(table)
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
                if footer.summary_crc and checksum(stream, start, until) != footer.summary_crc:
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
                table.append(chunk_times(stream, record))
        if walk.faults or walk.lost_end:
            raise DamagedError
        if statistics is None or (statistics.message_count and not index.channels):
            return None
        index.counts.update(statistics.channel_message_counts)
        index.first = statistics.message_start_time
        index.last = statistics.message_end_time
        self._announced = statistics.message_count
        if len(table) == statistics.chunk_count:
            self._chunks = table_of(table)
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
                            learn_anyway(record, doubtful)
                        elif len(run.stamps):
                            index.count(run)
                            table.append((record.at, run.head, int(run.stamps[-1])))
                    elif record.kind == records.MESSAGE:
                        loose = True
                        index.count_one(*message_of(record.body)[:2])
                    elif record.kind in (records.SCHEMA, records.CHANNEL):
                        index.learn(record.kind, record.body)
            except DamagedError as error:
                self.gaps.setdefault(0, Gap(str(error)))
            self._note(walk)
        self._chunks = table_of([] if loose else table)
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


def _times(count: int, thing: str) -> str:
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"
