"""Messages of an MCAP file: runs in order of timestamp, and their merge across chunks."""

from array import array
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pallas_ros.bags.mcap_records import CHUNK_LIMIT, FOREVER


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


def loose(records: list[tuple[int, int, bytes]]) -> Run:
    """Return a run of messages from outside of chunks: (channel, timestamp, bytes) each."""
    ends = np.cumsum([len(data) for _, _, data in records]).tolist()
    spans = [edge for (_, _, data), end in zip(records, ends) for edge in (end - len(data), end)]
    return run_of(
        b"".join(data for _, _, data in records),
        array("q", [stamp for _, stamp, _ in records]),
        array("q", spans),
        array("q", [key for key, _, _ in records]),
    )


def run_of(
    data: bytes | memoryview, stamps: "array[int]", spans: "array[int]", keys: "array[int]"
) -> Run:
    """Return the messages in order of timestamp.

    Args:
        data: buffer that contains their bodies.
        stamps: (n,) ns.
        spans: (2 n,) start and end of each body.
        keys: (n,) channel of each.
    """
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


def in_order(runs: Iterator[tuple[int, Run]]) -> Iterator[tuple[int, int, bytes]]:
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


def pack(waiting: list[tuple[int, int, bytes]]) -> tuple[int, Run]:
    """Empty ``waiting`` into a run; return the timestamp of its first message, and the run."""
    run = loose(waiting)
    waiting.clear()
    return run.head, run
