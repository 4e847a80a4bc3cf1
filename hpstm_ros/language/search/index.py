"""The index of a recording: embeddings of its windows, cached beside it.

A cached index is used only if it was made from the same recording, model and layout. It is written
atomically; if the folder of the recording is not writable, it is stored in the user's cache folder.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from hpstm_ros.language.alignment.aligner import Aligner
from hpstm_ros.language.alignment.movement import (
    FRAMES,
    RATE_HZ,
    SHORTEST_FRAMES,
    Movement,
    from_positions,
    movement,
    windows,
)
from pallas_ros.bags import Bag
from pallas_ros.bags.bodies import read_bodies
from pallas_ros.bags.paths import is_bag
from pallas_ros.body import rotations
from pallas_ros.body.errors import PallasError
from pallas_ros.body.frames import BodyFrame
from pallas_ros.body.motion import save_npz
from pallas_ros.body.names import TOPIC_HPSTM_BODY, TOPIC_PALLAS_BODY, TOPIC_POSE_BODY
from pallas_ros.body.presence import MOST_BODIES
from pallas_ros.body.resources import cache_folder
from pallas_ros.body.skeleton import body_scale
from pallas_ros.files.npz import load_npz
from pallas_ros.motion_files import read_motion

F64 = NDArray[np.float64]

_LAYOUT: Final = 3
LENGTHS: Final = (FRAMES, FRAMES // 2)
"""Windows of 4 s and 2 s: long enough for an action, short enough to locate it in time."""
STEP: Final = 10
"""Frames between the starts of windows: 1 s."""
_FINE_HZ: Final = 30.0
_CHUNK_S: Final = 120.0
"""Bags are read in pieces of this length, so that memory does not depend on their duration."""
_OVERLAP: Final = round(FRAMES / RATE_HZ * _FINE_HZ)
"""Bodies that a piece repeats from the one before."""
_GAP_S: Final = 0.5
"""Bodies that are farther apart in time are not interpolated."""
_BODY_TOPICS: Final = (TOPIC_HPSTM_BODY, TOPIC_PALLAS_BODY, "/generated/body", TOPIC_POSE_BODY)


@dataclass(frozen=True)
class Index:
    """Windows of one recording.

    Attributes:
        path: of the recording.
        start_s: (W,) s from the beginning of the recording.
        end_s: (W,) s from the beginning of the recording.
        vectors: (W, D) float16 embeddings.
        cached: whether the index was read from the cache.
    """

    path: Path
    start_s: F64
    end_s: F64
    vectors: NDArray[np.float16]
    cached: bool = False


def open_index(path: str | Path, aligner: Aligner, rebuild: bool = False) -> Index:
    """Open the index of a recording, or build it if there is none that matches.

    Args:
        path: a motion file, or a bag with bodies.
        aligner: computes the embeddings.
        rebuild: build the index even if a cached one matches.

    Raises:
        PallasError: the recording cannot be read, or contains no body.
    """
    path = Path(path)
    key = _key(path, aligner)
    if not rebuild:
        for place in _places(path):
            found = _load(place, path, key, aligner.width)
            if found is not None:
                return found
    made = _make(path, aligner)
    arrays = {
        "key": np.array(key),
        "start_s": made.start_s.astype(np.float32),
        "end_s": made.end_s.astype(np.float32),
        "vectors": made.vectors,
    }
    for place in _places(path):
        try:
            save_npz(place, arrays)
            break
        except OSError:
            continue  # a folder that cannot be written
    return made


def index_path(path: str | Path) -> Path:
    """Path of the cached index of a recording: a hidden file beside it."""
    path = Path(path).resolve()
    return path.with_name(f".{path.name}.index.npz")


def _places(path: Path) -> list[Path]:
    beside = index_path(path)
    name = hashlib.sha256(os.fsencode(beside)).hexdigest()[:24]
    return [beside, cache_folder() / "indices" / f"{name}.npz"]


def _key(path: Path, aligner: Aligner) -> str:
    """Identifies the recording, the model and the layout of an index."""
    files = sorted(p for p in path.iterdir() if p.is_file()) if path.is_dir() else [path]
    try:
        stamps = [(p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in files]
    except OSError as error:
        raise PallasError(f"{path}: cannot be read: {error.strerror}") from None
    return json.dumps([_LAYOUT, aligner.sha256, stamps])


def _load(place: Path, path: Path, key: str, width: int) -> Index | None:
    if not place.is_file():
        return None
    try:
        arrays = load_npz(place, "index")
        if str(arrays["key"]) != key:
            return None
        start, end, vectors = (arrays[name] for name in ("start_s", "end_s", "vectors"))
    except (PallasError, KeyError):
        return None  # damaged: made again
    if vectors.shape != (start.size, width) or vectors.dtype != np.float16 or not start.size:
        return None
    if any(times.shape != (start.size,) or times.dtype.kind != "f" for times in (start, end)):
        return None
    if not all(np.isfinite(values).all() for values in (start, end, vectors)):
        return None
    return Index(path, start.astype(np.float64), end.astype(np.float64), vectors, cached=True)


def _make(path: Path, aligner: Aligner) -> Index:
    starts = []
    ends = []
    vectors = []
    for offset, moved in _movements(path):
        for length in LENGTHS:
            ranges = [
                (a, b)
                for a, b in windows(len(moved), length, STEP)
                if moved.valid[a:b].mean() > 0.5
            ]
            if length < FRAMES and len(moved) <= length:
                continue  # the longer window holds all of it already
            vectors.append(aligner.movements(moved, ranges).astype(np.float16))
            starts += [offset + a / RATE_HZ for a, _ in ranges]
            ends += [offset + b / RATE_HZ for _, b in ranges]
    if not starts:
        raise PallasError(f"{path}: contains no body that lasts {SHORTEST_FRAMES / RATE_HZ:g} s")
    return Index(path, np.array(starts), np.array(ends), np.concatenate(vectors))


def _movements(path: Path) -> Iterator[tuple[float, Movement]]:
    """Pieces of a recording, each with its start time in s."""
    if is_bag(path):
        yield from _bag_movements(path)
        return
    moved = movement(read_motion(path))
    if len(moved) >= SHORTEST_FRAMES:
        yield 0.0, moved


def _bag_movements(path: Path) -> Iterator[tuple[float, Movement]]:
    bag = Bag(path)
    there = {name for name, topic in bag.topics.items() if topic.count}
    topic = next((name for name in _BODY_TOPICS if name in there), None)
    if topic is None:
        raise PallasError(
            f"{path}: this bag contains no bodies to search; `pallas process` turns recorded"
            " sensors into a motion"
        )
    people: dict[str, _Person] = {}
    for received, body in read_bodies(bag, topic):
        if not body.valid.any():
            continue  # nobody is seen: what the body does is unknown
        stamp = (received - bag.first) / 1e9
        for name in [name for name, one in people.items() if stamp > one.stamps[-1] + _GAP_S]:
            yield from people.pop(name).piece()
        if body.body_id in people:
            yield from people[body.body_id].push(stamp, body)
        elif len(people) < MOST_BODIES:
            people[body.body_id] = _Person(stamp, body)
    for person in people.values():
        yield from person.piece()


class _Person:
    """The bodies of one id, without gaps."""

    def __init__(self, stamp: float, body: BodyFrame) -> None:
        self.stamps = [stamp]
        self._rows = [(body.positions, body.rotations[0])]

    def push(self, stamp: float, body: BodyFrame) -> Iterator[tuple[float, Movement]]:
        """Add a body received at ``stamp`` s; yield a piece when it is long enough."""
        if stamp < self.stamps[-1] + 0.6 / _FINE_HZ:
            return  # more often than is needed
        self.stamps.append(stamp)
        self._rows.append((body.positions, body.rotations[0]))
        if stamp - self.stamps[0] >= _CHUNK_S:
            yield from self.piece()
            del self.stamps[:-_OVERLAP]
            del self._rows[:-_OVERLAP]

    def piece(self) -> Iterator[tuple[float, Movement]]:
        """The movement and its start in s, if it is long enough."""
        return _piece(self.stamps, self._rows)


def _piece(stamps: list[float], rows: list[tuple[F64, F64]]) -> Iterator[tuple[float, Movement]]:
    """Resample bodies without gaps to 30 Hz."""
    if len(stamps) < 2 or stamps[-1] - stamps[0] < SHORTEST_FRAMES / RATE_HZ:
        return
    t = np.array(stamps)
    p = np.stack([row[0] for row in rows])
    q = np.stack([row[1] for row in rows])
    good = np.isfinite(p).all((1, 2)) & np.isfinite(q).all(1)
    if good.sum() < 2:
        return
    q[good] = rotations.continuous(q[good])
    even = np.arange(t[0], t[-1], 1 / _FINE_HZ)
    after = np.clip(np.searchsorted(t[good], even), 1, good.sum() - 1)
    before = after - 1
    part = (even - t[good][before]) / np.maximum(t[good][after] - t[good][before], 1e-6)
    part = np.clip(part, 0, 1)

    def between(x: F64) -> F64:
        share = part.reshape(-1, *[1] * (x.ndim - 1))
        mixed: F64 = x[good][before] * (1 - share) + x[good][after] * share
        return mixed

    valid = np.interp(even, t, good.astype(float)) > 0.5
    q_world_pelvis = np.asarray(rotations.normalise(between(q)), np.float64)
    yield float(t[0]), from_positions(between(p), q_world_pelvis, valid, body_scale(p[good]))
