"""Virtual sensors: readings of four IMUs worn by a moving body, with realistic errors.

Acceleration is the second derivative of the sensor's own position, including the lever arm from the
bone; angular velocity is the derivative of the sensor's orientation. The three are thus consistent
with rigid-body motion.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.interpolate import make_interp_spline
from scipy.ndimage import gaussian_filter1d
from scipy.signal import lfilter
from scipy.spatial.transform import Rotation, RotationSpline

from pallas_ros.body import rotations
from pallas_ros.body.motion import Motion
from pallas_ros.body.names import JOINT_INDEX, SITES
from pallas_ros.body.rotations import Array
from pallas_ros.body.sites import SITE
from pallas_ros.imu.sample import GRAVITY, ImuSample

NECK_SHARE = 0.5
"""Weight between the orientations of upper trunk (0) and head (1) for a neck sensor; its placement
varies.
"""

MAGNETIC_DIP = float(np.radians(60.0))
"""Inclination of the simulated earth field, of unit strength and pointing to +x of the sensors'
common reference frame.
"""


@dataclass(frozen=True, slots=True)
class SensorNoise:
    """Errors of a sensor and of its mounting, drawn per sensor from the seed; zero disables one.

    Attributes:
        accelerometer_density: m/s^2/sqrt(Hz), white noise.
        accelerometer_bias: m/s^2, standard deviation of a constant bias per axis.
        gyroscope_density: rad/s/sqrt(Hz), white noise.
        gyroscope_bias: rad/s, standard deviation of a constant bias per axis.
        gyroscope_instability: rad/s/sqrt(s), random walk of the bias.
        tilt_error: rad, standard deviation of the fused orientation about the horizontal axes,
            varying over some seconds.
        heading_walk: rad/sqrt(s), random walk of the fused orientation about the vertical.
        heading_offset: rad, maximum rotation of each sensor's reference frame in either direction
            (uniform).
        mounting_error: rad, angle of each sensor's mounting error, about a random axis.
        soft_tissue: rad, standard deviation of the skin's movement over the bone at an acceleration
            of 5 m/s^2.
        magnetometer: standard deviation of white noise, relative to a field of strength 1.
        clock_ppm: parts per million, largest rate error of a device clock (uniform).
        jitter: s, standard deviation of the sampling times.
        loss: fraction of samples lost.
    """

    accelerometer_density: float = 0.002
    accelerometer_bias: float = 0.03
    gyroscope_density: float = 2.5e-4
    gyroscope_bias: float = 0.003
    gyroscope_instability: float = 2e-5
    tilt_error: float = 0.009
    heading_walk: float = 0.0007
    heading_offset: float = 0.0
    mounting_error: float = 0.07
    soft_tissue: float = 0.02
    magnetometer: float = 0.005
    clock_ppm: float = 50.0
    jitter: float = 0.0003
    loss: float = 0.0

    @classmethod
    def none(cls) -> "SensorNoise":
        """Return perfect sensors, perfectly mounted."""
        return cls(**dict.fromkeys(cls.__dataclass_fields__, 0.0))

    def with_(self, **changes: float) -> "SensorNoise":
        """Return a copy with some values changed."""
        return replace(self, **changes)


@dataclass(slots=True)
class SensorTrack:
    """Measurements of one virtual sensor over a motion, and the ground truth; N samples.

    Attributes:
        time: (N,) s since the start of the motion, true sampling times.
        device_time: (N,) s on the sensor's own clock, which has a random offset and a small skew.
        orientation: (N, 4) xyzw, sensor to its reference frame.
        acceleration: (N, 3) m/s^2, specific force, sensor frame.
        angular_velocity: (N, 3) rad/s, sensor frame.
        magnetic_field: (N, 3), sensor frame, of strength 1.
        q_world_bone: (N, 4) xyzw, the bone's true orientation.
        q_bone_sensor: (4,) xyzw, the true mounting.
        heading_offset: rad, the correct `Calibration.heading_offset`.
    """

    time: Array
    device_time: Array
    orientation: Array
    acceleration: Array
    angular_velocity: Array
    magnetic_field: Array
    q_world_bone: Array
    q_bone_sensor: Array
    heading_offset: float

    def sample(self, index: int, start: int = 0) -> ImuSample:
        """Return sample ``index``, timestamped as if the motion started at ``start`` ns."""
        return ImuSample(
            stamp=start + round(float(self.time[index]) * 1e9),
            orientation=np.asarray(self.orientation[index], np.float64),
            acceleration=np.asarray(self.acceleration[index], np.float64),
            angular_velocity=np.asarray(self.angular_velocity[index], np.float64),
            magnetic_field=np.asarray(self.magnetic_field[index], np.float64),
        )


def bone_orientation(motion: Motion, site: str) -> Array:
    """Return the true orientation (T, 4) xyzw of the bone of a site.

    The neck's lies between upper trunk and head.
    """
    if site == "neck":
        upper = motion.rotations[:, JOINT_INDEX["spine3"]]
        head = motion.rotations[:, JOINT_INDEX["head"]]
        return rotations.slerp(upper, head, NECK_SHARE)
    return motion.rotations[:, SITE[site].index]


class VirtualSensors:
    """Sensors worn on a body.

    The same seed gives the same errors; those of the four sites do not depend on additional
    sensors.
    """

    def __init__(
        self,
        noise: SensorNoise | None = None,
        seed: int = 0,
        q_bone_sensor: Mapping[str, Array] | None = None,
        sites: Sequence[str] = SITES,
    ) -> None:
        """Set the worn sensors.

        Args:
            noise: sensor errors.
            seed: of the errors.
            q_bone_sensor: nominal mounting of each sensor, (4,) xyzw, without mounting error;
                default as in `docs/guide/sensors.md`.
            sites: the worn sites.
        """
        self.noise = noise or SensorNoise()
        self.seed = seed
        self._worn = {site: (q_bone_sensor or {}).get(site, rotations.IDENTITY) for site in sites}

    def tracks(self, motion: Motion, rate_hz: float = 100.0) -> dict[str, SensorTrack]:
        """Return the measurements of every site at its own times (``rate_hz`` in its own clock)."""
        return {
            site: self._track(motion, site, rate_hz, np.random.default_rng([self.seed, i]))
            for i, site in enumerate(self._worn)
        }

    def samples(
        self, motion: Motion, rate_hz: float = 100.0, start: int = 1_000_000_000
    ) -> list[tuple[str, ImuSample]]:
        """Return all samples in order of timestamp; the motion starts at ``start`` ns."""
        tracks = self.tracks(motion, rate_hz)
        order = sorted(
            (float(t), site, i) for site, track in tracks.items() for i, t in enumerate(track.time)
        )
        return [(site, tracks[site].sample(i, start)) for _, site, i in order]

    def _track(
        self, motion: Motion, site: str, rate_hz: float, rng: np.random.Generator
    ) -> SensorTrack:
        noise = self.noise
        # always drawn first, so that enabling one error does not change another
        shares = rng.uniform(-1, 1, 8)
        directions = rng.standard_normal((4, 3))
        clock = 1 + shares[0] * noise.clock_ppm * 1e-6
        axis = directions[0] / np.linalg.norm(directions[0])
        heading_offset = float(shares[1] * noise.heading_offset)
        q_bone_sensor = rotations.multiply(
            self._worn[site], rotations.from_rotvec(axis * noise.mounting_error)
        )
        time = _instants(motion.duration, rate_hz / clock, noise, shares[2], rng)

        q_world_bone, q_world_skin, rate, acceleration = _kinematics(
            motion, site, time, noise.soft_tissue, rng
        )
        q_world_sensor = rotations.multiply(q_world_skin, q_bone_sensor)
        to_sensor = rotations.inverse(q_world_sensor)
        force = rotations.rotate(to_sensor, acceleration + np.array([0.0, 0.0, GRAVITY]))
        angular = rotations.rotate(rotations.inverse(q_bone_sensor), rate)
        field = np.array([np.cos(MAGNETIC_DIP), 0.0, -np.sin(MAGNETIC_DIP)])
        magnetic = rotations.rotate(
            rotations.multiply(to_sensor, rotations.about_z(heading_offset)),
            np.broadcast_to(field, force.shape),
        )

        # the order of these draws decides the result of a seed
        force, angular = _with_errors(force, angular, directions, noise, rate_hz, rng)
        q_ref_world = _reference(len(time), heading_offset, noise, rate_hz, rng)
        return SensorTrack(
            time=time,
            device_time=time * clock + 100.0 * (1 + shares[3]),
            orientation=rotations.multiply(q_ref_world, q_world_sensor),
            acceleration=force,
            angular_velocity=angular,
            magnetic_field=magnetic + rng.standard_normal(force.shape) * noise.magnetometer,
            q_world_bone=q_world_bone,
            q_bone_sensor=q_bone_sensor,
            heading_offset=heading_offset,
        )


def _with_errors(
    force: Array,
    angular: Array,
    directions: Array,
    noise: SensorNoise,
    rate_hz: float,
    rng: np.random.Generator,
) -> tuple[Array, Array]:
    """Return specific force and angular velocity (N, 3) as a sensor measures them: with biases
    along ``directions``, white noise, and a random walk of the gyroscope bias.
    """
    shape = force.shape
    white = np.sqrt(rate_hz)
    walk = np.cumsum(rng.standard_normal(shape), axis=0)
    bias_walk = walk * noise.gyroscope_instability * np.sqrt(1 / rate_hz)
    force = (
        force
        + directions[1] * noise.accelerometer_bias
        + rng.standard_normal(shape) * noise.accelerometer_density * white
    )
    angular = (
        angular
        + directions[2] * noise.gyroscope_bias
        + bias_walk
        + rng.standard_normal(shape) * noise.gyroscope_density * white
    )
    return force, angular


def _reference(
    count: int,
    heading_offset: float,
    noise: SensorNoise,
    rate_hz: float,
    rng: np.random.Generator,
) -> Array:
    """Return the rotations (N, 4) from the world to the sensor filter's estimate of it."""
    step = 1 / rate_hz
    error = wander(count, step, 5.0, rng, 3) * noise.tilt_error
    error[:, 2] = np.cumsum(rng.standard_normal(count)) * noise.heading_walk * np.sqrt(step)
    return rotations.multiply(rotations.from_rotvec(error), rotations.about_z(-heading_offset))


def wander(
    count: int, step_s: float, correlation_s: float, rng: np.random.Generator, axes: int
) -> Array:
    """Return Gauss-Markov noise (count, axes) of unit variance, sampled every ``step_s``.

    ``correlation_s`` is its correlation time.
    """
    keep = float(np.exp(-step_s / correlation_s))
    drive = rng.standard_normal((count, axes)) * np.sqrt(1 - keep**2)
    drive[:1] = rng.standard_normal((min(count, 1), axes))
    return np.asarray(lfilter([1.0], [1.0, -keep], drive, axis=0))


def _instants(
    duration: float, rate_hz: float, noise: SensorNoise, phase: float, rng: np.random.Generator
) -> Array:
    count = int(duration * rate_hz)
    instants = (np.arange(count) + 0.5 * (1 + phase)) / rate_hz + rng.standard_normal(
        count
    ) * noise.jitter
    instants = np.sort(np.clip(instants, 0.0, duration))
    return np.asarray(instants[rng.random(count) >= noise.loss])


def _kinematics(
    motion: Motion, site: str, time: Array, soft_tissue: float, rng: np.random.Generator
) -> tuple[Array, Array, Array, Array]:
    """Return the kinematics at ``time``.

    They are the orientations of bone and overlying skin, the skin's angular velocity in its own
    frame, and the sensor's acceleration in the world.
    """
    frames = np.arange(len(motion)) / motion.fps
    joint = SITE[site].joint
    lever = SITE[site].place
    q_frames = rotations.continuous(rotations.normalise(bone_orientation(motion, site)))
    p_sensor = motion.positions[:, JOINT_INDEX[joint]] + rotations.rotate(q_frames, np.array(lever))
    path = make_interp_spline(frames, p_sensor, k=5)
    acceleration = np.asarray(path(time, 2))
    q_bone = np.asarray(RotationSpline(frames, Rotation.from_quat(q_frames))(time).as_quat())
    if not soft_tissue:
        skin_frames = q_frames
    else:
        fierce = np.minimum(
            np.linalg.norm(np.asarray(path(frames, 2)), axis=1, keepdims=True) / 5.0, 2.0
        )
        wobble = (
            wander(len(frames), 1 / motion.fps, 0.25, rng, 3)
            * soft_tissue
            * _smooth(fierce, motion.fps)
        )
        skin_frames = rotations.multiply(
            q_frames, rotations.from_rotvec(_smooth(wobble, motion.fps))
        )
    skin = RotationSpline(frames, Rotation.from_quat(skin_frames))
    q_skin = np.asarray(skin(time).as_quat())
    return q_bone, q_skin, np.asarray(skin(time, 1)), acceleration


def _smooth(values: Array, fps: float) -> Array:
    return np.asarray(gaussian_filter1d(values, 0.05 * fps, axis=0, mode="nearest"))
