"""Windows of the motion library for the generators: features, labels, descriptions."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hpstm_ros.generation.representation import (
    FEATURES,
    FPS,
    FRAMES,
    ROOT,
    Place,
    encode,
    mirrored,
    place_of,
    seen_from,
)
from pallas_ros.body.errors import PallasError
from pallas_ros.body.names import MODEL_RATE_HZ
from pallas_ros.data.library import LibraryClip, MotionLibrary

Describe = Callable[[LibraryClip, bool], Sequence[str]]
"""Descriptions of a clip, or of its mirrored version."""

_STRIDE = round(MODEL_RATE_HZ / FPS)
SHORTEST_S = 1.2
"""Shorter clips are left out: they show a fragment of an action. 3 % of the library's time."""


@dataclass(frozen=True)
class Window:
    """A piece of a clip.

    Attributes:
        clip: its labels (pack, name, content, style, split, subject).
        start: first frame, in the library's 60 Hz arrays.
        frames: at 30 Hz; fewer than 120 where the clip is shorter.
        mirrored: whether left and right are exchanged.
    """

    clip: LibraryClip
    start: int
    frames: int
    mirrored: bool = False


@dataclass(frozen=True)
class WindowBatch:
    """Windows as arrays.

    Attributes:
        windows: (B,) what they are.
        features: (B, 120, 137), the last frame repeated where a clip is shorter.
        valid: (B, 120) bool, False on those.
    """

    windows: list[Window]
    features: NDArray[np.float32]
    valid: NDArray[np.bool_]


class MotionWindows:
    """Windows of some clips of a library.

    Args:
        library: the motion.
        clips: those to take windows from.
        describe: gives the descriptions of a clip; none are known without it.
        keep: keep the features of clips in memory (0.5 kB a frame), for training.

    Raises:
        PallasError: no clip is long enough.
    """

    def __init__(
        self,
        library: MotionLibrary,
        clips: Sequence[LibraryClip],
        describe: Describe | None = None,
        keep: bool = False,
    ) -> None:
        self.library = library
        self._describe = describe
        self._kept: dict[int, NDArray[np.float32]] | None = {} if keep else None
        self.clips = [clip for clip in clips if clip.seconds >= SHORTEST_S]
        if not self.clips:
            raise PallasError(f"none of {len(clips)} clips lasts {SHORTEST_S} s: give longer ones")
        totals: dict[str, float] = {}
        for clip in self.clips:
            totals[clip.content] = totals.get(clip.content, 0.0) + clip.seconds
        share = np.array([clip.seconds / totals[clip.content] ** 0.5 for clip in self.clips])
        self._share = share / share.sum()

    def draw(self, rng: np.random.Generator, number: int, mirror: float = 0.5) -> WindowBatch:
        """Random windows; contents by the square root of their duration: rare ones count."""
        chosen = rng.choice(len(self.clips), number, p=self._share)
        return self.batch([self._draw(rng, self.clips[i], mirror) for i in chosen])

    def _draw(self, rng: np.random.Generator, clip: LibraryClip, mirror: float) -> Window:
        length = clip.stop - clip.start
        spare = max(length - _STRIDE * FRAMES, 0)
        start = clip.start + _STRIDE * int(rng.integers(spare // _STRIDE + 1))
        frames = min(FRAMES, (clip.stop - start - 1) // _STRIDE + 1)
        return Window(clip, start, frames, bool(rng.random() < mirror))

    def cover(self, step_s: float = 4.0, full: bool = True) -> list[Window]:
        """Windows ``step_s`` apart through every clip; only whole ones where ``full``."""
        windows = []
        for clip in self.clips:
            for start in range(clip.start, clip.stop, round(step_s * MODEL_RATE_HZ)):
                frames = min(FRAMES, (clip.stop - start - 1) // _STRIDE + 1)
                if frames == FRAMES or (not full and frames >= SHORTEST_S * FPS):
                    windows.append(Window(clip, start, frames))
        return windows

    def batch(self, windows: Sequence[Window]) -> WindowBatch:
        """The arrays of some windows."""
        features = np.empty((len(windows), FRAMES, FEATURES), dtype=np.float32)
        valid = np.zeros((len(windows), FRAMES), dtype=bool)
        for row, window in enumerate(windows):
            features[row, : window.frames] = self.features(window)[0]
            features[row, window.frames :] = features[row, window.frames - 1]
            valid[row, : window.frames] = True
        return WindowBatch(list(windows), features, valid)

    def features(self, window: Window) -> tuple[NDArray[np.float32], Place]:
        """(T, 137) of one window, and its place in the clip's world, before any mirroring."""
        first = (window.start - window.clip.start) % _STRIDE
        if self._kept is None or first:
            out = self._world(window.start, window.frames)
        else:
            start = window.clip.start
            if start not in self._kept:
                frames = (window.clip.stop - start - 1) // _STRIDE + 1
                self._kept[start] = self._world(start, frames)
            at = (window.start - start) // _STRIDE
            out = self._kept[start][at : at + window.frames]
        q = self.library.rotations[window.start, 0].astype(np.float64) / 32767
        place = place_of(q, out[0, ROOT])
        out = seen_from(out, place)
        return (mirrored(out) if window.mirrored else out), place

    def _world(self, start: int, frames: int) -> NDArray[np.float32]:
        """Features of consecutive frames of the library in the world."""
        at = slice(start, start + _STRIDE * frames, _STRIDE)
        q = self.library.rotations[at].astype(np.float32) / np.float32(32767)
        contacts = self.library.contacts[at].astype(np.float32)
        return encode(q, np.asarray(self.library.root[at]), contacts, Place())

    def descriptions(self, window: Window) -> list[str]:
        """What is said of a window's clip, mirrored as it is; may be empty."""
        return list(self._describe(window.clip, window.mirrored)) if self._describe else []

    def batches(self, windows: Sequence[Window], size: int) -> Iterator[WindowBatch]:
        """Windows in batches, in order."""
        for first in range(0, len(windows), size):
            yield self.batch(windows[first : first + size])
