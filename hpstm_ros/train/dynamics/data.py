"""Training data of HDyS: CMU motion with rigid-body forces (domain 1) and measured trials
(domain 2). Domain 3 is in `hpstm_ros.train.dynamics.simulated`.

Moments are in Nm/kg and forces in body weights, so that they are independent of the mass.
"""

import hashlib
import json
import os
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from hpstm_ros.dynamics.anthropometry import GRAVITY, SIDES
from hpstm_ros.dynamics.human import Human, states
from hpstm_ros.dynamics.offline import (
    find_floor,
    measured_offsets,
    placed_joints,
    smooth,
    smoothed,
)
from hpstm_ros.dynamics.points import stature, whole_body
from hpstm_ros.dynamics.representations import View, coordinates_of, pelvis_coordinates
from hpstm_ros.dynamics.rigid_body import RigidBody
from hpstm_ros.train.dynamics.markers import MARKERS, placed_markers
from hpstm_ros.train.measured import Trial
from pallas_ros.body import rotations
from pallas_ros.body.motion import Motion
from pallas_ros.body.names import JOINT_INDEX, MODEL_RATE_HZ
from pallas_ros.body.skeleton import Skeleton
from pallas_ros.data.library import LibraryClip, MotionLibrary

F64 = NDArray[np.float64]
F32 = NDArray[np.float32]

MASS_KG = 75.0
"""Nominal mass; it has no effect on moments in Nm/kg, since all inertias are proportional to it."""
HEIGHTS_M = (1.5, 1.95)
STRETCH_S = 4.0
_LEAST_S = 1.5
BLOCK = 8
"""Frames of a window."""
_EVERY = 24
_EDGE = 3
CHUNK = 20
"""Number of segments whose forces are stored in one file."""
MOST_RESIDUAL = 0.15
"""Maximum residual of the frames in use, as a share of body weight, as in the measured trials."""
PACKS = ("cmu_full", "cmu_actions")
"""Packs that are free for any use, so that the weights are, too."""
TORQUE = 63
GROUND = 10
"""Number of values of both feet: force in body weights, centre of pressure in m from the ankle,
forward and left.
"""
MEASURED = (
    *("lumbar_extension", "lumbar_bending", "lumbar_rotation"),
    *(
        f"{name}_{side}"
        for side in "lr"
        for name in (
            *("hip_flexion", "hip_adduction", "hip_rotation", "knee_angle", "ankle_angle"),
        )
    ),
)
"""Coordinates whose measured moments are trained on."""
HELD_OUT = (
    "oc4_STSweakLegs1",
    "oc4_walking4",
    "oc4_walkingTI3",
    "oc4_walkingTO3",
    "oc4_walkingTS3",
)
"""Held-out measured trials: one of each style of walking, one of two sit-to-stands; the only squats
are used for training.
"""
_PRESSED = 0.05
"""Share of body weight from which the centre of pressure of a foot is used for training."""


@dataclass(frozen=True, eq=False)
class Domain:
    """Frames of one domain, clip after clip.

    Attributes:
        name: of the domain.
        motion: representation -> (N, ...) features.
        dynamics: kind -> (N, size); NaN if unknown.
        good: (N,) whether each frame is used.
        clip: (N,) clip of each frame.
        block: (N,) uninterrupted run of frames to which each frame belongs.
        names: of the clips.
    """

    name: str
    motion: Mapping[str, F32]
    dynamics: Mapping[str, F32]
    good: NDArray[np.bool_]
    clip: NDArray[np.int32]
    block: NDArray[np.int32]
    names: tuple[str, ...]

    def windows(self, frames: int, step: int) -> NDArray[np.intp]:
        """First frames (W,) of windows of ``frames`` used frames within one block, ``step``
        apart.
        """
        count = len(self.good) - frames + 1
        bad = np.concatenate(([0], np.cumsum(~self.good)))
        whole = bad[frames:] == bad[: max(count, 0)]
        whole &= self.block[frames - 1 :] == self.block[: max(count, 0)]
        starts = np.flatnonzero(whole)
        first = np.searchsorted(self.block, self.block[starts])
        return np.asarray(starts[(starts - first) % step == 0], np.intp)


def join(name: str, parts: Sequence[Domain]) -> Domain:
    """Several clips as one domain."""
    blocks = np.cumsum([0, *(int(p.block[-1]) + 1 for p in parts)])
    return Domain(
        name,
        {key: np.concatenate([p.motion[key] for p in parts]) for key in parts[0].motion},
        {key: np.concatenate([p.dynamics[key] for p in parts]) for key in parts[0].dynamics},
        np.concatenate([p.good for p in parts]),
        np.repeat(np.arange(len(parts), dtype=np.int32), [len(p.good) for p in parts]),
        np.concatenate([p.block + n for p, n in zip(parts, blocks)]).astype(np.int32),
        tuple(p.names[0] for p in parts),
    )


def ground_values(view: View, ground_reaction: F64, ankles: F64, mass: float) -> F64:
    """Values (T, 10) of ground reactions (T, 2, 6), world, with ankles (T, 2, 3) m."""
    force = view.turned(ground_reaction[..., :3]) / (mass * GRAVITY)
    centre = view.turned(ground_reaction[..., 3:] - ankles)[..., :2]
    centre[force[..., 2] < _PRESSED] = np.nan
    return np.concatenate((force, centre), axis=-1).reshape(len(force), GROUND)


def stretches(
    library: MotionLibrary, splits: Sequence[str], minutes: float, packs: Sequence[str] = PACKS
) -> list[tuple[LibraryClip, int, int]]:
    """Segments [first, last) of clips, with equal numbers for all subjects as far as available;
    deterministic.
    """
    queues: dict[str, list[tuple[LibraryClip, int, int]]] = {}
    length = round(STRETCH_S * MODEL_RATE_HZ)
    for split in splits:
        for clip in library.select(split):
            frames = clip.stop - clip.start
            if (packs and clip.pack not in packs) or frames < _LEAST_S * MODEL_RATE_HZ:
                continue
            for first in range(0, max(frames - length, 0) + 1, length):
                part = (clip, first, min(first + length, frames))
                queues.setdefault(clip.subject or clip.content, []).append(part)
    for queue in queues.values():
        queue.sort(key=lambda part: zlib.crc32(f"{part[0].name}:{part[1]}".encode()))
    wanted = 60 * minutes * MODEL_RATE_HZ
    chosen: list[tuple[LibraryClip, int, int]] = []
    while wanted > 0 and any(queues.values()):
        for queue in queues.values():
            if queue and wanted > 0:
                chosen.append(queue.pop())
                wanted -= chosen[-1][2] - chosen[-1][1]
    return chosen


def person_of(name: str) -> tuple[Skeleton, Human]:
    """The person of a segment, with a pseudo-random height derived from its name."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    skeleton = Skeleton.from_height(float(rng.uniform(*HEIGHTS_M)))
    return skeleton, Human.of_skeleton(skeleton, MASS_KG)


def from_library(
    library: MotionLibrary,
    parts: Sequence[tuple[LibraryClip, int, int]],
    offsets: F64,
    cache: Path,
    progress: Callable[[int], object] = lambda _: None,
) -> Domain:
    """Domain 1: segments of the library with rigid-body forces, which are stored in ``cache``.

    Args:
        library: of the segments.
        parts: clip, first frame, frame after the last.
        offsets: of the markers (`marker_offsets`).
        cache: folder.
        progress: called with the number of frames done.
    """
    domains = []
    for labels, motions, humans in played(library, parts):
        key = json.dumps([2, MASS_KG, HEIGHTS_M, BLOCK, _EVERY, labels])
        path = cache / f"dynamics-{hashlib.sha256(key.encode()).hexdigest()[:16]}.npz"
        rows = kept_rows(path, motions, humans, _reference, progress)
        for label, motion, human, row in zip(labels, motions, humans, rows):
            domains.append(_library_clip(label, motion, human, row, offsets))
    return join("rigid_body", domains)


def played(
    library: MotionLibrary, parts: Sequence[tuple[LibraryClip, int, int]]
) -> Iterator[tuple[list[str], list[Motion], list[Human]]]:
    """Segments of the library, one chunk at a time: labels, motions, and their persons."""
    for begin in range(0, len(parts), CHUNK):
        labels = []
        motions = []
        humans = []
        for clip, first, last in parts[begin : begin + CHUNK]:
            labels.append(f"{clip.name}:{first}:{last}")
            skeleton, human = person_of(labels[-1])
            part = replace(clip, start=clip.start + first, stop=clip.start + last)
            motions.append(library.motion(part, skeleton))
            humans.append(human)
        yield labels, motions, humans


def kept_rows(
    path: Path,
    motions: Sequence[Motion],
    humans: Sequence[Human],
    made: Callable[[Motion, Human], F32],
    progress: Callable[[int], object],
) -> list[F32]:
    """Rows (T, n) that ``made`` computes for each motion, read from ``path`` or written to it.

    ``progress`` is called with the number of frames done.
    """
    if path.is_file():
        with np.load(path, allow_pickle=False) as file:
            rows = np.split(file["rows"], np.cumsum(file["lengths"])[:-1])
        progress(sum(len(motion) for motion in motions))
        return rows
    rows = []
    for motion, human in zip(motions, humans):
        rows.append(made(motion, human))
        progress(len(motion))
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.stem}.{os.getpid()}.npz")
    np.savez(partial, rows=np.concatenate(rows), lengths=[len(row) for row in rows])
    partial.replace(path)
    return rows


def solved_frames(count: int) -> NDArray[np.intp]:
    """Frames (n,) of a segment that are used: one block in a few, since neighbours are
    redundant.
    """
    number = np.arange(_EDGE, count - _EDGE)
    number = number[(number - _EDGE) % _EVERY < BLOCK]
    return number[: len(number) // BLOCK * BLOCK]


def _reference(motion: Motion, human: Human) -> F32:
    """Rigid-body forces (n, 80) of the frames in use: moments 66 Nm, ground reaction 12, validity,
    floor m.
    """
    p, q, valid = smoothed(motion)
    R = np.asarray(rotations.to_matrix(q), np.float64)
    body = RigidBody(human)
    soles = body.soles(placed_joints(human.offsets, R, p), R)
    speed = np.linalg.norm(np.gradient(soles, 1 / motion.fps, axis=0), axis=-1)
    floor = find_floor(soles[..., 2].reshape(len(p), -1))
    steps = states(q, p, motion.fps)
    rows = []
    for index in solved_frames(len(p)):
        found = body.solve(steps[index], floor, speed[index])
        share = np.linalg.norm(found.residual[:3]) / human.weight
        holds = valid[index] and share < MOST_RESIDUAL
        parts = (found.moment, found.ground_reaction, holds, floor)
        rows.append(np.concatenate([np.ravel(part) for part in parts]))
    return np.stack(rows).astype(np.float32)


def _library_clip(label: str, motion: Motion, human: Human, row: F32, offsets: F64) -> Domain:
    view, joints, motions = represented(motion, human, float(row[0, 79]), offsets)
    used = solved_frames(len(motion))
    values = row.astype(np.float64)
    there = view.at(used)
    moment = there.turned(values[:, :66].reshape(-1, 22, 3)[:, 1:]) / human.mass
    ankles = joints[used][:, [JOINT_INDEX[f"{side}_ankle"] for side in SIDES]]
    ground = ground_values(there, values[:, 66:78].reshape(-1, 2, 6), ankles, human.mass)
    motions = {name: value[used] for name, value in motions.items()}
    forces = {"torque": moment.reshape(len(used), TORQUE), "ground": ground}
    return one_clip(label, motions, forces, row[:, 78] > 0.5, np.arange(len(used)) // BLOCK)


def represented(
    motion: Motion, human: Human, floor: float, offsets: F64
) -> tuple[View, F64, dict[str, F64]]:
    """Heading frames, joints (T, 22, 3) m and every representation of a motion's frames.

    Args:
        motion: of the body.
        human: person with the dimensions of the body.
        floor: m, height of the ground.
        offsets: of the markers.
    """
    p, q, _ = smoothed(motion)
    R = np.asarray(rotations.to_matrix(q), np.float64)
    joints = placed_joints(human.offsets, R, p)
    view = View.of(q[:, 0], p, floor, motion.fps)
    R_heading_joint = view.R_heading_world[:, None] @ R
    markers = placed_markers(offsets, human.stature, joints, R)
    motions = {
        "keypoints": view.points(joints),
        "markers": view.points(markers),
        "angles": view.angles(q, p),
        "rajagopal": view.coordinates(coordinates_of(R_heading_joint), p),
    }
    return view, joints, motions


def from_trial(trial: Trial) -> Domain:
    """Domain 2: a measured trial at 60 Hz."""
    motion = whole_body(trial.positions, trial.fps)
    height = stature(motion)
    offsets = measured_offsets(motion)
    human = Human(offsets, trial.mass, height)
    p, q, valid = smoothed(motion)
    times = np.arange(len(p)) / trial.fps
    at = np.arange(0.0, times[-1], 1 / MODEL_RATE_HZ)

    def resampled(values: F64) -> F64:
        return np.asarray(CubicSpline(times, values)(at), np.float64)

    def nearby(values: F64) -> F64:
        flat = values.reshape(len(times), -1)
        columns = [np.interp(at, times, column) for column in flat.T]
        return np.stack(columns, axis=1).reshape(len(at), *values.shape[1:])

    q = np.asarray(rotations.normalise(resampled(q)), np.float64)
    p = resampled(p)
    R = np.asarray(rotations.to_matrix(q), np.float64)
    joints = placed_joints(offsets, R, p)
    soles = RigidBody(human).soles(joints, R)
    view = View.of(q[:, 0], p, find_floor(soles[..., 2].reshape(len(p), -1)), MODEL_RATE_HZ)
    markers = [_filled(trial.markers[name]) for name in MARKERS]
    angles = {name: resampled(smooth(values, trial.fps)) for name, values in trial.angles.items()}
    q_pelvis = rotations.continuous(rotations.from_matrix(trial.R_world_pelvis)[:, None])
    q_pelvis = rotations.normalise(resampled(np.asarray(q_pelvis)))
    R_pelvis = np.asarray(rotations.to_matrix(q_pelvis), np.float64)[:, 0]
    angles |= pelvis_coordinates(view.R_heading_world @ R_pelvis)
    ankles = joints[:, [JOINT_INDEX[f"{side}_ankle"] for side in SIDES]]
    moments = np.stack([trial.moments[name] for name in MEASURED], axis=1) / trial.mass
    motions = {
        "keypoints": view.points(joints),
        "markers": view.points(resampled(smooth(np.stack(markers, axis=1), trial.fps))),
        "angles": view.angles(q, p),
        "rajagopal": view.coordinates(angles, p),
    }
    forces = {
        "measured": nearby(moments),
        "ground": ground_values(view, nearby(trial.ground_reaction), ankles, trial.mass),
    }
    known = nearby((trial.valid & valid).astype(np.float64)) > 0.99
    return one_clip(trial.name, motions, forces, known, np.zeros(len(known), np.intp))


def _filled(path: F64) -> F64:
    """Path (T, 3) m of a marker, with interpolated gaps."""
    seen = np.isfinite(path).all(axis=1)
    times = np.arange(len(path))
    return np.stack([np.interp(times, times[seen], path[seen, k]) for k in range(3)], axis=1)


def one_clip(
    name: str,
    motion: dict[str, F64],
    dynamics: dict[str, F64],
    good: NDArray[np.bool_],
    block: NDArray[np.intp],
) -> Domain:
    """A domain of one clip.

    Args:
        name: of the clip.
        motion: representation -> (T, ...) features.
        dynamics: kind -> (T, size).
        good: (T,) whether each frame is used.
        block: (T,) run of frames to which each frame belongs.
    """
    return Domain(
        name,
        {key: value.astype(np.float32) for key, value in motion.items()},
        {key: value.astype(np.float32) for key, value in dynamics.items()},
        good,
        np.zeros(len(good), np.int32),
        block.astype(np.int32),
        (name,),
    )
