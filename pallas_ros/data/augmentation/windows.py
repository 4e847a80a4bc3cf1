"""Windows of clips at any times, also between frames."""

from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from pallas_ros.data.library import LibraryClip, MotionLibrary
from pallas_ros.geometry import rotations


@dataclass(frozen=True)
class Moments:
    """Times (B, T) in the library.

    Attributes:
        before, after: frames of the library's arrays.
        part: float32, fraction of the interval between them.
    """

    before: Tensor
    after: Tensor
    part: Tensor

    def of(self, rows: Tensor) -> "Moments":
        """Return the times of some rows of the batch."""
        return Moments(self.before[rows], self.after[rows], self.part[rows])


class ClipFrames:
    """The frames of some of a library's clips.

    Attributes:
        start: (C,) of each clip, its first frame in the library's arrays.
        length: (C,) frames of each clip.
        frames: (N,) every frame of the clips in the library's arrays.
    """

    def __init__(self, library: MotionLibrary, clips: list[LibraryClip]) -> None:
        self._library = library
        self.start = torch.tensor([c.start for c in clips])
        self.length = torch.tensor([c.stop - c.start for c in clips])
        self.frames = torch.cat([torch.arange(c.start, c.stop) for c in clips])

    def at(self, clip: Tensor, time: Tensor) -> Moments:
        """Times (B, T) in frames, float64, within the clips (B,)."""
        last = (self.length[clip] - 1).double()[:, None]
        before = torch.minimum(time.floor(), last - 1).clamp(min=0)
        start = self.start[clip][:, None]
        return Moments(
            start + before.long(),
            start + torch.minimum(before + 1, last).long(),
            (time - before).float(),
        )

    def orientations(self, moments: Moments, joints: list[int] | slice = slice(None)) -> Tensor:
        """(B, T, J, 4) of some joints."""
        a = self.poses(moments.before)[:, :, joints]
        b = self.poses(moments.after)[:, :, joints]
        return rotations.nlerp(a, b, moments.part[:, :, None, None])

    def root(self, moments: Moments) -> Tensor:
        """(B, T, 3) m, the pelvis."""
        before = _read(self._library.root, moments.before)
        return torch.lerp(before, _read(self._library.root, moments.after), moments.part[..., None])

    def contacts(self, moments: Moments) -> Tensor:
        """(B, T, 2) bool, feet standing in the frame before."""
        return _read(self._library.contacts, moments.before)

    def poses(self, frames: Tensor) -> Tensor:
        """Orientations (..., 22, 4) of frames (...) of the library's arrays."""
        return rotations.normalise(_read(self._library.rotations, frames).float())


def _read(values: NDArray[Any], frames: Tensor) -> Tensor:
    """Rows of an array that may be memory-mapped."""
    return torch.from_numpy(values[frames.numpy()])
