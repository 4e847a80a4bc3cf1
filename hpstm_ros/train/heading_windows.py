"""Motion of the library as frames relative to the heading (`heading_frames`), and windows of it."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hpstm_ros.generation import heading_frames
from hpstm_ros.model.geometry import gram_schmidt
from pallas_ros.body.names import JOINTS, PARENTS
from pallas_ros.body.skeleton import Skeleton
from pallas_ros.data.library import LibraryClip, MotionLibrary

F32 = NDArray[np.float32]
_OFFSETS = torch.tensor(Skeleton.from_height().offsets, dtype=torch.float32)


def frames_of(library: MotionLibrary, clip: LibraryClip) -> F32:
    """Frames (T, 138) of a clip at 30 Hz."""
    q = library.quaternions(clip)[::2]
    root = np.asarray(library.root[clip.start : clip.stop : 2])
    contacts = np.asarray(library.contacts[clip.start : clip.stop : 2], dtype=np.float32)
    return heading_frames.encode(q, root, contacts)


@dataclass(frozen=True)
class Clips:
    """Concatenated clips, and their mirror images.

    Attributes:
        names: (C,) names of the clips.
        frames: (2, N, 138), original and mirrored.
        start, length: (C,) first frame and number of frames of each clip.
    """

    names: tuple[str, ...]
    frames: F32
    start: NDArray[np.int64]
    length: NDArray[np.int64]

    @classmethod
    def of(cls, library: MotionLibrary, clips: list[LibraryClip], least: int) -> "Clips":
        """The clips of at least ``least`` frames."""
        kept = [clip for clip in clips if (clip.stop - clip.start + 1) // 2 >= least]
        parts = [frames_of(library, clip) for clip in kept]
        length = np.array([len(part) for part in parts])
        frames = np.concatenate(parts)
        both = np.stack((frames, heading_frames.mirrored(frames)))
        names = tuple(clip.name for clip in kept)
        return cls(names, both, np.cumsum(length) - length, length)

    def only(self, names: Collection[str]) -> "Clips":
        """The clips with the given names."""
        kept = np.array([name in names for name in self.names], dtype=bool)
        chosen = tuple(name for name in self.names if name in names)
        return Clips(chosen, self.frames, self.start[kept], self.length[kept])

    def clip(self, index: int, mirror: bool = False) -> F32:
        """The frames (T, 138) of one clip."""
        start = self.start[index]
        return np.asarray(self.frames[int(mirror), start : start + self.length[index]])

    def draw(self, count: int, frames: int, rng: np.random.Generator) -> F32:
        """Random windows (count, frames, 138), from clips in proportion to their length, half of
        them mirrored.
        """
        chance = np.maximum(self.length - frames + 1, 0).astype(np.float64)
        clip = rng.choice(len(self.length), count, p=chance / chance.sum())
        begin = self.start[clip] + rng.integers(0, self.length[clip] - frames + 1)
        at = begin[:, None] + np.arange(frames)
        return np.asarray(self.frames[rng.integers(0, 2, count)[:, None], at])


def scales(frames: F32) -> tuple[F32, F32]:
    """Mean and scale (138,) for the normalisation of frames (..., 138).

    The scale of orientations is at least 0.1, so that small variations are not amplified.
    """
    flat = frames.reshape(-1, frames.shape[-1])
    mean = flat.mean(axis=0)
    scale = flat.std(axis=0)
    scale[heading_frames.R6D] = np.maximum(scale[heading_frames.R6D], 0.1)
    scale[heading_frames.CONTACTS] = 0.5
    return np.asarray(mean, np.float32), np.asarray(np.maximum(scale, 1e-3), np.float32)


def joint_positions(frames: Tensor) -> Tensor:
    """Positions (..., 22, 3) m of frames (..., 138), relative to pelvis and heading."""
    r6d = frames[..., heading_frames.R6D].reshape(*frames.shape[:-1], len(JOINTS), 6)
    R = gram_schmidt(r6d[..., :3], r6d[..., 3:])
    placed = [torch.zeros_like(R[..., 0, :, 0])]
    for joint in range(1, len(JOINTS)):
        parent = PARENTS[joint]
        placed.append(placed[parent] + R[..., parent, :, :] @ _OFFSETS[joint].to(R.device))
    return torch.stack(placed, dim=-2)
