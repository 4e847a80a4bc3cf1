"""Motions for the evaluation of smoothers: clips of a split, each with an individual body size and
the noise model of docs/guide/conventions.md.
"""

import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hpstm_ros.train.batches import place
from hpstm_ros.train.noise import DESIGN_NOISE, add_noise
from pallas_ros.body.errors import PallasError
from pallas_ros.body.names import JOINTS, MIRROR
from pallas_ros.body.skeleton import DEFAULT_HEIGHT_M, Skeleton
from pallas_ros.data.library import LibraryClip, MotionLibrary

F64 = NDArray[np.float64]

_MIRROR = np.array(MIRROR)
CUT_M = 0.2
"""m, if most joints move farther in a frame (12 m/s), the recording has a cut there."""
BEFORE_FRAMES = 180
"""Frames of another clip before a trial, for the estimation of the bone lengths."""


@dataclass(frozen=True)
class Trial:
    """One motion to smooth.

    Attributes:
        name: of the clip.
        truth: (T, 22, 3) m.
        noisy: (T, 22, 3) m.
        rotations: (T, 22, 4) xyzw, true.
        before: (B, 22, 3) m, noisy motion of the same person in another clip.
        bones: (22,) m, true.
    """

    name: str
    truth: F64
    noisy: F64
    rotations: F64
    before: F64
    bones: F64

    def __len__(self) -> int:
        """Frames."""
        return len(self.truth)


def trials(
    library: MotionLibrary, split: str, count: int, longest: int = 480, shortest: int = 120
) -> list[Trial]:
    """Make ``count`` trials of a split, deterministically: evenly distributed over its clips, with
    all contents.

    Body heights of 1.5 to 1.95 m and 5 % deviations of segment proportions are pseudo-random,
    derived from the name of the clip; of a long clip, a part is used.

    Raises:
        PallasError: the data contain no clip for it.
    """
    require(library, split, shortest)
    clips = [c for c in library.select(split) if np.subtract(*_whole(library, c)[::-1]) >= shortest]
    clips.sort(key=lambda c: zlib.crc32(c.name.encode()))
    by_content: dict[str, list[LibraryClip]] = {}
    for clip in clips:
        by_content.setdefault(clip.content, []).append(clip)
    picked: list[LibraryClip] = []
    while len(picked) < count and any(by_content.values()):
        picked += [queue.pop(0) for queue in by_content.values() if queue]
    picked = picked[:count]
    if not picked:
        raise _missing(split, shortest)
    return [_trial(library, clip, picked[index - 1], longest) for index, clip in enumerate(picked)]


def require(library: MotionLibrary, split: str, shortest: int = 120) -> None:
    """Check that a split has a clip that is long enough.

    Raises:
        PallasError: the data contain none.
    """
    if not any(clip.stop - clip.start >= shortest for clip in library.select(split)):
        raise _missing(split, shortest)


def _missing(split: str, shortest: int) -> PallasError:
    return PallasError(
        f"the data contain no clip of at least {shortest} frames for '{split}', so it cannot be"
        " measured; leave it out of --splits"
    )


def _whole(library: MotionLibrary, clip: LibraryClip) -> tuple[int, int]:
    """The longest part of a clip without a cut; in one recording of the CMU pack, the body turns
    around within a frame, several times.
    """
    step = np.median(
        np.linalg.norm(np.diff(library.motion(clip).positions, axis=0), axis=-1), axis=-1
    )
    ends = [0, *(np.flatnonzero(step > CUT_M) + 1), clip.stop - clip.start]
    longest = int(np.argmax(np.diff(ends)))
    return int(ends[longest]), int(ends[longest + 1])


def _trial(library: MotionLibrary, clip: LibraryClip, other: LibraryClip, longest: int) -> Trial:
    rng = np.random.default_rng(zlib.crc32(clip.name.encode()))
    height = rng.uniform(1.5, 1.95) / DEFAULT_HEIGHT_M
    stretch = np.exp(0.05 * rng.standard_normal(len(JOINTS)))
    stretch = np.sqrt(stretch * stretch[_MIRROR])
    offsets = (Skeleton.from_height().offsets * height * stretch[:, None]).astype(np.float32)[None]

    def play(source: LibraryClip, most: int) -> tuple[F64, F64, F64]:
        first, last = _whole(library, source)
        start = first + int(rng.integers(0, max(last - first - most, 0) + 1))
        most = min(most, last - start)
        q = library.quaternions(source)[start : start + most]
        root = (library.root[source.start : source.stop][start : start + most] * height).astype(
            np.float32
        )
        truth = place(q[None], root[None], offsets)
        return (
            truth[0].astype(np.float64),
            add_noise(truth, DESIGN_NOISE, rng)[0].astype(np.float64),
            q.astype(np.float64),
        )

    truth, noisy, q = play(clip, longest)
    return Trial(
        clip.name,
        truth,
        noisy,
        q,
        play(other, BEFORE_FRAMES)[1],
        np.linalg.norm(offsets[0].astype(np.float64), axis=-1),
    )
