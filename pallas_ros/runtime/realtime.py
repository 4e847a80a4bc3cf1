"""What a process that must be on time needs: a settled garbage collector, a priority, cores of its
own, and a watch on its deadlines.
"""

import gc
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from pallas_ros.body.errors import PallasError

Warn = Callable[[str], None]


def settle_memory() -> None:
    """Collect once, then take everything alive now out of the collector's sight, and look at young
    objects rarely.

    To be called after warm-up. A full collection walks every module that a ROS node has loaded (25
    ms measured); what a callback makes is freed by reference counting, so the collector has next to
    nothing to find.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


def release_memory() -> None:
    """Undo `settle_memory` at the end: what was kept from the collector is collected.

    rclpy's nodes and contexts refer to themselves in cycles. One that is never collected leaves the
    middleware's participant in the graph, and its files in shared memory, after the process has
    ended.
    """
    gc.unfreeze()
    gc.collect()


def pin_to_cores(cores: Sequence[int], warn: Warn) -> None:
    """Let this process, all its threads, run on ``cores`` only; none given: where it likes.

    Args:
        cores: numbers of CPU cores.
        warn: takes a sentence where the system refuses.

    Raises:
        PallasError: a core that this machine does not have.
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
"""In place of a priority: the usual one where the system permits it."""
USUAL_PRIORITY = 20
"""Above everything ordinary, below the drivers and controllers of a robot."""


def raise_priority(priority: int, warn: Warn) -> None:
    """Schedule this process, all its threads and those they start, first-in first-out at
    ``priority`` (SCHED_FIFO); 0: leave it as it is.

    All of them, because a message is taken in by a thread of the middleware before the node's own
    is woken.

    Args:
        priority: 1 to 99; `WHERE_PERMITTED`: 20 on two cores and more, without a warning (with one
            core a node that never rested would leave nothing to others).
        warn: takes a sentence where the system does not permit it.

    Raises:
        PallasError: a priority outside -1 to 99.
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
            f"thread priority {priority} is outside -1 to 99: use 0 for none, -1 for the usual one"
            " where it is permitted"
        )
    try:
        for thread in _threads():
            os.sched_setscheduler(thread, os.SCHED_FIFO, os.sched_param(priority))
    except (OSError, AttributeError):
        warn(
            f"real-time priority {priority} is not permitted, running at normal priority: allow it"
            f" with 'ulimit -r {priority}' (rtprio in /etc/security/limits.conf) or CAP_SYS_NICE"
        )


@contextmanager
def ordinary_priority() -> Iterator[None]:
    """Do something long, such as loading a model, without keeping others from the processor.

    The calling thread runs at ordinary priority meanwhile. Afterwards all threads of the process,
    those it started included, have the priority that it had.
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
    """What was only tried need not be reported."""


def _threads() -> list[int]:
    """The threads of this process, as the kernel numbers them; the calling one where it does not
    tell.
    """
    try:
        return [int(name) for name in os.listdir("/proc/self/task")]
    except OSError:
        return [0]


@dataclass
class Deadline:
    """Watches that each frame is done before the next is due; what comes too late is skipped and
    counted, never queued up.

    Time is whatever the caller counts in (ns of a monotonic clock); nothing here reads a clock.

    Attributes:
        period: ns between frames.
        most_lag: ns that a frame may be behind the news when its turn comes.
        overruns: steps that took longer than ``period``.
        skipped: frames not taken because the steps before them, or other work on the machine, used
            up their time.
        worst: ns, the longest step.
    """

    period: int
    most_lag: int = 10**18
    overruns: int = 0
    skipped: int = 0
    worst: int = 0
    _debt: int = field(default=0, repr=False)

    def admit(self, lag: int = 0) -> bool:
        """Whether the next frame, which is ``lag`` ns behind the news, is to be computed; False:
        skip it, its time is used up.
        """
        if self._debt >= self.period:
            self._debt -= self.period
        elif lag <= self.most_lag:
            return True
        self.skipped += 1
        return False

    def done(self, took: int) -> None:
        """A step took ``took`` ns."""
        self.worst = max(self.worst, took)
        self.overruns += took > self.period
        self._debt = max(0, self._debt + took - self.period)
