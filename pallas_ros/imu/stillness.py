"""Detect from the samples whether the wearer stands still."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pallas_ros.body import rotations
from pallas_ros.body.names import EXTRA_SITES, SITES
from pallas_ros.body.rotations import Array
from pallas_ros.imu.sample import GRAVITY, ImuSample, flaw

NANOSECONDS = 1_000_000_000
_GRACE = 3 * NANOSECONDS  # an optional sensor silent for longer is not waited for


@dataclass(slots=True)
class StillLimits:
    """Thresholds for standing still.

    Attributes:
        duration_s: minimum duration.
        orientation: rad, rms deviation of the orientation from its mean over that time.
        acceleration: m/s^2, standard deviation of the acceleration's magnitude.
        rate: rad/s, rms angular velocity about its mean.
    """

    duration_s: float = 1.5
    orientation: float = float(np.radians(1.5))
    acceleration: float = 0.35
    rate: float = 0.25


@dataclass(slots=True)
class StillPose:
    """Statistics of one sensor while the wearer stood still.

    Attributes:
        q_ref_sensor: (4,) xyzw, mean orientation, sensor to its reference frame.
        acceleration: (3,) m/s^2, mean specific force in the sensor frame.
        rate: (3,) rad/s, mean angular velocity in the sensor frame: the gyroscope bias.
        deviation: rad, rms deviation of the orientation from its mean.
        acceleration_noise: m/s^2, standard deviation of the acceleration's magnitude.
        rate_noise: rad/s, rms of the angular velocity about its mean.
        samples: number of samples.
    """

    q_ref_sensor: Array
    acceleration: Array
    rate: Array
    deviation: float
    acceleration_noise: float
    rate_noise: float
    samples: int

    @property
    def gravity(self) -> float:
        """Magnitude of the specific force at rest, m/s^2."""
        return float(np.linalg.norm(self.acceleration))


def mean_orientation(quaternions: Array) -> Array:
    """Mean (4,) of unit quaternions (N, 4), regardless of sign.

    It is the largest eigenvector of their outer products (Markley et al. 2007).
    """
    values, vectors = np.linalg.eigh(quaternions.T @ quaternions)
    mean = vectors[:, int(np.argmax(values))]
    return np.asarray(mean if mean[3] >= 0 else -mean)


def still_pose(samples: Sequence[ImuSample]) -> StillPose:
    """Compute the statistics of samples (at least one, each with an orientation) of one pose."""
    orientations = np.array([sample.orientation for sample in samples])
    accelerations = np.array([sample.acceleration for sample in samples])
    rates = np.array(
        [
            sample.angular_velocity if sample.angular_velocity is not None else np.zeros(3)
            for sample in samples
        ]
    )
    mean = mean_orientation(orientations)
    deviation = rotations.angle_between(mean, orientations)
    return StillPose(
        q_ref_sensor=mean,
        acceleration=accelerations.mean(axis=0),
        rate=rates.mean(axis=0),
        deviation=float(np.sqrt(np.mean(deviation**2))),
        acceleration_noise=float(np.linalg.norm(accelerations, axis=1).std()),
        rate_noise=float(np.sqrt(np.mean(np.sum((rates - rates.mean(axis=0)) ** 2, axis=1)))),
        samples=len(samples),
    )


class StillnessDetector:
    """Buffer the last ``limits.duration_s`` of every site and detect when all of them are still.

    An optional site that has sent no usable sample for 3 s is not waited for.
    """

    def __init__(self, limits: StillLimits | None = None, sites: Sequence[str] = SITES) -> None:
        self.limits = limits or StillLimits()
        self.sites = tuple(sites)
        self._window: dict[str, deque[ImuSample]] = {
            site: deque(maxlen=4096) for site in self.sites
        }
        self._next_look: int | None = None
        self._heard: dict[str, int] = {}  # ns, newest sample of a site, or the first look without
        self.moving = ""

    def clear(self) -> None:
        """Discard all samples; silent sites remain known."""
        for window in self._window.values():
            window.clear()
        self._next_look = None

    def push(self, site: str, sample: ImuSample) -> dict[str, StillPose] | None:
        """Process a sample.

        Returns the pose of every site once all have been still for the whole duration, else None
        (see `moving`). Optional sites that are silent have no pose.
        """
        window = self._window.get(site)
        if (
            window is None
            or sample.orientation is None
            or flaw(sample.orientation, sample.acceleration) is not None
        ):
            return None
        duration = round(self.limits.duration_s * NANOSECONDS)
        if window and not 0 < sample.stamp - window[-1].stamp < NANOSECONDS // 2:
            window.clear()  # a gap or a clock jump: earlier samples are no longer relevant
        window.append(sample)
        self._heard[site] = sample.stamp
        while window[0].stamp < sample.stamp - duration:
            window.popleft()
        if self._next_look is None or abs(sample.stamp - self._next_look) > 2 * duration:
            self._next_look = sample.stamp + duration
        if sample.stamp < self._next_look:
            return None
        self._next_look = sample.stamp + NANOSECONDS // 10
        return self._look(duration, self._silent(sample.stamp))

    def _silent(self, stamp: int) -> list[str]:
        """Return the optional sites that are not waited for at ``stamp``."""
        silent = []
        for site in self.sites:
            if site not in EXTRA_SITES:
                continue
            if stamp < self._heard.setdefault(site, stamp) - _GRACE:
                self._heard[site] = stamp  # the clock was set back
            if stamp > self._heard[site] + _GRACE:
                silent.append(site)
        return silent

    def _look(self, duration: int, silent: Sequence[str]) -> dict[str, StillPose] | None:
        poses: dict[str, StillPose] = {}
        for site, window in self._window.items():
            if site in silent:
                continue
            if len(window) < 2 or window[-1].stamp - window[0].stamp < 0.9 * duration:
                self.moving = f"waiting for {site}"
                return None
            pose = poses[site] = still_pose(window)
            if pose.deviation > self.limits.orientation:
                self.moving = f"{site} is turning ({np.degrees(pose.deviation):.1f} degrees)"
                return None
            if pose.rate_noise > self.limits.rate:
                self.moving = f"{site} is turning ({np.degrees(pose.rate_noise):.0f} degrees/s)"
                return None
            if pose.acceleration_noise > self.limits.acceleration * max(
                1.0, pose.gravity / GRAVITY
            ):
                self.moving = f"{site} is shaking ({pose.acceleration_noise:.1f} m/s^2)"
                return None
        self.moving = ""
        return poses
