"""First stage for every raw sample: check it, give it an orientation, reject and count bad ones.

The live pipeline, `pallas process` and `pallas calibrate` all start with this object, so that they
report the same about the same sensor. A deterministic function of the samples; nothing here reads a
clock.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from pallas_ros.body import rotations
from pallas_ros.body.errors import PallasError
from pallas_ros.body.names import SITES
from pallas_ros.body.rotations import Array
from pallas_ros.imu.orientation import MODES, OrientationFilter
from pallas_ros.imu.refusals import Reason, Refusals
from pallas_ros.imu.sample import MAX_ACCELERATION, UNIT_TOLERANCE, ImuSample
from pallas_ros.imu.turning import TurnCheck
from pallas_ros.imu.upright import UpCheck

NANOSECONDS = 1_000_000_000
_ANOTHER_CLOCK = NANOSECONDS
"""Timestamps this far from those of all other sensors, which agree, come from a different clock."""
_HEARD = 400
"""A sensor takes part in the vote on the time if it sent one of this many latest samples of all
sensors: a second of four at 100 Hz.
"""
_BELIEVED = 20
"""Consecutive samples with (or without) an orientation after which the sensor counts as one that
has (or lacks) it.
"""
_SILENT_S = 0.5
"""After a silence this long, orientation fusion restarts with the previous heading."""
_LEVEL = 0.02
"""Tilt (fraction of one g) up to which gravity is consistent with an orientation of exactly 0 0 0
1.
"""
_MOST_TURNING = 1e5
"""rad/s (or deg/s by mistake): larger angular velocities are not measurements."""
_FASTEST = 40.0
"""rad/s, beyond the full scale of wearable gyroscopes (2000 deg/s is 35 rad/s)."""
_TOO_FAST = 3
"""Samples beyond that show that the unit is another one."""
_BLANKS = 50
"""Consecutive orientations of exactly 0 0 0 1 over which that tilt is averaged."""
_SLOWEST_HZ = 25.0
"""Below this rate samples are too sparse for the synchroniser (`hold_s`) and for arm movements."""
_LEAST_PERIODS = 20
_IN_ANOTHER_UNIT = 0.5
"""s between samples beyond which the timestamps, not the sensor, are suspect."""


@dataclass(slots=True)
class _Site:
    newest: int = 0
    heard_at: int = 0
    gap: float = 0.0
    period: float = 0.0
    periods: int = 0
    oriented: int = 0
    unoriented: int = _BELIEVED
    fastest: float = 0.0
    too_fast: int = 0
    fused: bool = False
    filter: OrientationFilter | None = None
    bias: Array | None = None
    blanks: int = 0
    sideways: tuple[float, float, float] = (0.0, 0.0, 0.0)
    changed: bool = False
    turn: Array | None = None
    orientation: Array | None = None
    turns: TurnCheck = field(default_factory=TurnCheck)
    up: UpCheck = field(default_factory=UpCheck)


class Intake:
    """Take raw samples of all sites and return the usable ones, each with an orientation.

    Attributes:
        refusals: counts of rejected samples.
    """

    def __init__(self, orientation: str = "auto", sites: Sequence[str] = SITES) -> None:
        """``orientation`` is one of `orientation.MODES`, as for serial sensors.

        Raises:
            PallasError: the mode is unknown.
        """
        if orientation not in MODES:
            raise PallasError(
                f"unknown orientation source '{orientation}': choose one of {', '.join(MODES)}"
            )
        self.refusals = Refusals(sites)
        self._mode = orientation
        self._sites = {site: _Site() for site in sites}
        self._pushed = 0

    def biases(self, gyroscope_bias: Mapping[str, Array]) -> None:
        """Set the gyroscope bias per site, (3,) rad/s, for estimators started from now on."""
        for site, bias in gyroscope_bias.items():
            if site in self._sites:
                self._sites[site].bias = bias

    def push(self, site: str, sample: ImuSample) -> ImuSample | None:
        """Return a usable sample with an orientation.

        Returns None if it was rejected or the site is unknown.
        """
        state = self._sites.get(site)
        if state is None:
            return None
        self._pushed += 1
        force = sample.acceleration.tolist()
        ax, ay, az = force
        strength = math.sqrt(ax * ax + ay * ay + az * az)
        if not math.isfinite(strength):
            return self._refuse(site, Reason.NOT_FINITE)
        if not self._timely(site, state, sample.stamp):
            return None
        if strength > MAX_ACCELERATION:
            return self._refuse(site, Reason.TOO_STRONG, strength)
        oriented = self._oriented(site, state, sample, force)
        if oriented is None or oriented.orientation is None:
            return None
        state.up.push(sample.stamp, oriented.orientation.tolist(), force)
        if state.up.mistake is not None:
            return self._refuse(site, *state.up.mistake)
        self.refusals.taken(site)
        return oriented

    def unreadable(self, site: str) -> None:
        """Count a message of a site that could not be read as a sample."""
        self.refusals.refuse(site, Reason.UNREADABLE)

    def remarks(self) -> list[str]:
        """Sentences about current sensor problems."""
        return self.refusals.remarks() + self._sensor_problems()

    def report(self, share: float = 0.0) -> list[str]:
        """Describe sensor problems since the start on more than ``share`` of a site's samples."""
        return self.refusals.report(share) + self._sensor_problems()

    def meaningless(self) -> list[str]:
        """See `Refusals.meaningless`."""
        return self.refusals.meaningless()

    def estimated(self) -> list[str]:
        """Sites whose orientation is estimated, as the sensor sends none or the mode requires
        it.
        """
        return [site for site, state in self._sites.items() if state.fused]

    def _refuse(
        self, site: str, reason: Reason, value: float = 0.0, detail: str = ""
    ) -> ImuSample | None:
        self.refusals.refuse(site, reason, value, detail)
        return None

    # Timestamps

    def _timely(self, site: str, state: _Site, stamp: int) -> bool:
        """Whether the timestamp agrees with the other sensors' clocks; if not, reject the
        sample.
        """
        if stamp <= 0:
            self._refuse(site, Reason.STAMP_ZERO)
            return False
        if stamp == state.newest:
            self._refuse(site, Reason.STAMP_REPEATED, stamp / NANOSECONDS)
            return False
        state.gap = (stamp - state.newest) / NANOSECONDS if state.newest else 0.0
        if state.gap > 0:
            state.periods += 1
            state.period += (state.gap - state.period) / min(state.periods, 50)
        state.newest = stamp
        state.heard_at = self._pushed
        apart = self._apart(site, stamp)
        if apart:
            self._refuse(site, Reason.OTHER_CLOCK, apart / NANOSECONDS)
            return False
        return True

    def _apart(self, site: str, stamp: int) -> int:
        """Offset of a timestamp in ns if the other sensors agree on another time; else 0."""
        others = [
            state.newest
            for other, state in self._sites.items()
            if other != site and state.newest and self._pushed - state.heard_at < _HEARD
        ]
        if len(others) < 2:
            return 0
        newest = max(others)
        oldest = min(others)
        if newest - oldest > _ANOTHER_CLOCK or oldest <= stamp <= newest:
            return 0
        apart = stamp - (newest if stamp > newest else oldest)
        return 0 if abs(apart) <= _ANOTHER_CLOCK else apart

    # Orientations

    def _oriented(
        self, site: str, state: _Site, sample: ImuSample, force: list[float]
    ) -> ImuSample | None:
        """Return the sample with its own or an estimated orientation; None if rejected."""
        if self._mode in ("6d", "9d"):
            return self._fused(site, state, sample, Reason.NO_ORIENTATION)
        own = None if sample.orientation is None else sample.orientation.tolist()
        missing = Reason.NO_ORIENTATION
        if own is not None:
            x, y, z, w = own
            length = math.sqrt(x * x + y * y + z * z + w * w)
            if not math.isfinite(length):
                return self._refuse(site, Reason.NOT_FINITE)
            if length < 1e-6:
                own = None
                missing = Reason.ZERO_QUATERNION
            elif abs(length - 1) > UNIT_TOLERANCE:
                return self._refuse(site, Reason.NOT_UNIT, length)
            elif own == _BLANK and _never_filled_in(state, force):
                own = None
        if own is None:
            state.oriented = 0
            state.unoriented += 1
            if state.unoriented <= _BELIEVED:
                return self._refuse(site, Reason.LOST_ORIENTATION)
            return self._fused(site, state, sample, missing)
        state.oriented += 1
        if state.fused and state.oriented <= _BELIEVED:
            return self._fused(site, state, sample, missing)
        state.unoriented = 0
        if state.fused:
            state.fused = False
            state.filter = None
            state.changed = True
            state.turns.clear()
        return self._own(site, state, sample, own)

    def _own(
        self, site: str, state: _Site, sample: ImuSample, own: list[float]
    ) -> ImuSample | None:
        """Return the sample with its own orientation, checked against its gyroscope."""
        x, y, z, w = own
        rate = None
        if sample.angular_velocity is not None:
            gx, gy, gz = sample.angular_velocity.tolist()
            if abs(gx) < _MOST_TURNING and abs(gy) < _MOST_TURNING and abs(gz) < _MOST_TURNING:
                rate = (gx, gy, gz)
        if not state.turns.push(sample.stamp, (x, y, z, w), rate):
            return self._refuse(site, Reason.GLITCH, state.turns.jump)
        assert sample.orientation is not None
        if state.turn is None and not state.changed:
            state.orientation = sample.orientation
            return sample
        return replace(sample, orientation=_continued(state, sample.orientation))

    def _fused(
        self, site: str, state: _Site, sample: ImuSample, missing: Reason
    ) -> ImuSample | None:
        """Return the sample with an orientation estimated from gyroscope and accelerometer."""
        turning = sample.angular_velocity
        if turning is None or not (np.abs(turning) < _MOST_TURNING).all():
            return self._refuse(site, missing)
        fastest = float(np.abs(turning).max())
        state.fastest = max(state.fastest, fastest)
        state.too_fast += fastest > _FASTEST
        if not state.fused:
            state.fused = True
            state.changed = True
        if state.filter is None:
            # after another source, a magnetometer would turn the heading to north
            magnetic = self._mode in ("auto", "9d") and state.orientation is None
            rate = 1 / state.period if state.periods >= _LEAST_PERIODS else 100.0
            state.filter = OrientationFilter(magnetic, rate, bias=state.bias)
        elif state.gap > _SILENT_S:
            state.filter = state.filter.resumed()
        orientation = state.filter.update(
            sample.stamp / NANOSECONDS, turning, sample.acceleration, sample.magnetic_field
        )
        return replace(sample, orientation=_continued(state, orientation))

    # Checks of a sensor whose samples are valid

    def _in_degrees(self) -> list[str]:
        """Describe gyroscopes that turn faster than any can, where nothing else checks them."""
        return [
            f"{site}: the angular velocity reaches {state.fastest:.0f} rad/s, more than any"
            " gyroscope measures, so it seems to be in deg/s: send rad/s"
            for site, state in self._sites.items()
            if state.fused and state.too_fast >= _TOO_FAST
        ]

    def _sensor_problems(self) -> list[str]:
        doubts = self._in_degrees()
        for site, state in self._sites.items():
            turns = state.turns
            if turns.in_degrees:
                doubts.append(
                    f"{site}: the angular velocity seems to be in deg/s: send rad/s, so that the "
                    "orientation can be checked with it"
                )
            elif not turns.trusted and not state.fused:
                doubts.append(
                    f"{site}: orientation and angular velocity disagree about how the sensor turns:"
                    " give both in the sensor's own axes, the orientation from sensor to world"
                )
            if state.periods < _LEAST_PERIODS:
                continue
            if state.period > _IN_ANOTHER_UNIT:
                doubts.append(
                    f"{site}: the stamps advance by {state.period:.4g} s from sample to sample:"
                    " are they in milliseconds? Give seconds"
                )
            elif state.period > 1 / _SLOWEST_HZ:
                doubts.append(
                    f"{site}: {1 / state.period:.0f} samples a second are too few: set the"
                    " sensor's output rate to 60 Hz or more"
                )
        return doubts + self._clocks()

    def _clocks(self) -> list[str]:
        """Report sensors that follow different clocks, if no majority shows which are wrong."""
        newest = {
            site: state.newest
            for site, state in self._sites.items()
            if state.newest and self._pushed - state.heard_at < _HEARD
        }
        if len(newest) < 2:
            return []
        middle = (max(newest.values()) + min(newest.values())) // 2
        late = [site for site, stamp in newest.items() if stamp < middle]
        early = [site for site in newest if site not in late]
        apart = (max(newest.values()) - min(newest.values())) / NANOSECONDS
        if apart < _ANOTHER_CLOCK / NANOSECONDS or min(len(late), len(early)) * 2 != len(newest):
            return []
        ahead = f"{', '.join(early)} are {apart:.1f} s ahead of those of {', '.join(late)}"
        return [f"the stamps of {ahead}: synchronise the clocks, or stamp on arrival"]


_BLANK = [0.0, 0.0, 0.0, 1.0]


def _never_filled_in(state: _Site, force: list[float]) -> bool:
    """Whether an orientation of exactly 0 0 0 1 was never filled in by the driver.

    Decided by gravity, averaged over several samples.
    """
    state.blanks += 1
    share = 1 / min(state.blanks, _BLANKS)
    x, y, z = (old + share * (new - old) for old, new in zip(state.sideways, force))
    state.sideways = (x, y, z)
    return state.blanks >= _BLANKS and math.hypot(x, y) > _LEVEL * math.sqrt(x * x + y * y + z * z)


def _continued(state: _Site, orientation: Array) -> Array:
    """Keep the heading from before the orientation source changed, for the calibration."""
    if state.changed:
        state.changed = False
        if state.orientation is not None:
            off = rotations.multiply(orientation, rotations.inverse(state.orientation))
            state.turn = rotations.about_z(-rotations.turn_about_z(off))
    if state.turn is not None:
        orientation = rotations.multiply(state.turn, orientation)
    state.orientation = orientation
    return orientation
