"""Importers for training: motion files of any format that `pallas_ros.motion_files` reads, at the
models' rate.
"""

from pathlib import Path

import numpy as np

from pallas_ros.body.errors import PallasError
from pallas_ros.body.motion import Motion, resample
from pallas_ros.body.names import JOINT_INDEX, MODEL_RATE_HZ
from pallas_ros.body.rotations import Array
from pallas_ros.body.skeleton import Skeleton
from pallas_ros.data.packs import PackClip
from pallas_ros.data.retargeting import body_motion, foot_contacts
from pallas_ros.motion_files import Overrides, bvh, read_motion, smpl
from pallas_ros.motion_files.body import to_motion
from pallas_ros.motion_files.reading import suffixes

FILES = "files"
"""Pack name of the clips of a folder of motion files."""


def read_bvh(path: str | Path, metres: float | None = None) -> Motion:
    """Read a BVH file as motion of the body at 60 Hz, with foot contacts.

    Args:
        path: of the file.
        metres: unit of the file in m; detected from the skeleton by default.

    Raises:
        PallasError: not a BVH file, unknown joints, or frames with NaN.
    """
    path = Path(path)
    return _at_model_rate(to_motion(bvh.read(path), path, Overrides(metres=metres))[0])


def read_amass(path: str | Path) -> Motion:
    """Read an AMASS or SMPL ``.npz`` file as motion of the body at 60 Hz, with foot contacts.

    Raises:
        PallasError: not such a file, or frames with NaN.
    """
    path = Path(path)
    return _at_model_rate(to_motion(smpl.read(path), path, Overrides())[0])


def _at_model_rate(motion: Motion) -> Motion:
    """Resample a motion to 60 Hz, and add contacts as in the training data."""
    at = resample(motion, MODEL_RATE_HZ)
    at.extra = {"contacts": foot_contacts(at.positions, at.fps, Skeleton.from_height())}
    return at


def _leg(positions: Array) -> float:
    """Length of thigh and shank of the left leg in m, from joints (T, 22, 3) m."""
    chain = positions[:, [JOINT_INDEX[f"left_{joint}"] for joint in ("hip", "knee", "ankle")]]
    return float(np.median(np.linalg.norm(np.diff(chain, axis=1), axis=2), axis=0).sum())


def read_folder(folder: str | Path, overrides: Overrides | None = None) -> list[PackClip]:
    """Read all motion files in a folder and its subfolders as training clips.

    The content label of a clip is the name of its folder.

    Args:
        folder: to read.
        overrides: options that override detection, for all files.

    Raises:
        PallasError: there are no motion files, or one is not usable (the message names it).
    """
    folder = Path(folder)
    known = suffixes()
    files = sorted(
        path
        for path in folder.rglob("*")
        # hidden files belong to programs, such as the indices of `pallas search`
        if path.suffix.lower() in known and not path.name.startswith(".")
    )
    if not files:
        raise PallasError(
            f"{folder}: contains neither motion packs nor motion files ({', '.join(known)}); give"
            " the folder of the motion data with --data"
        )
    clips = []
    for path in files:
        motion = read_motion(path, overrides)
        if not np.isfinite(motion.positions).all() or not np.isfinite(motion.rotations).all():
            raise PallasError(
                f"{path}: contains NaN; run it through `pallas smooth` before training"
            )
        if len(motion) < 2:
            raise PallasError(f"{path}: contains one frame; training needs at least two")
        clip = body_motion(
            motion.rotations, motion.positions[:, 0], motion.fps, _leg(motion.positions)
        )
        clips.append(PackClip(FILES, str(path.relative_to(folder)), path.parent.name, "", clip))
    return clips
