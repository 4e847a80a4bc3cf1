"""Synchronise the samples of all sensors, with their own rates, jitter, losses and gaps, to one
time grid.

A deterministic function of the timestamps: the same samples in the same order give the same frames,
live, replayed or offline. Nothing here reads a clock.
"""

from collections import Counter, deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import numpy as np

from pallas_ros.body import rotations
from pallas_ros.body.frames import ExtraFrame, ImuFrame
from pallas_ros.body.names import EXTRA_SITES, MODEL_RATE_HZ, SITES
from pallas_ros.body.rotations import Array
from pallas_ros.imu.sample import flaw

NANOSECONDS = 1_000_000_000
_KEPT = 512  # samples per site: over a second at 400 Hz; bounds the memory
# a timestamp ahead of all others by more than this is treated as a wrong clock
_LEAP = NANOSECONDS
_LEAPS_BELIEVED = (
    5  # unless that many arrive in a row with nothing in between: then all sensors had been silent
)
# consecutive timestamps of a site slightly in the past: its clock was set, so reset everything
_BACK_BELIEVED = 40
# consecutive timestamps, of more than one site, far behind the newest: that one was wrong, or the
# clock was set
_BEHIND_BELIEVED = 40
_REMARKED = 10 * NANOSECONDS  # a set clock is reported for this long


@dataclass(slots=True)
class _Sample:
    """Orientation (4) xyzw and acceleration (3) m/s^2 as lists: one array of all sites is made of
    them for each frame.
    """

    stamp: int
    orientation: list[float]
    acceleration: list[float]
    drift: float


_UNKNOWN = _Sample(0, [0.0, 0.0, 0.0, 1.0], [0.0, 0.0, 0.0], 0.0)


@dataclass(slots=True)
class _Site:
    samples: deque[_Sample] = field(default_factory=lambda: deque(maxlen=_KEPT))
    newest: int | None = None
    gone_back: int = 0


def grid_stamp(index: int, rate: float = MODEL_RATE_HZ) -> int:
    """Timestamp in ns of frame ``index`` of the time grid of all bodies."""
    return round(index * NANOSECONDS / rate)


def grid_index_at_or_after(stamp: int, rate: float = MODEL_RATE_HZ) -> int:
    """Index of the first frame of the grid with a timestamp at or after ``stamp``."""
    index = int(stamp * rate / NANOSECONDS) - 1
    while grid_stamp(index, rate) < stamp:
        index += 1
    return index


class Synchroniser:
    """Interpolate the sites to the grid ``round(k * 1e9 / rate)``.

    A frame is emitted as soon as every site has a sample at or after it. A site without one is
    waited for until another site is more than ``max_wait_s`` past the frame (measured between
    timestamps); then its newest sample is held for at most ``hold_s``, after which the site is
    marked invalid and keeps its last values. An optional site that is silent for longer than
    ``hold_s``, or has never sent a sample, is not waited for, neither now nor after a reset, except
    that the very first frame waits ``start_wait_s`` for it. Gaps of all sites at once are skipped,
    not filled.

    Attributes:
        sites: the sites in use.
        counts: site -> reason -> dropped samples.
        skipped: number of frames skipped because all sites were silent.
        set_back: number of times the clock of the timestamps was set back, each with a reset.
    """

    def __init__(
        self,
        rate: float = MODEL_RATE_HZ,
        max_wait_s: float = 0.025,
        hold_s: float = 0.1,
        sites: Sequence[str] = SITES,
        start_wait_s: float = 0.5,
    ) -> None:
        """``start_wait_s``: how long the first frame waits for a site that has sent no sample."""
        self.rate = rate
        self.sites = self._worn = tuple(sites)
        self.counts: dict[str, Counter[str]] = {site: Counter() for site in self.sites}
        self.skipped = 0
        self.set_back = 0
        # timestamp after it, ns it was set back by
        self._set_back_at: tuple[int, int] | None = None
        self._max_wait = round(max_wait_s * NANOSECONDS)
        self._hold = round(hold_s * NANOSECONDS)
        self._start_wait = round(start_wait_s * NANOSECONDS)
        self._state: dict[str, _Site] = {}
        self._index: int | None = None
        self._newest = 0
        self._absent: set[str] = set()  # optional sites that were silent at the last reset
        self.reset()

    def reset(self) -> None:
        """Discard all samples; keep the counts, and which optional sites are silent."""
        self._absent = {
            site
            for site, state in self._state.items()
            if self._is_absent(site, state, self._newest)
            and (self._index is not None or site in self._absent)
        }
        self._state = {site: _Site() for site in self.sites}
        self._index = None
        self._first: int | None = None
        self._newest = 0
        self._leaps = 0
        self._behind: list[str] = []  # sites of consecutive timestamps far behind the newest
        self._reported_age = dict.fromkeys(self.sites, 0.0)

    def use(self, sites: Collection[str]) -> None:
        """Use only these of the optional sites, and reset if they change."""
        used = tuple(site for site in self._worn if site in sites or site not in EXTRA_SITES)
        if used != self.sites:
            self.sites = used
            self.reset()

    def push(
        self,
        site: str,
        stamp: int,
        orientation: Array,
        acceleration: Array,
        heading_drift: float = 0.0,
    ) -> list[ImuFrame]:
        """Process one calibrated sample and return the frames it completes, oldest first.

        Args:
            site: one of ``sites``; samples of other sites are ignored.
            stamp: ns.
            orientation: (4,) xyzw, bone to world.
            acceleration: (3,) m/s^2, gravity removed, in the world.
            heading_drift: rad, the correction applied to the orientation, passed on for the record.
        """
        state = self._state.get(site)
        if state is None:
            return []
        reason = flaw(orientation, acceleration)
        if reason is not None:
            self.counts[site][reason] += 1
            return []
        reason = self._bad_stamp(site, state, stamp)
        if self._went_back(state):
            self.clock_set_back(stamp, self._newest - stamp)
            return []
        if reason is not None:
            self.counts[site][reason] += 1
            return []
        q = orientation.tolist()
        if state.samples and _opposite(state.samples[-1].orientation, q):
            q = [-value for value in q]
        state.samples.append(_Sample(stamp, q, acceleration.tolist(), heading_drift))
        state.newest = stamp
        previous = self._newest
        self._newest = max(self._newest, stamp)
        if self._first is None:
            self._first = previous = stamp
        if self._index is None and not self._start():
            return []
        if self._newest - previous <= self._hold:
            return self._due(self._newest)
        # All sites were silent: emit the frames known before, then continue from here without
        # filling the gap.
        frames = self._due(previous)
        assert self._index is not None
        index = max(self._index, grid_index_at_or_after(stamp, self.rate))
        self.skipped += index - self._index
        self._index = index
        return frames + self._due(self._newest)

    def remarks(self) -> list[str]:
        """Describe current problems: the sites that were silent at the last frame."""
        silent = [
            f"{site} silent for {age:.1f} s"
            for site, age in self._reported_age.items()
            if age * NANOSECONDS > self._hold
        ]
        if self._set_back_at is not None and self._newest - self._set_back_at[0] < _REMARKED:
            silent.append(f"the sensors' clock went back by {self._set_back_at[1] / 1e9:.1f} s")
        return silent

    def clock_set_back(self, stamp: int, by: int) -> None:
        """Restart at ``stamp`` after the clock of the timestamps went back by ``by`` ns."""
        self.set_back += 1
        self._set_back_at = (stamp, by)
        self.reset()

    def _went_back(self, state: _Site) -> bool:
        believed = len(self._behind) >= _BEHIND_BELIEVED and len(set(self._behind)) > 1
        return believed or state.gone_back >= _BACK_BELIEVED

    def _bad_stamp(self, site: str, state: _Site, stamp: int) -> str | None:
        if stamp <= 0:
            return "stamp not positive"
        if self._first is not None and stamp - self._newest > _LEAP:
            self._leaps += 1
            if self._leaps <= _LEAPS_BELIEVED:
                return "stamp jumps ahead"
        self._leaps = 0
        if stamp < self._newest - _LEAP:
            self._behind.append(site)
        else:
            self._behind.clear()
        if state.newest is not None and stamp <= state.newest:
            if stamp == state.newest:
                return "duplicate stamp"
            state.gone_back += 1
            return "stamp goes back"
        state.gone_back = 0
        return None

    def _start(self) -> bool:
        assert self._first is not None
        firsts = [state.samples[0].stamp for state in self._state.values() if state.samples]
        waited_for = any(
            not state.samples and site not in self._absent for site, state in self._state.items()
        )
        if waited_for and self._newest - self._first <= self._start_wait:
            return False
        self._index = grid_index_at_or_after(max(firsts), self.rate)
        return True

    def _due(self, until: int) -> list[ImuFrame]:
        frames: list[ImuFrame] = []
        assert self._index is not None
        while (stamp := grid_stamp(self._index, self.rate)) <= until:
            waits = any(self._waits(site, state, stamp) for site, state in self._state.items())
            if waits and self._newest <= stamp + self._max_wait:
                break
            frames.append(self._frame(stamp))
            self._index += 1
        return frames

    def _waits(self, site: str, state: _Site, stamp: int) -> bool:
        """Whether the frame at ``stamp`` should wait for a site."""
        if self._is_absent(site, state, stamp):
            return False
        return state.newest is None or state.newest < stamp

    def _is_absent(self, site: str, state: _Site, stamp: int) -> bool:
        """Whether a site is optional and silent at ``stamp``."""
        silent = state.newest is None or state.newest < stamp - self._hold
        return silent and site in EXTRA_SITES

    def _frame(self, stamp: int) -> ImuFrame:
        count = len(self.sites)
        both = [_UNKNOWN] * count, [_UNKNOWN] * count  # samples before and after
        fraction = np.zeros(count)
        age = np.zeros(count)
        drift = np.zeros(count)
        valid = np.zeros(count, dtype=bool)
        used = 0
        for i, state in enumerate(self._state.values()):
            before, after = _bracket(state.samples, stamp)
            if before is None and after is None:
                age[i] = (stamp - (self._first or stamp)) / NANOSECONDS
                continue
            if (
                before is not None
                and after is not None
                and after.stamp - before.stamp <= 2 * self._hold
            ):
                fraction[i] = (stamp - before.stamp) / (after.stamp - before.stamp)
                valid[i] = True
            else:  # no interpolation possible: hold the nearer one
                before = after = _nearer(before, after, stamp)
                age[i] = abs(stamp - before.stamp) / NANOSECONDS
                valid[i] = age[i] * NANOSECONDS <= self._hold
            both[0][i] = before
            both[1][i] = after
            drift[i] = before.drift
            used = max(used, after.stamp)
        self._reported_age = dict(zip(self.sites, age.tolist(), strict=True))
        q = rotations.normalise(np.array([[s.orientation for s in samples] for samples in both]))
        before_a, after_a = np.array([[s.acceleration for s in samples] for samples in both])
        orientation = np.asarray(
            rotations.normalise(rotations.slerp(q[0], q[1], fraction)), np.float64
        )
        a = before_a + (after_a - before_a) * fraction[:, None]
        extra = [i for i, site in enumerate(self.sites) if site in EXTRA_SITES]
        if not extra:
            return ImuFrame(stamp, orientation, a, valid, age, drift, used)
        worn = tuple(self.sites[i] for i in extra)
        core = [i for i in range(count) if i not in extra]
        return ImuFrame(
            stamp,
            orientation[core],
            a[core],
            valid[core],
            age[core],
            drift[core],
            used,
            extra=ExtraFrame(worn, orientation[extra], a[extra], valid[extra], age[extra]),
        )


def _opposite(a: list[float], b: list[float]) -> bool:
    """Whether two quaternions, for nearly the same orientation, have opposite signs."""
    ax, ay, az, aw = a
    bx, by, bz, bw = b
    return ax * bx + ay * by + az * bz + aw * bw < 0


def _bracket(samples: deque[_Sample], stamp: int) -> tuple[_Sample | None, _Sample | None]:
    """Return the last sample at or before ``stamp`` and the first after it.

    Samples that are no longer needed are dropped.
    """
    while len(samples) >= 2 and samples[1].stamp <= stamp:
        samples.popleft()
    if not samples:
        return None, None
    if samples[0].stamp > stamp:
        return None, samples[0]
    return samples[0], samples[1] if len(samples) > 1 else None


def _nearer(before: _Sample | None, after: _Sample | None, stamp: int) -> _Sample:
    if before is None or (after is not None and after.stamp - stamp < stamp - before.stamp):
        assert after is not None
        return after
    return before
