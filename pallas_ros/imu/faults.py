"""Disturbances of the half-hour drift test: body sway, gyroscope bias steps, steel nearby."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import gaussian_filter1d

from pallas_ros.body import rotations
from pallas_ros.body.motion import Motion
from pallas_ros.body.names import EXTRA_SITES, JOINT_INDEX, SITES
from pallas_ros.body.rotations import Array
from pallas_ros.imu.virtual import SensorTrack, wander

_SWAYING = (
    ("pelvis", "spine1", "spine2"),
    ("spine3", "neck", "head"),
    ("left_elbow",),
    ("right_elbow",),
)


@dataclass(frozen=True, slots=True)
class Faults:
    """Severity of the disturbances; zero disables one.

    Attributes:
        sway: rad, standard deviation of the wearer's sway, of the body and of each worn segment
            (0.5 deg/s rms per axis at 0.4 deg).
        bias_step: rad/s, size of a gyroscope bias step about a random axis; the next step reverts
            it.
        step_every_s: s between steps of a sensor; the first after 120 s, each site 30 s after the
            previous one.
        steel: largest field change by steel, relative to an earth field of 1 (log-uniform from an
            eighth of it; each site sees 0.3 to 1.5 times the change, in its own direction).
        steel_every_s: s, mean time between pieces of steel; steel_s: s, shortest and longest stay
            at one (log-uniform).
        ambient: field that varies over 10 s, common to all sites; own_field: the same, separate
            for each site.
    """

    sway: float = float(np.radians(0.4))
    bias_step: float = float(np.radians(0.5))
    step_every_s: float = 300.0
    steel: float = 0.8
    steel_every_s: float = 90.0
    steel_s: tuple[float, float] = (5.0, 60.0)
    ambient: float = 0.02
    own_field: float = 0.01


def swaying(motion: Motion, faults: Faults, seed: int = 0) -> Motion:
    """Add sway to the segments that wear sensors; nobody holds a pose without it."""
    rng = np.random.default_rng([seed, 5])
    rotated = motion.rotations.copy()

    def sway() -> Array:
        slow = wander(len(motion), 1 / motion.fps, 1.5, rng, 3)
        return np.asarray(gaussian_filter1d(slow, 0.2 * motion.fps, axis=0)) * faults.sway

    whole = sway()
    for joints in _SWAYING:
        turn = rotations.from_rotvec(whole + sway())
        for joint in joints:
            rotated[:, JOINT_INDEX[joint]] = rotations.multiply(
                turn, rotated[:, JOINT_INDEX[joint]]
            )
    return replace(motion, rotations=rotated)


def afflicted(
    tracks: Mapping[str, SensorTrack], faults: Faults, seed: int = 0
) -> dict[str, SensorTrack]:
    """Add gyroscope bias steps and magnetic disturbances to the sensors."""
    end = max(float(track.time[-1]) for track in tracks.values())
    # the four sites are independent of the optional ones
    rng, rng_extra = (np.random.default_rng([seed, which]) for which in (77, 78))
    pieces = _pieces_of_steel(end, faults, rng, rng_extra)
    worse = {}
    for i, (site, track) in enumerate(tracks.items()):
        step_s = (end - float(track.time[0])) / len(track.time)
        field = sum(
            (
                gaussian_filter1d(
                    wander(
                        len(track.time), step_s, 10.0, np.random.default_rng([seed, which, 4]), 3
                    ),
                    50,
                    axis=0,
                )
                * size
                for which, size in ((99, faults.ambient), (i, faults.own_field))
            ),
            start=np.zeros((len(track.time), 3)),
        )
        for start, stop, rise, by_site in pieces:
            nearness = np.clip(
                np.minimum((track.time - start) / rise, (stop + rise - track.time) / rise), 0.0, 1.0
            )
            field += (nearness**2 * (3 - 2 * nearness))[:, None] * by_site[site]
        to_sensor = rotations.inverse(rotations.multiply(track.q_world_bone, track.q_bone_sensor))
        worse[site] = replace(
            track,
            angular_velocity=track.angular_velocity + _bias_steps(track.time, i, faults, seed),
            magnetic_field=track.magnetic_field + rotations.rotate(to_sensor, field),
        )
    return worse


def _bias_steps(time: Array, sensor: int, faults: Faults, seed: int) -> Array:
    rng = np.random.default_rng([seed, 9, sensor])
    bias = np.zeros((len(time), 3))
    for n, start in enumerate(np.arange(120.0 + 30 * sensor, float(time[-1]), faults.step_every_s)):
        axis = rng.standard_normal(3)
        bias[time >= start] = axis / np.linalg.norm(axis) * faults.bias_step if n % 2 == 0 else 0.0
    return bias


def _pieces_of_steel(
    end: float, faults: Faults, rng: np.random.Generator, rng_extra: np.random.Generator
) -> list[tuple[float, float, float, dict[str, Array]]]:
    """Return every stay near steel.

    Each is start (s), stop (s), approach time (s) and field change (3,) at each site in
    the world.
    """
    pieces: list[tuple[float, float, float, dict[str, Array]]] = []
    start = 45.0
    while faults.steel and start < end:
        stay = float(np.exp(rng.uniform(*np.log(faults.steel_s))))
        direction = rng.standard_normal(3)
        size = float(np.exp(rng.uniform(np.log(faults.steel / 8), np.log(faults.steel))))
        rise = float(rng.uniform(0.5, 2.5))
        field = direction / np.linalg.norm(direction) * size
        by_site: dict[str, Array] = {
            site: (field + 0.5 * size * source.standard_normal(3)) * source.uniform(0.3, 1.5)
            for sites, source in ((SITES, rng), (EXTRA_SITES, rng_extra))
            for site in sites
        }
        pieces.append((start, start + stay, rise, by_site))
        start += stay + rng.exponential(faults.steel_every_s)
    return pieces
