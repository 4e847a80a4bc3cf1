"""The two motion packs the released models are trained on (`bandai_namco.npz`, `cmu_actions.npz`), as canonical motion.

Bandai-Namco Research Motiondataset 1 and 2 (CC BY-NC 4.0) and eight actions of the CMU Graphics Lab database (free for any use).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pallas_ros.body import rotations
from pallas_ros.body.errors import PallasError
from pallas_ros.body.motion import Motion
from pallas_ros.body.rotations import Array
from pallas_ros.data.retargeting import (
    Y_UP_TO_Z_UP,
    RestFrames,
    align_to_tpose,
    body_motion,
    rest_frames,
    to_global,
)
from pallas_ros.files.npz import load_npz

PACKS = ("bandai_namco", "cmu_actions")

_X, _Y, _Z = np.eye(3)
_COLLAR_BACK = np.radians(16.5)  # Bandai's collar bones point this far behind sideways, standing
_FOOT_DOWN, _TOES_DOWN = (
    np.radians(38.5),
    np.radians(22.5),
)  # and its foot and toe bones this far down on a flat, standing foot (medians)

BANDAI_SOURCES = {
    "pelvis": ("Hips", "Hips", 0.0),
    "spine1": ("Hips", "Spine", 0.5),
    "spine2": ("Spine", "Spine", 0.0),
    "spine3": ("Chest", "Chest", 0.0),
    "neck": ("Neck", "Neck", 0.0),
    "head": ("Head", "Head", 0.0),
} | {
    f"{side}_{joint}": (f"{source}_{side[0].upper()}", f"{source}_{side[0].upper()}", 0.0)
    for side in ("left", "right")
    for joint, source in {
        "hip": "UpperLeg",
        "knee": "LowerLeg",
        "ankle": "Foot",
        "foot": "Toes",
        "collar": "Shoulder",
        "shoulder": "UpperArm",
        "elbow": "LowerArm",
        "wrist": "Hand",
    }.items()
}

CMU_SOURCES = {
    "pelvis": ("Hips", "Hips", 0.0),
    "spine1": ("LowerBack", "LowerBack", 0.0),
    "spine2": ("Spine", "Spine", 0.0),
    "spine3": ("Spine1", "Spine1", 0.0),
    "neck": ("Neck", "Neck1", 0.5),
    "head": ("Head", "Head", 0.0),
} | {
    f"{side}_{joint}": (f"{side.title()}{source}", f"{side.title()}{source}", 0.0)
    for side in ("left", "right")
    for joint, source in {
        "hip": "UpLeg",
        "knee": "Leg",
        "ankle": "Foot",
        "foot": "ToeBase",
        "collar": "Shoulder",
        "shoulder": "Arm",
        "elbow": "Hand",  # pronation is this joint's, which turns about the forearm only
        "wrist": "FingerBase",
    }.items()
}


@dataclass(frozen=True)
class PackClip:
    """A clip of a pack: its labels and its motion (60 Hz, canonical, default skeleton)."""

    pack: str
    name: str
    content: str
    style: str
    motion: Motion


@dataclass(frozen=True)
class SourceSkeleton:
    """A pack's own skeleton, as far as the conversion needs it."""

    names: list[str]
    parents: NDArray[np.integer]
    rest: RestFrames
    hips: int


def _bandai_rest() -> dict[str, Array]:
    """Rest orientations (4,) by joint, from the axes that the joints' bones and hinges follow (columns: local x, y, z in the body)."""
    axes: dict[str, tuple[Array, Array]] = {"Hips": (_Z, -_Y)}
    axes.update(dict.fromkeys(("Spine", "Chest", "Neck", "Head"), (_Z, _X)))
    for side, sign in (("L", 1.0), ("R", -1.0)):
        collar = np.array([-np.sin(_COLLAR_BACK), sign * np.cos(_COLLAR_BACK), 0.0])
        foot, toes = (
            np.array([np.cos(down), 0.0, -np.sin(down)]) for down in (_FOOT_DOWN, _TOES_DOWN)
        )
        axes[f"Shoulder_{side}"] = (sign * collar, sign * _Z)
        axes.update(
            {f"{name}_{side}": (_Y, sign * _Z) for name in ("UpperArm", "LowerArm", "Hand")}
        )
        axes.update({f"{name}_{side}": (-sign * _Z, _Y) for name in ("UpperLeg", "LowerLeg")})
        axes[f"Foot_{side}"] = (sign * foot, _Y)
        axes[f"Toes_{side}"] = (sign * toes, _Y)
    return {
        name: rotations.from_matrix(np.stack((x, y, np.cross(x, y)), axis=-1))
        for name, (x, y) in axes.items()
    }


def bandai_skeleton(pack: dict[str, NDArray[Any]]) -> SourceSkeleton:
    """The rest frames of `bandai_namco.npz`: its joints' x axes run along the bones, the y axes along the hinges."""
    names = [str(name) for name in pack["joint_names"]]
    return SourceSkeleton(
        names,
        pack["parents"],
        rest_frames(BANDAI_SOURCES, names, _bandai_rest()),
        names.index("Hips"),
    )


def cmu_skeleton(pack: dict[str, NDArray[Any]]) -> SourceSkeleton:
    """The rest frames of `cmu_actions.npz`, from its own T-pose."""
    names = [str(name) for name in pack["joint_names"]]
    tpose = to_global(unpack(pack["tpose_quat_xyz"])[None], pack["parents"])[0]
    q_tpose = dict(zip(names, _to_z_up(tpose), strict=True))
    bones = {}
    for side in ("left", "right"):
        s = side.title()
        for joint, source, end in (
            ("hip", "UpLeg", "Leg"),
            ("knee", "Leg", "Foot"),
            ("ankle", "Foot", "ToeBase"),
            ("shoulder", "Arm", "ForeArm"),
            ("elbow", "Hand", "Hand"),
        ):
            bones[f"{s}{source}"] = (
                f"{side}_{joint}",
                pack["offsets_cm"][names.index(f"{s}{end}")].astype(np.float64),
            )
    rest = rest_frames(CMU_SOURCES, names, align_to_tpose(q_tpose, bones))
    return SourceSkeleton(names, pack["parents"], rest, names.index("Hips"))


def unpack(quat_xyz: NDArray[np.int16]) -> NDArray[np.float32]:
    """The packs' int16 xyz parts (..., 3) to unit quaternions (..., 4), w >= 0."""
    xyz = quat_xyz.astype(np.float32) / 32767
    w = np.sqrt(np.maximum(0.0, 1.0 - np.sum(xyz**2, axis=-1, keepdims=True)))
    return np.asarray(rotations.normalise(np.concatenate((xyz, w), axis=-1)), dtype=np.float32)


def _to_z_up(q: Array) -> Array:
    """Orientations of y-up joints with their frames, seen from the z-up world (the joint's own axes stay)."""
    return rotations.multiply(rotations.from_matrix(Y_UP_TO_Z_UP).astype(q.dtype), q)


def source_orientations(
    pack: dict[str, NDArray[Any]], skeleton: SourceSkeleton, frames: slice
) -> Array:
    """Global orientations (T, J, 4) of a pack's own joints, z up."""
    return _to_z_up(to_global(unpack(pack["quat_xyz"][frames]), skeleton.parents))


def load_pack(folder: str | Path, pack: str) -> dict[str, NDArray[Any]]:
    """The arrays of a pack, checked.

    Raises:
        PallasError: the file is missing, corrupt, or not such a pack.
    """
    path = Path(folder) / f"{pack}.npz"
    arrays = load_npz(path, "motion pack")
    for key in (
        "joint_names",
        "parents",
        "fps",
        "quat_xyz",
        "translation_cm",
        "offsets_cm",
        "clip",
        "content",
        "start",
        "length",
    ):
        if key not in arrays:
            raise PallasError(f"{path}: no '{key}' in it, so it is not the motion pack '{pack}'")
    if not np.isfinite(arrays["translation_cm"]).all():
        raise PallasError(
            f"{path}: 'translation_cm' holds NaN or infinite values; repair or drop those frames"
        )
    return arrays


def read_pack(folder: str | Path, pack: str) -> Iterator[PackClip]:
    """The clips of a pack, converted one at a time."""
    arrays = load_pack(folder, pack)
    skeleton = bandai_skeleton(arrays) if pack == "bandai_namco" else cmu_skeleton(arrays)
    offsets = arrays["offsets_cm"].reshape(-1, len(skeleton.names), 3)
    knee, ankle = (
        skeleton.names.index(n)
        for n in (("LowerLeg_L", "Foot_L") if pack == "bandai_namco" else ("LeftLeg", "LeftFoot"))
    )
    translation = arrays["translation_cm"].reshape(len(arrays["quat_xyz"]), -1, 3)[:, -1]
    for index, name in enumerate(arrays["clip"]):
        frames = slice(
            int(arrays["start"][index]), int(arrays["start"][index] + arrays["length"][index])
        )
        q = skeleton.rest.to_body(source_orientations(arrays, skeleton, frames))
        lengths = np.linalg.norm(offsets[min(index, len(offsets) - 1)], axis=-1) / 100
        path = (translation[frames] / 100) @ Y_UP_TO_Z_UP.T.astype(np.float32)
        motion = body_motion(q, path, float(arrays["fps"]), float(lengths[knee] + lengths[ankle]))
        style = str(arrays["style"][index]) if "style" in arrays else ""
        yield PackClip(pack, str(name), str(arrays["content"][index]), style, motion)
