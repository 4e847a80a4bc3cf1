"""Clips of the library with their descriptions, at the rate of the alignment model; built once and
cached.
"""

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from hpstm_ros.language.alignment.movement import from_positions
from hpstm_ros.language.descriptions import Descriptions, meaning
from hpstm_ros.language.encoder import TextEncoder
from hpstm_ros.language.features import encode_features, mirror
from pallas_ros.body.kinematics import forward_kinematics
from pallas_ros.body.resources import cache_folder
from pallas_ros.body.skeleton import Skeleton
from pallas_ros.data.library import LibraryClip, MotionLibrary

F32 = NDArray[np.float32]
Encode = Callable[[list[str]], F32]

_VERSION = 1
_PHRASINGS = 6
"""Maximum number of phrasings per description; more would repeat the same words."""
_SHORTEST_S = 1.0


@dataclass(frozen=True)
class Clip:
    """A described clip.

    Attributes:
        labels: pack, name, content, split and others.
        start, stop: its frames in the arrays of the corpus.
        texts: ids of its texts with all phrasings; the original descriptions are first.
        written: number of original descriptions.
        mirrored: the same as ``texts``, for the mirrored motion.
    """

    labels: LibraryClip
    start: int
    stop: int
    texts: tuple[int, ...]
    written: int
    mirrored: tuple[int, ...]


@dataclass(frozen=True)
class Corpus:
    """Described motion.

    Attributes:
        clips: all described clips of at least one second.
        features: (T, 85) float16, as in `Movement`.
        points: (T, 8, 3) float32 m.
        heading: (T,) float32 rad.
        texts: all texts.
        vectors: (N, D) sentence vectors of the texts.
        explicit: (N, F) explicit features of the texts.
        meanings: (N,) number of the meaning; equal for texts of equal meaning.
    """

    clips: list[Clip]
    features: NDArray[np.float16]
    points: F32
    heading: F32
    texts: list[str]
    vectors: F32
    explicit: F32
    meanings: NDArray[np.int64]

    def select(self, *splits: str) -> list[Clip]:
        """The clips of some splits."""
        return [clip for clip in self.clips if clip.labels.split in splits]


def build(library: MotionLibrary, data: str | Path, encode: Encode | None = None) -> Corpus:
    """Build the corpus of a library, with texts from the packs in ``data``.

    Args:
        library: the motion.
        data: folder with the texts of the packs.
        encode: the sentence encoder; MiniLM by default.
    """
    descriptions = Descriptions.open(data)
    described = [
        (clip, descriptions.of(clip)) for clip in library.clips if clip.seconds >= _SHORTEST_S
    ]
    described = [(clip, found) for clip, found in described if found]
    features, points, heading = _movements(library, [clip for clip, _ in described])
    known: dict[str, int] = {}

    def ids(texts: Sequence[str]) -> tuple[int, ...]:
        return tuple(known.setdefault(text, len(known)) for text in texts)

    clips = []
    start = 0
    for (clip, found), part in zip(described, features, strict=True):
        written = [one.text for one in found]
        others = [p for one in found for p in one.phrasings[1:_PHRASINGS]]
        texts = list(dict.fromkeys([*written, *others]))
        stop = start + len(part)
        clips.append(
            Clip(
                clip,
                start,
                stop,
                ids(texts),
                len(dict.fromkeys(written)),
                ids([mirror(text) for text in texts]),
            )
        )
        start = stop
    texts = list(known)
    numbers: dict[str, int] = {}
    return Corpus(
        clips,
        np.concatenate(features),
        np.concatenate(points),
        np.concatenate(heading),
        texts,
        (encode or _encode)(texts),
        encode_features(texts),
        np.array([numbers.setdefault(meaning(text), len(numbers)) for text in texts]),
    )


def _movements(
    library: MotionLibrary, clips: list[LibraryClip]
) -> tuple[list[NDArray[np.float16]], list[F32], list[F32]]:
    """The `Movement` of each clip, cached; the arrays of a library with the same key are
    constant.
    """
    key = [_VERSION, [(c.pack, c.name, c.start, c.stop) for c in clips]]
    name = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:16]
    path = cache_folder() / f"alignment-{name}.npz"
    if path.is_file():
        with np.load(path, allow_pickle=False) as cached:
            cuts = np.cumsum(cached["length"])[:-1]
            parts = [np.split(cached[k], cuts) for k in ("features", "points", "heading")]
        return parts[0], parts[1], parts[2]
    skeleton = Skeleton.from_height()
    features = []
    points = []
    heading = []
    for clip in tqdm(clips, desc="movement", unit=" clips", mininterval=5.0):
        at = slice(clip.start, clip.stop, 2)  # 60 Hz to 30 Hz
        q = library.rotations[at].astype(np.float32) / np.float32(32767)
        root = np.asarray(library.root[at], np.float32)
        p = np.asarray(forward_kinematics(skeleton, q, root), np.float64)
        moved = from_positions(p, q[:, 0].astype(np.float64), np.ones(len(q), np.bool_))
        features.append(moved.features.astype(np.float16))
        points.append(moved.points)
        heading.append(moved.heading)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.npz")
    try:
        np.savez(
            partial,
            features=np.concatenate(features),
            points=np.concatenate(points),
            heading=np.concatenate(heading),
            length=np.array([len(part) for part in features]),
        )
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return features, points, heading


def _encode(texts: list[str]) -> F32:
    """Sentence vectors of MiniLM, cached by the texts."""
    name = hashlib.sha256("\n".join(texts).encode()).hexdigest()[:16]
    path = cache_folder() / f"sentences-{name}.npy"
    if path.is_file():
        return np.asarray(np.load(path, allow_pickle=False), np.float32)
    vectors = TextEncoder.default().encode(texts)
    partial = path.with_name(f".{path.name}.{os.getpid()}.npy")
    try:
        np.save(partial, vectors.astype(np.float16), allow_pickle=False)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return vectors
