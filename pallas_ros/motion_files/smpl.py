"""AMASS, SMPL, SMPL+H and SMPL-X motion (.npz): axis-angle pose parameters and a pelvis trajectory.

No body model is needed: the default body's proportions replace the person's shape. AMASS's SMPL-X
files (``*_stageii.npz``) contain pickled objects in unused fields, which are never read.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pallas_ros.body import rotations
from pallas_ros.body.errors import PallasError
from pallas_ros.body.kinematics import forward_kinematics, to_global
from pallas_ros.body.names import JOINTS, PARENTS
from pallas_ros.body.rotations import Array
from pallas_ros.body.skeleton import Skeleton
from pallas_ros.files.npz import array_names, load_npz
from pallas_ros.motion_files.axes import Y_UP
from pallas_ros.motion_files.source import Source, check_frames, require_finite

KIND = "AMASS/SMPL file"
_POSES = ("poses", "fullpose", "smpl_poses")
_PARTS = (("root_orient", "pose_body"), ("global_orient", "body_pose"))
_PATHS = ("trans", "transl", "smpl_trans")
_RATES = ("mocap_framerate", "mocap_frame_rate", "fps", "framerate")
FIELDS = frozenset((*_POSES, *_PARTS[0], *_PARTS[1], *_PATHS, *_RATES))
"""The fields that are read; all are numeric arrays."""
FREE_VALUES = 10_000_000
"""Numbers allowed for any file: nine minutes at 120 Hz, whose conversion takes 0.9 GB."""
_BODY = 3 * len(JOINTS)
"""Parameters of the 22 joints: SMPL, SMPL+H and SMPL-X share them and the body's own order."""


def is_smpl(names: list[str]) -> bool:
    """Whether a ``.npz`` with these array names is such a file."""
    return any(name in names for name in (*_POSES, "root_orient", "global_orient", "pose_body"))


def read(path: Path) -> Source:
    """Read an AMASS or SMPL file.

    Raises:
        PallasError: it is not such a file, or contains NaN.
    """
    arrays = load_npz(path, KIND, FIELDS, FREE_VALUES)
    poses, trans, rate = _fields(path, arrays)
    if poses.ndim != 2 or poses.shape[1] < _BODY or trans.shape != (len(poses), 3):
        raise PallasError(
            f"{path}: 'poses' has shape {poses.shape} and 'trans' {trans.shape}; expected (T,"
            f" {_BODY} or more) and (T, 3)"
        )
    check_frames(path, len(poses))
    poses = np.asarray(poses[:, :_BODY], dtype=np.float64)
    trans = np.asarray(trans, dtype=np.float64)
    require_finite(path, poses, trans)
    q_file = to_global(rotations.from_rotvec(poses.reshape(-1, len(JOINTS), 3)))
    turn = rotations.inverse(rotations.from_matrix(Y_UP))
    skeleton = Skeleton.from_height()
    positions = forward_kinematics(skeleton, rotations.multiply(q_file, turn), trans)

    def pose(wanted: list[int]) -> tuple[Array, Array]:
        return positions[:, wanted], q_file[:, wanted]

    return Source(
        kind=KIND,
        names=list(JOINTS),
        parents=np.array(PARENTS, dtype=np.intp),
        frames=len(poses),
        fps=rate,
        pose=pose,
        rest=skeleton.rest_positions @ Y_UP,  # facing z, y up, as SMPL's template
        up="z",
        metres=1.0,
        grounded=False,
    )


def _flat(poses: NDArray[Any]) -> NDArray[Any]:
    """Reshape poses (T, ...) to (T, N), also if T is 0."""
    return poses.reshape(len(poses), math.prod(poses.shape[1:]))


def _fields(path: Path, arrays: dict[str, NDArray[Any]]) -> tuple[Array, Array, float]:
    """Return poses, trajectory and frame rate, under any of their known names."""
    poses = next((arrays[name] for name in _POSES if name in arrays), None)
    for root, body in _PARTS:
        if poses is None and root in arrays and body in arrays:
            parts = (arrays[root], arrays[body])
            if {part.ndim for part in parts} <= {2, 3} and len(parts[0]) == len(parts[1]):
                poses = np.concatenate([_flat(part) for part in parts], axis=1)
    trans = next((arrays[name] for name in _PATHS if name in arrays), None)
    rate = next((arrays[name] for name in _RATES if name in arrays and arrays[name].size), None)
    if poses is None or trans is None:
        there = ", ".join(array_names(path, KIND)) or "nothing"
        raise PallasError(
            f"{path}: not an AMASS/SMPL motion: it needs 'poses', 'trans' and 'mocap_framerate',"
            f" but contains {there}"
        )
    if poses.ndim == 3:
        poses = _flat(poses)
    if rate is None:
        rate = np.zeros(1)  # "give the rate with --fps"
    for name, array in (("poses", poses), ("trans", trans), ("the frame rate", rate)):
        if array.dtype.kind not in "fiu":
            raise PallasError(f"{path}: {name} is of type {array.dtype}, expected numbers")
    return poses, trans, float(rate.reshape(-1)[0])
