"""Real-time support: garbage collector, priority, CPU affinity, deadline monitoring."""

import gc
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from pallas_ros.body.errors import PallasError

Warn = Callable[[str], None]


def settle_memory() -> None:
    """Run the garbage collector once, freeze all live objects, and collect young objects rarely.

    Call this after warm-up. A full collection traverses every module loaded by a ROS node (25 ms
    measured). Objects created in callbacks are freed by reference counting, so that almost nothing
    is left for the collector.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


def release_memory() -> None:
    """Undo `settle_memory` at the end and collect the frozen objects.

    rclpy's nodes and contexts contain reference cycles. If they are not collected, the middleware's
    participant stays in the graph, and its files in shared memory, after the process has ended.
    """
    gc.unfreeze()
    gc.collect()


def pin_to_cores(cores: Sequence[int], warn: Warn) -> None:
    """Restrict all threads of this process to ``cores``; empty: no restriction.

    Args:
        cores: numbers of CPU cores.
        warn: called with a sentence if the system refuses.

    Raises:
        PallasError: this machine does not have one of the cores.
    """
    if not cores:
        return
    count = os.cpu_count() or 1
    for core in cores:
        if not 0 <= core < count:
            raise PallasError(
                f"CPU core {core} in 'cpu_affinity' does not exist: this machine has cores 0 to"
                f" {count - 1}"
            )
    try:
        for thread in _threads():
            os.sched_setaffinity(thread, cores)
    except (OSError, AttributeError) as error:  # AttributeError: systems other than Linux
        warn(f"cannot pin to CPU cores {list(cores)} ({error}): running on any core")


WHERE_PERMITTED = -1
"""Used as priority: the default one, if the system permits it."""
USUAL_PRIORITY = 20
"""Above ordinary processes, below the drivers and controllers of a robot."""


def raise_priority(priority: int, warn: Warn, *, only_others: bool = False) -> None:
    """Set the SCHED_FIFO ``priority`` of all current and future threads of this process; 0:
    unchanged.

    All threads, because a message is received by a middleware thread before the node's own thread
    wakes up.

    Args:
        priority: 1 to 99; `WHERE_PERMITTED`: 20 on two cores and more, without a warning (on one
            core a busy node would starve all other processes).
        warn: called with a sentence if the system does not permit it.
        only_others: except the calling thread, and the threads that it starts later. For a process
            that polls what its middleware has received and timestamped.

    Raises:
        PallasError: the priority is outside -1 to 99.
    """
    if priority == 0:
        return
    if priority == WHERE_PERMITTED:
        if (os.cpu_count() or 1) < 2:
            return
        priority = USUAL_PRIORITY
        warn = _say_nothing
    if not 0 < priority <= 99:
        raise PallasError(
            f"thread priority {priority} is outside -1 to 99: use 0 for none, -1 for the default"
            " if it is permitted"
        )
    try:
        for thread in _threads():
            os.sched_setscheduler(thread, os.SCHED_FIFO, os.sched_param(priority))
        if only_others:
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    except (OSError, AttributeError):
        warn(
            f"real-time priority {priority} is not permitted, running at normal priority: allow it"
            f" with 'ulimit -r {priority}' (rtprio in /etc/security/limits.conf) or CAP_SYS_NICE"
        )


def lower_priority() -> None:
    """Give all threads that have a real-time priority the lowest one.

    A process that ends must not delay those that still run: the collection of `release_memory`
    takes 70 ms. It stays above ordinary processes, so that it ends in time on a busy machine.
    """
    with suppress(OSError, AttributeError):
        for thread in _threads():
            with suppress(ProcessLookupError):
                if os.sched_getscheduler(thread) == os.SCHED_FIFO:
                    os.sched_setscheduler(thread, os.SCHED_FIFO, os.sched_param(1))


@contextmanager
def urgent() -> Iterator[None]:
    """Run a few instructions of the calling thread before all nodes, where that is permitted."""
    try:
        before = os.sched_getscheduler(0), os.sched_getparam(0)
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(USUAL_PRIORITY + 1))
    except (OSError, AttributeError):
        yield
        return
    try:
        yield
    finally:
        os.sched_setscheduler(0, *before)


@contextmanager
def ordinary_priority() -> Iterator[None]:
    """Run a long operation, such as loading a model, at ordinary priority.

    This applies to the calling thread. Afterwards all threads of the process, including those
    started meanwhile, have the previous priority.
    """
    try:
        policy = os.sched_getscheduler(0)
        parameter = os.sched_getparam(0)
    except (OSError, AttributeError):  # systems other than Linux
        policy = None
    if policy is None or policy == os.SCHED_OTHER:
        yield
        return
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    try:
        yield
    finally:
        for thread in _threads():
            with suppress(ProcessLookupError):
                os.sched_setscheduler(thread, policy, parameter)


def _say_nothing(sentence: str) -> None:
    """Ignore a warning, because the attempt was optional."""


def _threads() -> list[int]:
    """Return the kernel ids of this process's threads; only the calling one if not available."""
    try:
        return [int(name) for name in os.listdir("/proc/self/task")]
    except OSError:
        return [0]


@dataclass
class Deadline:
    """Monitor frame deadlines; late frames are skipped and counted.

    Late frames are never queued. Time is in the caller's unit (ns of a monotonic clock); nothing
    here reads a clock.

    Attributes:
        period: ns between frames.
        most_lag: maximum ns by which a frame may lag behind the newest data.
        overruns: steps that took longer than ``period``.
        skipped: frames skipped because earlier steps, or other processes, used up their time.
        worst: ns, the longest step.
    """

    period: int
    most_lag: int = 10**18
    overruns: int = 0
    skipped: int = 0
    worst: int = 0
    _debt: int = field(default=0, repr=False)

    def admit(self, lag: int = 0) -> bool:
        """Whether to process the next frame, which lags ``lag`` ns behind; False: skip it."""
        if self._debt >= self.period:
            self._debt -= self.period
        elif lag <= self.most_lag:
            return True
        self.skipped += 1
        return False

    def done(self, took: int) -> None:
        """Record that a step took ``took`` ns."""
        self.worst = max(self.worst, took)
        self.overruns += took > self.period
        self._debt = max(0, self._debt + took - self.period)
