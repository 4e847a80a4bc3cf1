"""Baselines without training, or with only a mean, which every model has to beat."""

import torch
from torch import Tensor

from pallas_ros.body.names import JOINT_INDEX, JOINTS, LEG_JOINTS
from pallas_ros.data.library import MotionLibrary
from pallas_ros.geometry import rotations

_HEAD = [JOINT_INDEX["neck"], JOINT_INDEX["head"]]


def tpose_measured(imu: Tensor) -> Tensor:
    """T-pose with the measured waist, neck and forearms: rotations (..., 22, 3, 3) in the heading
    frame, from inputs (..., 48).

    Trunk, collars and upper arms follow the waist, the head the neck sensor, and the hands the
    forearms; the legs are upright.
    """
    waist, neck, left, right = imu.unflatten(-1, (4, 12))[..., 3:].unflatten(-1, (3, 3)).unbind(-3)
    upright = torch.eye(3).expand(waist.shape)
    rows = []
    for joint, name in enumerate(JOINTS):
        if joint in LEG_JOINTS:
            rows.append(upright)
        elif joint in _HEAD:
            rows.append(neck)
        elif name.endswith(("_elbow", "_wrist")):
            rows.append(left if name.startswith("left") else right)
        else:
            rows.append(waist)
    return torch.stack(rows, dim=-3)


def mean_pose(library: MotionLibrary) -> Tensor:
    """Mean pose (22, 3, 3) of the training split, in the heading frame of the pelvis."""
    total = torch.zeros(22, 6)
    count = 0
    for clip in library.select("train"):
        q = torch.from_numpy(library.quaternions(clip)[::6])
        q = rotations.multiply(rotations.about_z(-rotations.heading(q[:, 0]))[:, None], q)
        total += rotations.to_r6d(rotations.to_matrix(q)).sum(0)
        count += len(q)
    return rotations.from_r6d(total / count)
