"""Test bodies: postures and motions whose forces follow from statics and mechanics."""

import numpy as np
import pytest

from pallas_ros.body import rotations
from pallas_ros.body.kinematics import forward_kinematics, to_global
from pallas_ros.body.motion import Motion
from pallas_ros.body.names import JOINT_INDEX, JOINTS
from pallas_ros.body.skeleton import Skeleton

pytest.importorskip("pinocchio", reason="needs the extra [robot]")

FPS = 60.0
SKELETON = Skeleton.from_height()


def posture(**turns: tuple[float, float, float]) -> np.ndarray:
    """Return global orientations (22, 4): the T-pose with joints turned by rotation vectors
    (rad).
    """
    local = np.tile(rotations.IDENTITY, (len(JOINTS), 1))
    for joint, turn in turns.items():
        local[JOINT_INDEX[joint]] = rotations.from_rotvec(np.array(turn))
    return np.asarray(to_global(local))


def arms_down(**turns: tuple[float, float, float]) -> np.ndarray:
    """Return a standing posture with the arms at the sides."""
    hang = {"left_shoulder": (-1.5, 0.0, 0.0), "right_shoulder": (1.5, 0.0, 0.0)}
    return posture(**{**hang, **turns})


def bowed(bend: float) -> np.ndarray:
    """Return a posture with the trunk bent forward by this angle in rad and hanging arms, as in
    lifting.
    """
    turns = {"spine1": (0.0, bend, 0.0)}
    for side, sign in (("left", -1.0), ("right", 1.0)):
        hang = rotations.from_rotvec(np.array([sign * 1.5, 0.0, 0.0]))
        back = rotations.from_rotvec(np.array([0.0, -bend, 0.0]))
        turns[f"{side}_shoulder"] = tuple(rotations.to_rotvec(rotations.multiply(back, hang)))
    return posture(**turns)


def still(q: np.ndarray, seconds: float = 1.0, height: float | None = None) -> Motion:
    """Return a held posture, with the pelvis at its height in the T-pose or at ``height`` m."""
    frames = round(seconds * FPS)
    at = SKELETON.rest_positions[0].copy()
    if height is not None:
        at[2] = height
    return moving(np.tile(q, (frames, 1, 1)), np.tile(at, (frames, 1)))


def moving(q: np.ndarray, pelvis: np.ndarray) -> Motion:
    """Return orientations (T, 22, 4) and the pelvis trajectory (T, 3) as a motion."""
    positions = forward_kinematics(SKELETON, q, pelvis)
    return Motion(FPS, np.asarray(positions), q)
