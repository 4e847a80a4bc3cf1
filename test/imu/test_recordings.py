"""Recordings: the flag `calibrated` is checked against the data, mistakes are reported, and valid
recordings of any movement are accepted.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pallas_ros.body import rotations
from pallas_ros.body.errors import PallasError
from pallas_ros.body.motion import save_npz
from pallas_ros.body.names import SITES
from pallas_ros.imu.motions import demo_motion
from pallas_ros.imu.recording import load_recording
from pallas_ros.imu.sample import GRAVITY
from pallas_ros.imu.virtual import SensorNoise, VirtualSensors

Arrays = dict[str, np.ndarray]

FACING_Z = rotations.from_matrix(np.array([[0.0, 1, 0], [0, 0, 1], [1, 0, 0]]))
"""Our axes to those of a world with y up, in which people face z."""
ABOUT_X = rotations.from_matrix(np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]]))


@pytest.fixture(scope="module")
def calibrated() -> Arrays:
    tracks = VirtualSensors(SensorNoise(), seed=2).tracks(demo_motion(8.0), 60.0)
    count = min(len(track.time) for track in tracks.values())
    q = np.stack([track.orientation[:count] for track in tracks.values()], axis=1)
    force = np.stack([track.acceleration[:count] for track in tracks.values()], axis=1)
    return {
        "sites": np.array(SITES),
        "stamp": tracks["pelvis"].time[:count],
        "orientation": q,
        "linear_acceleration": rotations.rotate(q, force) - np.array([0.0, 0.0, GRAVITY]),
        "calibrated": np.array(True),
    }


def basis(turn: np.ndarray) -> Callable[[Arrays], Arrays]:
    def change(arrays: Arrays) -> Arrays:
        q = rotations.multiply(
            rotations.multiply(turn, arrays["orientation"]), rotations.inverse(turn)
        )
        a = rotations.rotate(turn, arrays["linear_acceleration"])
        return {**arrays, "orientation": q, "linear_acceleration": a}

    return change


def world(turn: np.ndarray) -> Callable[[Arrays], Arrays]:
    return lambda arrays: {
        **arrays,
        "orientation": rotations.multiply(turn, arrays["orientation"]),
        "linear_acceleration": rotations.rotate(turn, arrays["linear_acceleration"]),
    }


def gravity(vector: list[float]) -> Callable[[Arrays], Arrays]:
    return lambda a: {**a, "linear_acceleration": a["linear_acceleration"] + np.array(vector)}


def in_the_sensor_frame(arrays: Arrays) -> Arrays:
    up = arrays["linear_acceleration"] + np.array([0.0, 0.0, GRAVITY])
    turned = rotations.rotate(rotations.inverse(arrays["orientation"]), up)
    return {**arrays, "linear_acceleration": turned}


MISTAKES: dict[str, tuple[Callable[[Arrays], Arrays], str]] = {
    "w first": (
        lambda a: {**a, "orientation": a["orientation"][..., [3, 0, 1, 2]]},
        "in the order w, x, y, z: store them as x, y, z, w",
    ),
    "y up, facing z": (basis(FACING_Z), "the world has y up"),
    "y up, facing x": (basis(ABOUT_X), "the world has y up"),
    "y up, bones as ours": (world(ABOUT_X), "the world has y up"),
    "inverse": (
        lambda a: {**a, "orientation": rotations.inverse(a["orientation"])},
        "map the world to the bone",
    ),
    "gravity": (gravity([0, 0, 9.81]), r"gravity is included .*along z"),
    "gravity in g": (
        lambda a: {
            **a,
            "linear_acceleration": (a["linear_acceleration"] + np.array([0, 0, GRAVITY])) / GRAVITY,
        },
        r"in g, with gravity in it",
    ),
    "gravity and y up": (gravity([0, 9.81, 0]), "y is the vertical axis"),
    "raw samples": (in_the_sensor_frame, "in the sensor's frame"),
    "integers": (
        lambda a: {**a, "orientation": a["orientation"] * 16384},
        r"length 1\.638e\+04, not 1",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_recording_that_contradicts_its_flag_is_rejected(
    mistake: str, calibrated: Arrays, tmp_path: Path
) -> None:
    change, words = MISTAKES[mistake]
    save_npz(tmp_path / "r.npz", change(calibrated))
    with pytest.raises(PallasError, match=words) as refusal:
        load_recording(tmp_path / "r.npz")
    assert "r.npz" in str(refusal.value)
    assert load_recording(tmp_path / "r.npz", as_is=True).calibrated


def test_a_calibrated_recording_as_documented_is_taken(calibrated: Arrays, tmp_path: Path) -> None:
    save_npz(tmp_path / "r.npz", calibrated)
    assert load_recording(tmp_path / "r.npz").calibrated


@pytest.mark.parametrize("seconds", [3, 5, 10])
def test_every_part_of_a_real_recording_is_accepted(
    seconds: int, shared_data: Path, tmp_path: Path
) -> None:
    with np.load(shared_data / "real_imu_60hz.npz") as file:
        arrays = {key: file[key] for key in file.files}
    count = len(arrays["stamp"])
    for begin in range(0, count - 60 * seconds, 30 * seconds):
        part = slice(begin, begin + 60 * seconds)
        cut = {k: v[part] if np.shape(v)[:1] == (count,) else v for k, v in arrays.items()}
        save_npz(tmp_path / "part.npz", cut)
        load_recording(tmp_path / "part.npz")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t * 1e3, "milliseconds"),
        (lambda t: t * 1e6, "microseconds"),
        (lambda t: t * 1e9, "nanoseconds"),
        (lambda t: 1.7e12 + t * 1e3, "milliseconds"),
        (lambda t: t * 0, "its stamps are all 0"),
        (lambda t: t + 9.5e9, r"at most 9e\+09"),  # regression: an OverflowError
    ],
)
def test_stamps_in_another_unit_are_named(
    change: Callable[[np.ndarray], np.ndarray], words: str, calibrated: Arrays, tmp_path: Path
) -> None:
    save_npz(tmp_path / "r.npz", {**calibrated, "stamp": change(calibrated["stamp"])})
    with pytest.raises(PallasError, match=words):
        load_recording(tmp_path / "r.npz")
