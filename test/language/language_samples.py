"""Synthetic motion and texts."""

import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pallas_ros.body import rotations
from pallas_ros.body.kinematics import forward_kinematics
from pallas_ros.body.motion import Motion
from pallas_ros.body.names import JOINT_INDEX
from pallas_ros.body.skeleton import Skeleton

WIDTH = 16
CONTENTS = (
    "raise-up-left-hand",
    "raise-up-right-hand",
    "wave-both-hands",
    "walk",
    "kick",
    "bow",
    "run",
    "jumping",
)


def encode(texts: list[str]) -> NDArray[np.float32]:
    """Return a vector for each text computed from its words, instead of a sentence encoder."""
    rows = [
        np.sum(
            [
                np.random.default_rng(zlib.crc32(word.encode())).standard_normal(WIDTH)
                for word in text.lower().split()
            ],
            axis=0,
        )
        for text in texts
    ]
    vectors = np.array(rows, np.float32).reshape(len(texts), WIDTH)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-6)


class StandIn:
    """A replacement for the sentence encoder, without weights."""

    width = WIDTH
    folder = Path("stand-in")

    def encode(self, texts: list[str]) -> NDArray[np.float32]:
        """Return a vector for each text computed from its words, instead of a sentence encoder."""
        return encode(texts)


def swinging(joints: tuple[str, ...], seconds: float = 5.0, fps: float = 30.0) -> Motion:
    """A standing person who raises and lowers some joints sideways."""
    t = np.arange(round(seconds * fps)) / fps
    q = np.tile(rotations.IDENTITY, (len(t), 22, 1))
    for joint in joints:
        side = 1.0 if joint.startswith("left") else -1.0
        turn = np.zeros((len(t), 3))
        turn[:, 0] = side * 0.9 * np.sin(2 * t)
        q[:, JOINT_INDEX[joint]] = rotations.from_rotvec(turn)
    root = np.tile([0.0, 0.0, 0.95], (len(t), 1))
    p = forward_kinematics(Skeleton.from_height(), q, root)
    return Motion(fps, np.asarray(p, np.float64), np.asarray(q, np.float64))
