"""A short walk-like motion of the default body, and the released network."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pallas_ros.body import rotations
from pallas_ros.body.kinematics import forward_kinematics
from pallas_ros.body.names import JOINT_INDEX, JOINTS
from pallas_ros.body.resources import share
from pallas_ros.body.skeleton import Skeleton


@pytest.fixture(scope="session")
def walk() -> NDArray[np.float64]:
    """Positions (240, 22, 3) m at 60 Hz: arms and legs swing, the body moves forward and turns."""
    t = np.arange(240) / 60
    q = np.tile(rotations.IDENTITY, (240, len(JOINTS), 1))
    for name, axis, size, phase in (
        ("left_shoulder", (1.0, 0.0, 0.0), -1.2, 0.0),
        ("right_shoulder", (1.0, 0.0, 0.0), 1.2, 0.0),
        ("left_hip", (0.0, 1.0, 0.0), 0.4, 0.0),
        ("right_hip", (0.0, 1.0, 0.0), 0.4, np.pi),
    ):
        angle = (
            size * (0.8 + 0.2 * np.sin(2 * np.pi * t + phase))
            if "shoulder" in name
            else size * np.sin(2 * np.pi * t + phase)
        )
        chain = [
            j
            for j in JOINTS
            if j.startswith(name.split("_")[0])
            and (("shoulder" in name) == j.endswith(("shoulder", "elbow", "wrist")))
        ]
        for joint in chain:
            if not joint.endswith("collar"):
                q[:, JOINT_INDEX[joint]] = rotations.from_rotvec(angle[:, None] * np.array(axis))
    q = rotations.multiply(rotations.about_z(0.2 * t)[:, None], q)
    root = np.stack((0.8 * t, 0.05 * t**2, np.full(240, 0.95)), axis=-1)
    return np.asarray(forward_kinematics(Skeleton.from_height(), q, root))


@pytest.fixture(scope="session")
def noisy(walk: NDArray[np.float64]) -> NDArray[np.float64]:
    """The walk with the noise model of docs/guide/conventions.md, implemented here without torch or
    training code.
    """
    rng = np.random.default_rng(5)
    out = walk + 0.012 * rng.standard_normal(walk.shape)
    off = rng.random(walk.shape[:2]) < 0.005
    out[off] += 0.25 * np.array([0.6, 0.0, 0.8])
    return out


@pytest.fixture(scope="session")
def model() -> Path:
    """The released network; skip if it is missing."""
    path = share() / "models" / "hpstm.onnx"
    if not path.is_file():
        pytest.skip("models/hpstm.onnx is not there: train it (pallas train hpstm)")
    return path
