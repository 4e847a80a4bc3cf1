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
"""s, minimum duration of clips; shorter ones (3 % of the library) show only part of an action."""


@dataclass(frozen=True)
class Window:
    """A window of a clip.

    Attributes:
        clip: its labels (pack, name, content, style, split, subject).
        start: first frame, in the 60 Hz arrays of the library.
        frames: number of frames at 30 Hz; fewer than 120 if the clip is shorter.
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
        windows: (B,) the windows.
        features: (B, 120, 137), padded with the last frame.
        valid: (B, 120) bool, False for padding.
    """

    windows: list[Window]
    features: NDArray[np.float32]
    valid: NDArray[np.bool_]


class MotionWindows:
    """Windows of clips of a library.

    Args:
        library: the motion.
        clips: source of the windows.
        describe: returns the descriptions of a clip; None for no descriptions.
        keep: whether to keep the features of clips in memory (0.5 kB per frame), for training.

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
        """Draw random windows; contents are weighted by the square root of their duration, to
        favour rare ones.
        """
        chosen = rng.choice(len(self.clips), number, p=self._share)
        return self.batch([self._draw(rng, self.clips[i], mirror) for i in chosen])

    def _draw(self, rng: np.random.Generator, clip: LibraryClip, mirror: float) -> Window:
        length = clip.stop - clip.start
        spare = max(length - _STRIDE * FRAMES, 0)
        start = clip.start + _STRIDE * int(rng.integers(spare // _STRIDE + 1))
        frames = min(FRAMES, (clip.stop - start - 1) // _STRIDE + 1)
        return Window(clip, start, frames, bool(rng.random() < mirror))

    def cover(self, step_s: float = 4.0, full: bool = True) -> list[Window]:
        """Windows at intervals of ``step_s`` in all clips; only complete ones if ``full``."""
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
        """Features (T, 137) of a window, and its place in the world of the clip, before
        mirroring.
        """
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
        """Features (T, 137), in the world, of consecutive frames of the library."""
        at = slice(start, start + _STRIDE * frames, _STRIDE)
        q = self.library.rotations[at].astype(np.float32) / np.float32(32767)
        contacts = self.library.contacts[at].astype(np.float32)
        return encode(q, np.asarray(self.library.root[at]), contacts, Place())

    def descriptions(self, window: Window) -> list[str]:
        """Descriptions of the clip of a window, mirrored if the window is; may be empty."""
        return list(self._describe(window.clip, window.mirrored)) if self._describe else []

    def batches(self, windows: Sequence[Window], size: int) -> Iterator[WindowBatch]:
        """Windows in batches, in order."""
        for first in range(0, len(windows), size):
            yield self.batch(windows[first : first + size])
