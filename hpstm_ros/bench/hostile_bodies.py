"""Bodies for hostile runs: an operator who waves, with one fault at a time."""

import numpy as np
from numpy.typing import NDArray

from pallas_ros.body.frames import BodyFrame
from pallas_ros.body.kinematics import forward_kinematics
from pallas_ros.body.names import JOINT_INDEX
from pallas_ros.body.rotations import from_rotvec, multiply
from pallas_ros.body.skeleton import Skeleton

F64 = NDArray[np.float64]
_NS = 1_000_000_000


_WRISTS = [JOINT_INDEX["left_wrist"], JOINT_INDEX["right_wrist"]]
ARMS = [
    JOINT_INDEX[f"{side}_{joint}"]
    for side in ("left", "right")
    for joint in ("shoulder", "elbow", "wrist")
]


class WavingBodies:
    """An operator who waves both arms, with random faults."""

    def __init__(self, random: np.random.Generator, frames: int) -> None:
        """Create ``frames`` frames at 60 Hz."""
        self._random = random
        phase, speed, size = (
            random.uniform(low, high, (6, 3))
            for low, high in ((0.0, 2 * np.pi), (0.3, 4.0), (0.2, 1.5))
        )
        turns = np.zeros((frames, 22, 3))
        turns[:, ARMS] = size * np.sin(phase + speed * np.arange(frames)[:, None, None] / 60)
        local = from_rotvec(turns)
        self._rotations = np.tile([0.0, 0.0, 0.0, 1.0], (frames, 22, 1))
        for side in ("left", "right"):
            shoulder, elbow, wrist = (
                JOINT_INDEX[f"{side}_{joint}"] for joint in ("shoulder", "elbow", "wrist")
            )
            self._rotations[:, shoulder] = local[:, shoulder]
            self._rotations[:, elbow] = multiply(self._rotations[:, shoulder], local[:, elbow])
            self._rotations[:, wrist] = multiply(self._rotations[:, elbow], local[:, wrist])
        roots = np.tile([0.0, 0.0, 1.0], (frames, 1))
        self._positions: F64 = np.asarray(
            forward_kinematics(Skeleton.from_height(1.75), self._rotations, roots), dtype=np.float64
        )
        self._last_stamp = self._next_stamp = 0

    def good(self, frame: int, stamp: int) -> BodyFrame:
        """A plausible body, with the stamp ``stamp``."""
        self._last_stamp = self._next_stamp
        self._next_stamp = stamp
        covariance = np.tile(np.eye(3) * 1e-4, (22, 1, 1))
        rotations = self._rotations[frame].copy()
        positions = self._positions[frame].copy()
        return BodyFrame(
            stamp,
            rotations,
            positions,
            covariance,
            np.ones(22, bool),
            np.ones(22),
            np.zeros(2),
            stamp,
        )

    def spoil(self, body: BodyFrame) -> BodyFrame:
        """Return the body with one fault."""
        random = self._random
        joint = int(self._random.integers(22))
        match int(random.integers(15)):
            case 0:
                body.positions[joint, int(random.integers(3))] = random.choice(
                    [np.nan, np.inf, -np.inf, 1e300]
                )
            case 1:
                body.rotations[joint] = random.choice([np.nan, 0.0, 1e200])
            case 2:
                body.positions[_WRISTS] += random.normal(0, 1.0, (2, 3))  # teleporting wrists
            case 3:
                body.positions[ARMS] *= random.choice([-1.0, 0.0, 3.0, 1e-9, 1e9])
            case 4:
                body.stamp -= int(random.integers(1, 3 * _NS))
            case 5:
                body.stamp += int(random.integers(1, 3 * _NS))
            case 6:
                body.stamp = int(random.choice([0, -1, 2**62, -(2**62)]))
            case 7:
                body.valid[:] = random.random(22) < 0.8
            case 8:
                body.confidence[:] = random.choice([0.0, np.nan, -1.0, 5.0, 0.3, np.inf])
            case 9:
                body.covariance = np.empty((22, 3, 3))
                body.covariance[:] = np.where(
                    np.eye(3), random.choice([np.nan, -1.0, 1e6, np.inf]), 0.0
                )
            case 10:
                body.covariance = np.empty((22, 3, 3))
                body.covariance[:] = np.eye(3) * float(random.choice([1e-3, 1e-2, 0.1]))
            case 11:
                body.positions += random.normal(0, 0.25, body.positions.shape)
            case 12:
                body.rotations[:] = multiply(
                    from_rotvec(random.normal(0, 2.0, (1, 3))), body.rotations
                )
            case 13:
                body.stamp = self._last_stamp
            case _:
                body.covariance = None
        return body
