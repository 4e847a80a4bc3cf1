"""Skeletons of the motion packs, aligned with each other and with that of the body."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pallas_ros.body import rotations
from pallas_ros.body.names import JOINT_INDEX, JOINTS
from pallas_ros.body.rotations import Array
from pallas_ros.data.retargeting import (
    Y_UP_TO_Z_UP,
    RestFrames,
    align_to_tpose,
    rest_frames,
    to_global,
)

_X, _Y, _Z = np.eye(3)
_COLLAR_BACK = np.radians(16.5)  # by which Bandai's collar bones point backwards when standing
# and by which its foot and toe bones point down in a flat, standing foot (medians)
_FOOT_DOWN = np.radians(38.5)
_TOES_DOWN = np.radians(22.5)
Source = tuple[str, str, float]
"""Two joints of the pack from which a joint is interpolated, and its position between them, 0
to 1.
"""


def _both_sides(pattern: str, names: dict[str, str]) -> dict[str, Source]:
    """Sources of the joints of both sides, from the pack's ``names`` and the name ``pattern`` of a
    side.
    """
    sources: dict[str, Source] = {}
    for side in ("left", "right"):
        words = {"Side": side.title(), "initial": side[0], "Initial": side[0].upper()}
        for joint, name in names.items():
            source = pattern.format(joint=name, **words)
            sources[f"{side}_{joint}"] = (source, source, 0.0)
    return sources


BANDAI_SOURCES = {
    "pelvis": ("Hips", "Hips", 0.0),
    "spine1": ("Hips", "Spine", 0.5),
    "spine2": ("Spine", "Spine", 0.0),
    "spine3": ("Chest", "Chest", 0.0),
    "neck": ("Neck", "Neck", 0.0),
    "head": ("Head", "Head", 0.0),
} | _both_sides(
    "{joint}_{Initial}",
    {
        "hip": "UpperLeg",
        "knee": "LowerLeg",
        "ankle": "Foot",
        "foot": "Toes",
        "collar": "Shoulder",
        "shoulder": "UpperArm",
        "elbow": "LowerArm",
        "wrist": "Hand",
    },
)
CMU_SOURCES = {
    "pelvis": ("Hips", "Hips", 0.0),
    "spine1": ("LowerBack", "LowerBack", 0.0),
    "spine2": ("Spine", "Spine", 0.0),
    "spine3": ("Spine1", "Spine1", 0.0),
    "neck": ("Neck", "Neck1", 0.5),
    "head": ("Head", "Head", 0.0),
} | _both_sides(
    "{Side}{joint}",
    {
        "hip": "UpLeg",
        "knee": "Leg",
        "ankle": "Foot",
        "foot": "ToeBase",
        "collar": "Shoulder",
        "shoulder": "Arm",
        "elbow": "Hand",  # pronation is this joint's, which turns about the forearm only
        "wrist": "FingerBase",
    },
)
FULL_SOURCES = {
    "pelvis": ("hip", "hip", 0.0),
    "spine1": ("hip", "abdomen", 0.5),
    "spine2": ("abdomen", "abdomen", 0.0),
    "spine3": ("chest", "chest", 0.0),
    "neck": ("neck", "neck", 0.0),
    "head": ("head", "head", 0.0),
} | _both_sides(
    "{initial}{joint}",
    {
        "hip": "Thigh",
        "knee": "Shin",
        "ankle": "Foot",
        "foot": "Foot",
        "collar": "Collar",
        "shoulder": "Shldr",
        "elbow": "Hand",  # turns about the forearm only: pronation is this joint's
        "wrist": "Hand",
    },
)
Turns = dict[str, dict[str, tuple[float, float, float]]]
"""Rotation vectors in degrees, by pack and segment."""

BENT: Turns = {
    "bandai_namco": {
        "pelvis": (0.0, 1.5, 0.0),
        "hip": (-1.5, 0.0, -9.0),
        "knee": (2.0, 0.0, -9.5),
        "ankle": (2.5, 0.0, 0.0),
        "foot": (2.5, 0.0, 0.0),
    },
    "cmu_actions": {
        "spine1": (0.0, -5.0, 0.0),
        "spine2": (0.0, -6.0, 0.0),
        "spine3": (0.0, -3.0, 0.0),
        "neck": (0.0, -7.0, 0.0),
        "hip": (1.5, 0.0, 10.0),
        "knee": (-1.0, 0.0, 10.0),
        "ankle": (-3.0, -3.0, 0.0),
        "foot": (-3.5, 10.0, 0.0),
        "shoulder": (13.0, 0.0, 0.0),
    },
    "cmu_full": {
        "pelvis": (0.0, -8.5, 0.0),
        "spine1": (0.0, -3.0, 0.0),
        "head": (0.0, 6.0, 0.0),
        "hip": (0.5, -3.0, 10.0),
        "knee": (-1.5, 0.0, 10.0),
        "ankle": (-2.5, 0.0, 1.5),
        "foot": (-2.5, 0.0, 1.5),
        "shoulder": (13.0, 0.0, 0.0),
    },
}
"""Constant turns (rotation vector, degrees, in the segment's own frame; of a pair the left one's,
mirrored for the right), by pack.

With them, the medians of standing segments in the heading frame agree within 3 degrees between
packs, four of them within 6 (tools/compare_packs.py, docs/evidence/body.md): trunk and thighs are
upright, feet level; the upper arm hangs 15 to 19 degrees from the side of the chest, as in
`bandai_namco` and in optical recordings. The shins of standing people lean 13 to 17 degrees forward
in all packs (see `STRAIGHT`).
"""

SHIN_DEG = {"bandai_namco": -9.0, "cmu_actions": -10.0, "cmu_full": -10.5}
"""Degrees, rotation of the shins about their lateral axis, by pack. With it, the shins of standing
people lean 5 to 8 degrees forward, and the median in walking is 11 to 15 degrees; without it, 13 to
17 and 21 to 24. In the walks of `dynamics_real.npz`, it is 10 degrees (OpenSim inverse kinematics).
"""


def _straight(bent: Turns) -> Turns:
    """`BENT` with the shins rotated by `SHIN_DEG`."""
    out = {pack: dict(turns) for pack, turns in bent.items()}
    for pack, degrees in SHIN_DEG.items():
        x, y, z = out[pack]["knee"]
        out[pack]["knee"] = (x, y + degrees, z)
    return out


STRAIGHT = _straight(BENT)
"""`BENT` with upright shins, like those measured by sensors that are calibrated in a T-pose."""

ALIGNMENTS = {"straight": STRAIGHT, "bent": BENT}
"""Alignments by name. The generators and HDyS are trained with `BENT`, and use it until they are
trained again.
"""


@dataclass(frozen=True)
class SourceSkeleton:
    """The skeleton of a pack, as required for the conversion."""

    names: list[str]
    parents: NDArray[np.integer]
    rest: RestFrames
    hips: int


def _bandai_rest() -> dict[str, Array]:
    """Rest orientations (4,) xyzw by joint, from the directions of bones and hinges (columns: local
    x, y, z in the body).
    """
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
    """Skeleton of `bandai_namco.npz`, whose x axes are along the bones and y axes along the hinges.

    Args:
        pack: arrays of the pack, see `packs.load_pack`.
    """
    names = [str(name) for name in pack["joint_names"]]
    return SourceSkeleton(
        names,
        pack["parents"],
        rest_frames(BANDAI_SOURCES, names, _bandai_rest()),
        names.index("Hips"),
    )


def _tpose_skeleton(
    pack: dict[str, NDArray[Any]],
    sources: dict[str, Source],
    prefix: Callable[[str], str],
    bones: Sequence[tuple[str, str, str]],
    hips: str,
) -> SourceSkeleton:
    """Skeleton of a pack that contains a T-pose.

    Args:
        pack: its arrays.
        sources: source joints of each joint.
        prefix: prefix of the names of its joints, by side.
        bones: bones that are level or upright in the T-pose: our joint, and the joints of the pack
            at both ends.
        hips: name of the joint of the pack that carries the pelvis.
    """
    names = [str(name) for name in pack["joint_names"]]
    tpose = to_global(unpack(pack["tpose_quat_xyz"])[None], pack["parents"])[0]
    q_tpose = dict(zip(names, _to_z_up(tpose), strict=True))
    directions = {
        f"{prefix(side)}{begin}": (
            f"{side}_{joint}",
            pack["offsets_cm"][names.index(f"{prefix(side)}{end}")].astype(np.float64),
        )
        for side in ("left", "right")
        for joint, begin, end in bones
    }
    rest = rest_frames(sources, names, align_to_tpose(q_tpose, directions))
    return SourceSkeleton(names, pack["parents"], rest, names.index(hips))


def cmu_skeleton(pack: dict[str, NDArray[Any]]) -> SourceSkeleton:
    """Skeleton of `cmu_actions.npz`, from its T-pose.

    Args:
        pack: arrays of the pack, see `packs.load_pack`.
    """
    bones = (
        ("hip", "UpLeg", "Leg"),
        ("knee", "Leg", "Foot"),
        ("ankle", "Foot", "ToeBase"),
        ("shoulder", "Arm", "ForeArm"),
        ("elbow", "Hand", "Hand"),
    )
    return _tpose_skeleton(pack, CMU_SOURCES, str.title, bones, "Hips")


def full_skeleton(pack: dict[str, NDArray[Any]]) -> SourceSkeleton:
    """Skeleton of `cmu_full.npz`, from its T-pose, in which the arms hang by 8 degrees.

    Args:
        pack: arrays of the pack, see `packs.load_pack`.
    """
    bones = (
        ("hip", "Thigh", "Shin"),
        ("knee", "Shin", "Foot"),
        ("shoulder", "Shldr", "ForeArm"),
        ("elbow", "Hand", "Hand"),
    )
    return _tpose_skeleton(pack, FULL_SOURCES, lambda side: side[0], bones, "hip")


def unpack(quat_xyz: NDArray[np.int16]) -> NDArray[np.float32]:
    """Convert the int16 xyz parts (..., 3) of the packs to unit quaternions (..., 4), w >= 0."""
    xyz = quat_xyz.astype(np.float32) / 32767
    w = np.sqrt(np.maximum(0.0, 1.0 - np.sum(xyz**2, axis=-1, keepdims=True)))
    return np.asarray(rotations.normalise(np.concatenate((xyz, w), axis=-1)), dtype=np.float32)


def _to_z_up(q: Array) -> Array:
    """Convert orientations from a y-up to a z-up world; the axes of the joints are unchanged."""
    return rotations.multiply(rotations.from_matrix(Y_UP_TO_Z_UP).astype(q.dtype), q)


def source_orientations(
    pack: dict[str, NDArray[Any]], skeleton: SourceSkeleton, frames: slice
) -> Array:
    """Global orientations (T, J, 4) xyzw of the joints of a pack, z up."""
    return _to_z_up(to_global(unpack(pack["quat_xyz"][frames]), skeleton.parents))


@cache
def segment_turns(alignment: str, pack: str) -> Array:
    """Constant rotations (22, 4) xyzw of the segments of a pack, each in its own frame.

    ``alignment`` is a name in `ALIGNMENTS`.
    """
    turns = np.zeros((len(JOINTS), 3))
    for segment, (x, y, z) in ALIGNMENTS[alignment].get(pack, {}).items():
        for joint, side in ((segment, 1), (f"left_{segment}", 1), (f"right_{segment}", -1)):
            if joint in JOINT_INDEX:
                turns[JOINT_INDEX[joint]] = (side * x, y, side * z)
    return np.asarray(rotations.from_rotvec(np.radians(turns)), dtype=np.float64)


SKELETONS = {
    "bandai_namco": (bandai_skeleton, "LowerLeg_L", "Foot_L"),
    "cmu_actions": (cmu_skeleton, "LeftLeg", "LeftFoot"),
    "cmu_full": (full_skeleton, "lShin", "lFoot"),
}
"""By pack: function that reads its skeleton, and the joints at the ends of thigh and shank."""
