"""Durations in wall-clock and in CPU time; the latter depends less on other programs."""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pallas_ros.bench.rows import Row, percentiles

F64 = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Durations:
    """Durations of calls.

    Attributes:
        wall, cpu: (n,) ms of wall-clock time, and of CPU time of all threads of this process.
    """

    wall: F64
    cpu: F64

    @classmethod
    def of(cls, nanoseconds: Iterable[tuple[int, int]]) -> "Durations":
        """From pairs of wall-clock and CPU time, as `timed` returns them."""
        wall, cpu = np.array(list(nanoseconds), dtype=np.float64).reshape(-1, 2).T / 1e6
        return cls(wall, cpu)

    def rows(self, name: str, case: str, what: str) -> Iterator[Row]:
        """Rows ``<what>_p50_ms`` to ``<what>_max_ms``, and ``<what>_cpu_p50_ms``."""
        yield from percentiles(name, case, what, self.wall)
        yield Row(name, case, f"{what}_cpu_p50_ms", float(np.median(self.cpu)), "ms")


def timed(work: Callable[[], object]) -> tuple[int, int]:
    """Wall-clock and CPU time of a call, ns."""
    cpu = time.process_time_ns()
    start = time.perf_counter_ns()
    work()
    return time.perf_counter_ns() - start, time.process_time_ns() - cpu
