"""The motion packs (`bandai_namco.npz`, `cmu_actions.npz`, `cmu_full.npz`), as canonical motion.

Bandai-Namco Research Motiondataset 1 and 2 (CC BY-NC 4.0) and, free for any use, two conversions of
the CMU Graphics
Lab database: eight actions, and 86 subjects. Their skeletons are aligned with each other
(`ALIGNMENT`).
"""

import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import savgol_filter
from tqdm import tqdm

from pallas_ros.body import rotations
from pallas_ros.body.errors import PallasError
from pallas_ros.body.motion import Motion
from pallas_ros.body.names import JOINT_INDEX, JOINTS
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

PACKS = ("bandai_namco", "cmu_actions", "cmu_full")

LOWEST_NATIVE_HZ = 20.0
"""Clips captured at fewer frames per second are left out: the 12 Hz ones have no accelerations
worth learning from.
"""
FLIP_DEG_PER_S = 2500.0
"""A joint that turns faster has flipped (no joint but a hand does): frames around are cut out."""
SHORTEST_PIECE_S = 0.5
SMOOTHING_FRAMES = 15
SMOOTHING_ORDER = 3
"""Savitzky-Golay filter at 60 Hz for `cmu_full`, which is resampled from 24 Hz: an ankle at rest
has 1 m/s^2 rms without.
"""

_X, _Y, _Z = np.eye(3)
_COLLAR_BACK = np.radians(16.5)  # Bandai's collar bones point this far behind sideways, standing
# and its foot and toe bones this far down on a flat, standing foot (medians)
_FOOT_DOWN = np.radians(38.5)
_TOES_DOWN = np.radians(22.5)

Source = tuple[str, str, float]
"""The pack's joints that a joint's position and rotation are taken from, and where between the two
it is."""


def _both_sides(pattern: str, names: dict[str, str]) -> dict[str, Source]:
    """The sources of joints that are on the left and on the right, by the pack's ``names`` and the
    ``pattern`` of what they are called on a side.
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

ALIGNMENT: dict[str, dict[str, tuple[float, float, float]]] = {
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

They bring the medians of standing segments in the heading frame within 3 degrees between packs
(tools/compare_packs.py): trunk, thighs and shins upright, feet level; the upper arm hangs 15 to 19
degrees from the chest's side, as in `bandai_namco` and in optical recordings.
"""


@dataclass(frozen=True)
class PackClip:
    """A clip of a pack: its labels and its motion (60 Hz, canonical, default skeleton)."""

    pack: str
    name: str
    content: str
    style: str
    motion: Motion
    subject: str = ""


@dataclass(frozen=True)
class SourceSkeleton:
    """A pack's own skeleton, as far as the conversion needs it."""

    names: list[str]
    parents: NDArray[np.integer]
    rest: RestFrames
    hips: int


def _bandai_rest() -> dict[str, Array]:
    """Rest orientations (4,) by joint, from the axes that the joints' bones and hinges follow
    (columns: local x, y, z in the body).
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
    """The rest frames of `bandai_namco.npz`: its joints' x axes run along the bones, the y axes
    along the hinges.
    """
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


def full_skeleton(pack: dict[str, NDArray[Any]]) -> SourceSkeleton:
    """The rest frames of `cmu_full.npz`, from its own T-pose, whose arms hang by 8 degrees."""
    names = [str(name) for name in pack["joint_names"]]
    tpose = to_global(unpack(pack["tpose_quat_xyz"])[None], pack["parents"])[0]
    q_tpose = dict(zip(names, _to_z_up(tpose), strict=True))
    bones = {
        f"{side[0]}{source}": (
            f"{side}_{joint}",
            pack["offsets_cm"][names.index(f"{side[0]}{end}")].astype(np.float64),
        )
        for side in ("left", "right")
        for joint, source, end in (
            ("hip", "Thigh", "Shin"),
            ("knee", "Shin", "Foot"),
            ("shoulder", "Shldr", "ForeArm"),
            ("elbow", "Hand", "Hand"),
        )
    }
    rest = rest_frames(FULL_SOURCES, names, align_to_tpose(q_tpose, bones))
    return SourceSkeleton(names, pack["parents"], rest, names.index("hip"))


def unpack(quat_xyz: NDArray[np.int16]) -> NDArray[np.float32]:
    """The packs' int16 xyz parts (..., 3) to unit quaternions (..., 4), w >= 0."""
    xyz = quat_xyz.astype(np.float32) / 32767
    w = np.sqrt(np.maximum(0.0, 1.0 - np.sum(xyz**2, axis=-1, keepdims=True)))
    return np.asarray(rotations.normalise(np.concatenate((xyz, w), axis=-1)), dtype=np.float32)


def _to_z_up(q: Array) -> Array:
    """Orientations of y-up joints with their frames, seen from the z-up world (the joint's own axes
    stay).
    """
    return rotations.multiply(rotations.from_matrix(Y_UP_TO_Z_UP).astype(q.dtype), q)


def source_orientations(
    pack: dict[str, NDArray[Any]], skeleton: SourceSkeleton, frames: slice
) -> Array:
    """Global orientations (T, J, 4) of a pack's own joints, z up."""
    return _to_z_up(to_global(unpack(pack["quat_xyz"][frames]), skeleton.parents))


@cache
def _alignment(pack: str) -> Array:
    """The constant turns of a pack's segments (22, 4), each in its own frame."""
    turns = np.zeros((len(JOINTS), 3))
    for segment, (x, y, z) in ALIGNMENT.get(pack, {}).items():
        for joint, side in ((segment, 1), (f"left_{segment}", 1), (f"right_{segment}", -1)):
            if joint in JOINT_INDEX:
                turns[JOINT_INDEX[joint]] = (side * x, y, side * z)
    return np.asarray(rotations.from_rotvec(np.radians(turns)), dtype=np.float64)


KEYS = (
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
)
_SKELETONS = {
    "bandai_namco": (bandai_skeleton, "LowerLeg_L", "Foot_L"),
    "cmu_actions": (cmu_skeleton, "LeftLeg", "LeftFoot"),
    "cmu_full": (full_skeleton, "lShin", "lFoot"),
}
"""By pack: how its skeleton is read, and the joints at the ends of thigh and shank."""


def load_pack(folder: str | Path, pack: str) -> dict[str, NDArray[Any]]:
    """The arrays of a pack, checked.

    Raises:
        PallasError: the file is missing, corrupt, or not such a pack.
    """
    path = Path(folder) / f"{pack}.npz"
    arrays = load_npz(path, "motion pack")
    extra = ("tpose_quat_xyz", "subject", "native_hz") if pack == "cmu_full" else ()
    for key in (*KEYS, *extra):
        if key not in arrays:
            raise PallasError(
                f"{path}: not the motion pack '{pack}', because it contains no '{key}'"
            )
    if not np.isfinite(arrays["translation_cm"]).all():
        raise PallasError(
            f"{path}: 'translation_cm' contains NaN or infinite values; repair or drop those frames"
        )
    frames = len(arrays["quat_xyz"])
    for name, start, length in zip(arrays["clip"], arrays["start"], arrays["length"], strict=True):
        if length < 4 or start < 0 or start + length > frames:
            raise PallasError(
                f"{path}: clip '{str(name)[:40]}' has {length} frames from frame {start} on, of "
                f"{frames} in the pack; a clip needs at least 4, so drop it or correct its range"
            )
    return arrays


@dataclass(frozen=True)
class Pack:
    """An open pack: its arrays and skeleton, and its clips as canonical motion, one at a time."""

    name: str
    arrays: dict[str, NDArray[Any]]
    skeleton: SourceSkeleton
    leg_length: NDArray[np.float64]
    """Thigh and shank together, m, of every row of ``offsets_cm``."""

    @classmethod
    def open(cls, folder: str | Path, name: str) -> "Pack":
        """Read a pack.

        Raises:
            PallasError: the file is missing, corrupt, or not such a pack.
        """
        arrays = load_pack(folder, name)
        read, knee, ankle = _SKELETONS[name]
        try:
            skeleton = read(arrays)
            ends = [skeleton.names.index(end) for end in (knee, ankle)]
        except (KeyError, ValueError, IndexError) as error:
            raise PallasError(
                f"{Path(folder) / name}.npz: its skeleton is not that of the pack '{name}'"
                f" ({error})"
            ) from None
        offsets = arrays["offsets_cm"].reshape(-1, len(skeleton.names), 3)[:, ends]
        return cls(name, arrays, skeleton, np.linalg.norm(offsets, axis=-1).sum(-1) / 100)

    def usable(self) -> list[int]:
        """The clips worth importing: those captured at `LOWEST_NATIVE_HZ` or more."""
        rates = self.arrays.get("native_hz", np.full(len(self.arrays["clip"]), np.inf))
        return [int(index) for index in np.flatnonzero(rates >= LOWEST_NATIVE_HZ)]

    def label(self, key: str, index: int) -> str:
        """A clip's label, or nothing where the pack has none."""
        return str(self.arrays[key][index]) if key in self.arrays else ""

    def clip(self, index: int) -> list[PackClip]:
        """A clip as canonical motion; several pieces where flips were cut out."""
        arrays = self.arrays
        start = int(arrays["start"][index])
        length = int(arrays["length"][index])
        frames = slice(start, start + length)
        fps = float(arrays["fps"])
        q = self.skeleton.rest.to_body(source_orientations(arrays, self.skeleton, frames))
        q = rotations.multiply(q, _alignment(self.name).astype(q.dtype))
        translation = arrays["translation_cm"][frames].reshape(length, -1, 3)[:, -1]
        path = (translation / 100) @ Y_UP_TO_Z_UP.T.astype(np.float32)
        leg_length = float(self.leg_length[min(index, len(self.leg_length) - 1)])
        full = self.name == "cmu_full"
        return [
            PackClip(
                self.name,
                self.label("clip", index),
                self.label("content", index),
                self.label("style", index),
                body_motion(
                    q[piece],
                    path[piece],
                    fps,
                    leg_length,
                    smooth=smooth if full else None,
                    level_floor=not full,
                ),
                self.label("subject", index),
            )
            for piece in _pieces(q, fps)
        ]


def _pieces(q: Array, fps: float) -> list[slice]:
    """What is left of a clip (T, 22, 4) between flips; all of it where nothing flips."""
    joints = [i for name, i in JOINT_INDEX.items() if not name.endswith("wrist")]
    apart = np.abs(np.sum(q[1:, joints] * q[:-1, joints], axis=-1))
    speed = np.degrees(2 * np.arccos(np.minimum(apart, 1.0))).max(axis=1, initial=0.0) * fps
    flips = np.flatnonzero(speed > FLIP_DEG_PER_S)
    if not len(flips):
        return [slice(0, len(q))]
    beside = max(1, round(0.05 * fps))  # frames next to a flip are on their way to it
    starts = [0, *(int(flip) + 1 + beside for flip in flips)]
    stops = [*(int(flip) + 1 - beside for flip in flips), len(q)]
    return [slice(a, b) for a, b in zip(starts, stops) if b - a >= SHORTEST_PIECE_S * fps]


def smooth(q: Array, p: Array) -> tuple[Array, Array]:
    """Orientations (T, J, 4) and positions (T, 3) at 60 Hz through the Savitzky-Golay filter of
    `SMOOTHING_FRAMES`.
    """
    window = min(SMOOTHING_FRAMES, (len(q) - 1) // 2 * 2 + 1)
    if window <= SMOOTHING_ORDER:
        return q, p
    turned = np.sum(q[1:] * q[:-1], axis=-1, keepdims=True) < 0
    sign = np.cumprod(np.where(turned, -1.0, 1.0), axis=0).astype(q.dtype)
    q = np.concatenate((q[:1], q[1:] * sign))
    return (
        rotations.normalise(savgol_filter(q, window, SMOOTHING_ORDER, axis=0)),
        savgol_filter(p, window, SMOOTHING_ORDER, axis=0),
    )


def read_pack(folder: str | Path, pack: str) -> Iterator[PackClip]:
    """The clips of a pack, converted one at a time."""
    opened = Pack.open(folder, pack)
    for index in opened.usable():
        yield from opened.clip(index)


_open_once = cache(Pack.open)  # in each process of a parallel import


def _convert(job: tuple[str, str, list[int]]) -> list[PackClip]:
    folder, pack, indices = job
    opened = _open_once(folder, pack)
    return [clip for index in indices for clip in opened.clip(index)]


def import_packs(
    folder: str | Path, packs: list[str], processes: int | None = None
) -> list[PackClip]:
    """All clips of some packs, converted in parallel, with a progress bar.

    Args:
        folder: where the packs lie.
        packs: their names.
        processes: how many; by default one for every core.
    """
    jobs = []
    for pack in packs:
        usable = Pack.open(folder, pack).usable()
        jobs += [(str(folder), pack, usable[i : i + 64]) for i in range(0, len(usable), 64)]
    processes = min(processes or os.cpu_count() or 1, len(jobs))
    clips: list[PackClip] = []
    total = sum(len(indices) for *_, indices in jobs)
    with (
        tqdm(total=total, desc=f"importing {', '.join(packs)}", unit=" clips") as bar,
        ProcessPoolExecutor(processes) as pool,
    ):
        for (*_, indices), part in zip(jobs, pool.map(_convert, jobs), strict=True):
            clips += part
            bar.update(len(indices))
    return clips
