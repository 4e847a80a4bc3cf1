"""Reads the motion packs (`bandai_namco.npz`, `cmu_actions.npz`, `cmu_full.npz`) as canonical
motion.

Bandai-Namco Research Motiondataset 1 and 2 (CC BY-NC 4.0) and, free for any use, two conversions of
the CMU Graphics Lab database: eight actions, and 86 subjects. Their skeletons are aligned with each
other (`pack_skeletons.ALIGNMENTS`).
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
from pallas_ros.body.names import JOINT_INDEX
from pallas_ros.body.rotations import Array
from pallas_ros.data.pack_checks import check_pack
from pallas_ros.data.pack_skeletons import (
    SKELETONS,
    SourceSkeleton,
    segment_turns,
    source_orientations,
)
from pallas_ros.data.retargeting import (
    Y_UP_TO_Z_UP,
    body_motion,
)
from pallas_ros.files.npz import load_npz

PACKS = ("bandai_namco", "cmu_actions", "cmu_full")

LOWEST_NATIVE_HZ = 20.0
"""Clips captured at a lower rate are excluded: the accelerations of 12 Hz clips are not usable."""
FLIP_DEG_PER_S = 2500.0
"""A joint that rotates faster has flipped (only hands are faster): frames around are removed."""
SHORTEST_PIECE_S = 0.5
SMOOTHING_FRAMES = 15
SMOOTHING_ORDER = 3
"""Order of the Savitzky-Golay filter at 60 Hz for `cmu_full`, which is resampled from 24 Hz.
Without it, the acceleration of an ankle at rest is 1 m/s^2 rms.
"""


@dataclass(frozen=True)
class PackClip:
    """A clip of a pack: labels and motion (60 Hz, canonical, default skeleton)."""

    pack: str
    name: str
    content: str
    style: str
    motion: Motion
    subject: str = ""


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


def load_pack(folder: str | Path, pack: str) -> dict[str, NDArray[Any]]:
    """Load and validate the arrays of a pack.

    Returns:
        The arrays by name, with the shapes listed in the README of the data folder.

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
    check_pack(path, arrays)
    return arrays


@dataclass(frozen=True)
class Pack:
    """An open pack: arrays, skeleton, and clips as canonical motion, converted one at a time."""

    name: str
    arrays: dict[str, NDArray[Any]]
    skeleton: SourceSkeleton
    leg_length: NDArray[np.float64]
    """m, length of thigh and shank together, for every row of ``offsets_cm``."""
    alignment: str = "straight"
    """Name in `pack_skeletons.ALIGNMENTS`."""

    @classmethod
    def open(cls, folder: str | Path, name: str, alignment: str = "straight") -> "Pack":
        """Read a pack.

        Raises:
            PallasError: the file is missing, corrupt, or not such a pack.
        """
        arrays = load_pack(folder, name)
        read, knee, ankle = SKELETONS[name]
        try:
            skeleton = read(arrays)
            ends = [skeleton.names.index(end) for end in (knee, ankle)]
        except (KeyError, ValueError, IndexError) as error:
            raise PallasError(
                f"{Path(folder) / name}.npz: its skeleton is not that of the pack '{name}'"
                f" ({error})"
            ) from None
        offsets = arrays["offsets_cm"].reshape(-1, len(skeleton.names), 3)[:, ends]
        leg_length = np.linalg.norm(offsets, axis=-1).sum(-1) / 100
        if not (leg_length > 0).all():
            raise PallasError(f"{Path(folder) / name}.npz: 'offsets_cm' has legs of no length")
        return cls(name, arrays, skeleton, leg_length, alignment)

    def usable(self) -> list[int]:
        """Indices of the usable clips, captured at `LOWEST_NATIVE_HZ` or more."""
        rates = self.arrays.get("native_hz", np.full(len(self.arrays["clip"]), np.inf))
        return [int(index) for index in np.flatnonzero(rates >= LOWEST_NATIVE_HZ)]

    def label(self, key: str, index: int) -> str:
        """A label of a clip; empty if the pack has none."""
        return str(self.arrays[key][index]) if key in self.arrays else ""

    def clip(self, index: int) -> list[PackClip]:
        """A clip as canonical motion; several pieces if flips were removed."""
        arrays = self.arrays
        start = int(arrays["start"][index])
        length = int(arrays["length"][index])
        frames = slice(start, start + length)
        fps = float(arrays["fps"].reshape(-1)[0])
        q = self.skeleton.rest.to_body(source_orientations(arrays, self.skeleton, frames))
        q = rotations.multiply(q, segment_turns(self.alignment, self.name).astype(q.dtype))
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
    """Ranges of a clip (T, 22, 4) between flips; the whole clip if there are none."""
    joints = [i for name, i in JOINT_INDEX.items() if not name.endswith("wrist")]
    apart = np.abs(np.sum(q[1:, joints] * q[:-1, joints], axis=-1))
    speed = np.degrees(2 * np.arccos(np.minimum(apart, 1.0))).max(axis=1, initial=0.0) * fps
    flips = np.flatnonzero(speed > FLIP_DEG_PER_S)
    if not len(flips):
        return [slice(0, len(q))]
    beside = max(1, round(0.05 * fps))  # frames next to a flip are affected by it
    starts = [0, *(int(flip) + 1 + beside for flip in flips)]
    stops = [*(int(flip) + 1 - beside for flip in flips), len(q)]
    return [slice(a, b) for a, b in zip(starts, stops) if b - a >= SHORTEST_PIECE_S * fps]


def smooth(q: Array, p: Array) -> tuple[Array, Array]:
    """Smooth orientations (T, J, 4) xyzw and positions (T, 3) m at 60 Hz with a Savitzky-Golay
    filter of `SMOOTHING_FRAMES`.
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


def _convert(job: tuple[str, str, str, list[int]]) -> list[PackClip]:
    folder, pack, alignment, indices = job
    opened = _open_once(folder, pack, alignment)
    return [clip for index in indices for clip in opened.clip(index)]


def import_packs(
    folder: str | Path,
    packs: list[str],
    processes: int | None = None,
    alignment: str = "straight",
) -> list[PackClip]:
    """Convert all clips of some packs in parallel, with a progress bar.

    Args:
        folder: of the packs.
        packs: names of the packs.
        processes: number of processes; one per core by default.
        alignment: name in `pack_skeletons.ALIGNMENTS`.
    """
    jobs = []
    for pack in packs:
        usable = Pack.open(folder, pack).usable()
        jobs += [
            (str(folder), pack, alignment, usable[i : i + 64]) for i in range(0, len(usable), 64)
        ]
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
