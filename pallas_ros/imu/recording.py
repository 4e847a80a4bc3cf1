"""IMU recordings (``.npz``, docs/guide/conventions.md): load, check and play as samples."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pallas_ros.body import rotations
from pallas_ros.body.errors import PallasError
from pallas_ros.body.names import ALL_SITES, EXTRA_SITES, SITES
from pallas_ros.body.rotations import Array
from pallas_ros.body.sites import worn_sites
from pallas_ros.files.npz import load_npz
from pallas_ros.imu.conventions import gravity_included, misread
from pallas_ros.imu.motions import minimum_jerk
from pallas_ros.imu.sample import GRAVITY, UNIT_TOLERANCE, ImuSample
from pallas_ros.imu.sites import SITE_NAMES
from pallas_ros.imu.virtual import SensorTrack

ALL = "all"
"""Selects every optional site of the recording."""

LEAD_IN_S = 3.0
"""Still T-pose prepended to a calibrated recording that is played as raw sensors, so that the graph
can calibrate.
"""

LATEST_STAMP_S = 9e9
"""Timestamps are seconds of any clock; later ones, after the year 2255, do not fit into 64 bits as
nanoseconds.
"""
LONGEST_S = 7 * 86400.0
RATES_HZ = (5.0, 2000.0)
"""Accepted rates; 30 to 400 Hz give good bodies."""

_USUAL_HZ = (20.0, 1000.0)
_UNITS = {"milliseconds": 1e-3, "microseconds": 1e-6, "nanoseconds": 1e-9}
"""Other units of timestamps, distinguished by the resulting sample rate: the three do not overlap
at `_USUAL_HZ`.
"""
_LEAST_CHECKED_S = 2.0
"""A shorter recording does not determine its convention: over it, a mean acceleration of 5 m/s^2
may be movement.
"""

_BLEND_S = 1.5


@dataclass(eq=False, slots=True)
class Recording:
    """The S sites of an IMU recording: the four required ones, and optional ones.

    Attributes:
        stamp: (T,) s.
        orientation: (T, S, 4) xyzw, in the order of ``sites``: of the bone in the world if
            `calibrated`, else of the sensor.
        acceleration: (T, S, 3) m/s^2: free, in the world, if `calibrated`, else specific force in
            the sensor frame.
        angular_velocity: (T, S, 3) rad/s in the sensor frame, or None.
        calibrated: which of the two.
        sites: S names, those of `SITES` first.
    """

    stamp: Array
    orientation: Array
    acceleration: Array
    angular_velocity: Array | None
    calibrated: bool
    sites: tuple[str, ...] = SITES

    def stamps_ns(self, start: int | None = None) -> list[int]:
        """Return timestamps in ns; ``start``, if given, becomes the first."""
        shift = 0.0 if start is None else float(self.stamp[0])
        return [(start or 0) + round((float(s) - shift) * 1e9) for s in self.stamp]

    def raw(self) -> "Recording":
        """Convert to raw sensor semantics: sensors aligned with their bones, if calibrated."""
        if not self.calibrated:
            return self
        up = np.array([0.0, 0.0, GRAVITY])
        force = rotations.rotate(rotations.inverse(self.orientation), self.acceleration + up)
        return Recording(
            self.stamp,
            self.orientation,
            force,
            _rates(self.stamp, self.orientation),
            False,
            self.sites,
        )

    def samples(self, start: int | None = None) -> Iterator[tuple[str, ImuSample]]:
        """Return the raw samples (site, sample) in order of time; if calibrated, those of `raw`."""
        raw = self.raw()
        for t, stamp in enumerate(self.stamps_ns(start)):
            for i, site in enumerate(self.sites):
                rate = None
                if self.angular_velocity is not None and not self.calibrated:
                    rate = np.asarray(self.angular_velocity[t, i])
                yield (
                    site,
                    ImuSample(
                        stamp,
                        np.asarray(raw.orientation[t, i]),
                        np.asarray(raw.acceleration[t, i]),
                        rate,
                    ),
                )

    def with_lead_in(self) -> "Recording":
        """Prepend `LEAD_IN_S` of still T-pose and a smooth transition to a calibrated recording."""
        step = float(np.median(np.diff(self.stamp)))
        still = round(LEAD_IN_S / step)
        blend = round(_BLEND_S / step)
        fraction = np.concatenate((np.zeros(still), minimum_jerk(np.arange(blend) / blend)))
        tpose = np.broadcast_to(rotations.IDENTITY, self.orientation[0].shape)
        before = rotations.slerp(
            tpose[None], self.orientation[:1], np.repeat(fraction[:, None], len(self.sites), axis=1)
        )
        count = still + blend
        return Recording(
            stamp=np.concatenate((self.stamp[0] + (np.arange(count) - count) * step, self.stamp)),
            orientation=np.concatenate((before, self.orientation)),
            acceleration=np.concatenate((np.zeros((count, len(self.sites), 3)), self.acceleration)),
            angular_velocity=None,
            calibrated=True,
            sites=self.sites,
        )

    def tracks(self) -> dict[str, SensorTrack]:
        """Return sensors that can be simulated (`SensorSimulator`).

        A calibrated recording gets its lead-in.
        """
        raw = self.with_lead_in().raw() if self.calibrated else self
        time = raw.stamp - raw.stamp[0]
        rate = (
            np.zeros_like(raw.acceleration)
            if raw.angular_velocity is None
            else raw.angular_velocity
        )
        return {
            site: SensorTrack(
                time=time,
                device_time=time + 100.0 + 7.0 * i,
                orientation=raw.orientation[:, i],
                acceleration=raw.acceleration[:, i],
                angular_velocity=rate[:, i],
                magnetic_field=np.zeros_like(raw.acceleration[:, i]),
                q_world_bone=raw.orientation[:, i],
                q_bone_sensor=rotations.IDENTITY,
                heading_offset=0.0,
            )
            for i, site in enumerate(self.sites)
        }


def _rates(stamp: Array, orientation: Array) -> Array:
    """Angular velocity (T, S, 3) rad/s in the sensor frame, by central differences."""
    before = np.maximum(np.arange(len(stamp)) - 1, 0)
    after = np.minimum(np.arange(len(stamp)) + 1, len(stamp) - 1)
    turn = rotations.to_rotvec(
        rotations.multiply(rotations.inverse(orientation[before]), orientation[after])
    )
    return turn / np.maximum(stamp[after] - stamp[before], 1e-6)[:, None, None]


def load_recording(
    path: str | Path, as_is: bool = False, extra_sites: Sequence[str] = ()
) -> Recording:
    """Load an IMU recording: the four required sites and the requested optional ones.

    Args:
        path: the file.
        as_is: accept a calibrated one without plausibility checks.
        extra_sites: optional sites; ``["all"]``: every one of `EXTRA_SITES` in the file.

    Raises:
        PallasError: the file is not an IMU recording, or lacks a site.
    """
    arrays = load_npz(path, "IMU recording")
    for key in ("sites", "stamp", "orientation", "linear_acceleration"):
        if key not in arrays:
            raise PallasError(
                f"{path}: not an IMU recording, because it contains no '{key}'; it contains"
                f" {', '.join(sorted(arrays)) or 'nothing'}"
            )
    names = [str(name) for name in arrays["sites"].reshape(-1)]
    sites, columns = _columns(path, names, extra_sites)
    frames = len(arrays["stamp"].reshape(-1))
    shapes = {
        "stamp": (frames,),
        "orientation": (frames, len(names), 4),
        "linear_acceleration": (frames, len(names), 3),
    }
    if "angular_velocity" in arrays:
        shapes["angular_velocity"] = (frames, len(names), 3)
    for key, shape in shapes.items():
        if arrays[key].shape != shape or arrays[key].dtype.kind not in "fiu":
            raise PallasError(
                f"{path}: '{key}' has shape {arrays[key].shape} and type {arrays[key].dtype},"
                f" expected numbers of shape {shape}"
            )
    stamp = arrays["stamp"].astype(np.float64)
    _check_stamps(path, stamp)
    calibrated = arrays.get("calibrated", np.array(False))
    if calibrated.size != 1 or calibrated.dtype.kind not in "biuf":
        raise PallasError(f"{path}: 'calibrated' must be True or False")
    rate = arrays.get("angular_velocity")
    recording = Recording(
        stamp=stamp,
        orientation=arrays["orientation"][:, columns].astype(np.float64),
        acceleration=arrays["linear_acceleration"][:, columns].astype(np.float64),
        angular_velocity=None if rate is None else rate[:, columns].astype(np.float64),
        calibrated=bool(calibrated.reshape(())),
        sites=sites,
    )
    if recording.calibrated and not as_is:
        _check_flag(path, recording)
    return recording


def _columns(
    path: str | Path, names: list[str], extra_sites: Sequence[str]
) -> tuple[tuple[str, ...], list[int]]:
    """Return the sites to use of a recording with these column names, and the column of each."""
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise PallasError(f"{path}: the site '{twice[:40]}' occurs twice; name each sensor once")
    given = list(extra_sites)
    wanted = worn_sites((*SITES, *(EXTRA_SITES if given == [ALL] else given)))
    found: dict[str, str] = {}
    for site in wanted:
        free = [n for n in SITE_NAMES[site] if n in names and n not in found.values()]
        if free:
            found[site] = free[0]
        elif site in SITES or given != [ALL]:
            raise PallasError(f"{path}: no sensor for {site}; it has {', '.join(names)[:200]}")
    sites = tuple(site for site in ALL_SITES if site in found)
    return sites, [names.index(found[site]) for site in sites]


def _check_stamps(path: str | Path, stamp: Array) -> None:
    """Reject implausible timestamps: the body time grid and the lead-in depend on them."""
    if len(stamp) < 2:
        raise PallasError(
            f"{path}: an IMU recording of {len(stamp)} samples; at least 2 are required"
        )
    if not np.isfinite(stamp).all():
        raise PallasError(f"{path}: 'stamp' must be in seconds, and some values are not finite")
    step = float(np.median(np.diff(stamp)))
    if not 1 / RATES_HZ[1] <= step <= 1 / RATES_HZ[0]:
        raise PallasError(f"{path}: {_odd_step(stamp, step)}")
    if np.abs(stamp).max() > LATEST_STAMP_S:
        raise PallasError(
            f"{path}: 'stamp' must be in seconds, finite and at most {LATEST_STAMP_S:g}"
        )
    if np.ptp(stamp) > LONGEST_S:
        raise PallasError(
            f"{path}: its stamps span {np.ptp(stamp) / 86400:.3g} days (at most"
            f" {LONGEST_S / 86400:g}); they must be in seconds"
        )


def _odd_step(stamp: Array, step: float) -> str:
    """Describe what is wrong with timestamps that are ``step`` s apart."""
    if not np.ptp(stamp):
        return (
            f"its stamps are all {stamp[0]:g}: 'stamp' must be the time of each sample in seconds"
        )
    for unit, scale in _UNITS.items():
        if 1 / _USUAL_HZ[1] <= step * scale <= 1 / _USUAL_HZ[0]:
            return (
                f"its stamps advance by {step:.4g} from sample to sample, so they seem to be in"
                f" {unit}: multiply 'stamp' by {scale:g}, which must be in seconds"
            )
    return (
        f"its stamps are {step:.3g} s apart; they must be in seconds, at {RATES_HZ[0]:g} to"
        f" {RATES_HZ[1]:g} samples a second"
    )


def _check_flag(path: str | Path, recording: Recording) -> None:
    """Reject a recording marked as calibrated whose data contradict it."""
    length = np.linalg.norm(recording.orientation, axis=-1)
    good = (np.abs(length - 1) < UNIT_TOLERANCE).all(axis=-1) & np.isfinite(
        recording.acceleration
    ).all(axis=(1, 2))
    if np.mean(good) < 0.5:
        middle = float(np.nanmedian(length))
        if abs(middle - 1) > UNIT_TOLERANCE:
            raise PallasError(
                f"{path}: the quaternions of 'orientation' have length {middle:.4g}, not 1: "
                "divide them by it"
            )
        return  # the rest is rejected sample by sample
    stamp = recording.stamp[good]
    acceleration = recording.acceleration[good]
    if np.ptp(stamp) < _LEAST_CHECKED_S:
        return
    orientation = np.asarray(rotations.normalise(recording.orientation[good]))
    wrong = gravity_included(orientation, acceleration) or misread(stamp, orientation, acceleration)
    if wrong is not None:
        raise PallasError(f"{path}: 'calibrated' is True, but {wrong}")
