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
"""The pack that clips of a folder of motion files are counted to."""


def read_bvh(path: str | Path, metres: float | None = None) -> Motion:
    """A BVH file as motion of the body at 60 Hz, with its foot contacts.

    Args:
        path: the file.
        metres: length of the file's unit; found from the skeleton by default.

    Raises:
        PallasError: not a BVH file, other joints, or frames that hold NaN.
    """
    path = Path(path)
    return _at_model_rate(to_motion(bvh.read(path), path, Overrides(metres=metres))[0])


def read_amass(path: str | Path) -> Motion:
    """An AMASS or SMPL ``.npz`` as motion of the body at 60 Hz, with its foot contacts.

    Raises:
        PallasError: not such a file, or frames that hold NaN.
    """
    path = Path(path)
    return _at_model_rate(to_motion(smpl.read(path), path, Overrides())[0])


def _at_model_rate(motion: Motion) -> Motion:
    """A motion at 60 Hz, joint by joint, with contacts as in the training data."""
    at = resample(motion, MODEL_RATE_HZ)
    at.extra = {"contacts": foot_contacts(at.positions, at.fps, Skeleton.from_height())}
    return at


def _leg(positions: Array) -> float:
    """Thigh and shank of the left leg, m, of joints (T, 22, 3)."""
    chain = positions[:, [JOINT_INDEX[f"left_{joint}"] for joint in ("hip", "knee", "ankle")]]
    return float(np.median(np.linalg.norm(np.diff(chain, axis=1), axis=2), axis=0).sum())


def read_folder(folder: str | Path, overrides: Overrides | None = None) -> list[PackClip]:
    """Every motion file in a folder and those below it as training clips; a clip's content is the
    folder it lies in.

    Args:
        folder: the folder.
        overrides: what detection must not decide, for all files alike.

    Raises:
        PallasError: there is none, or one is not usable (named).
    """
    folder = Path(folder)
    known = suffixes()
    files = sorted(
        path
        for path in folder.rglob("*")
        # hidden files are those of programs, such as the indices of `pallas search`
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
