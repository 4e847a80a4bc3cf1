"""Domain 3: a simulated person (MuJoCo) who follows CMU motion under gravity and contact.

Motion, torques and ground reaction are those of the simulation. Frames in which the help at the
pelvis (`hpstm_ros.simulation.human`) carries more than 15 % of the weight are not used.
"""

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hpstm_ros.dynamics.anthropometry import SIDES
from hpstm_ros.dynamics.human import Human
from hpstm_ros.simulation.human import Simulated, SimulatedHuman
from hpstm_ros.train.dynamics.data import (
    CHUNK,
    HEIGHTS_M,
    MASS_KG,
    MOST_RESIDUAL,
    TORQUE,
    Domain,
    ground_values,
    join,
    one_clip,
    person_of,
    represented,
)
from pallas_ros.body.motion import Motion
from pallas_ros.body.names import JOINT_INDEX, JOINTS, MODEL_RATE_HZ
from pallas_ros.data.library import LibraryClip, MotionLibrary

F64 = NDArray[np.float64]
F32 = NDArray[np.float32]

_VERSION = 1
"""Of the simulation, for the cache."""
_PLACE = 3 + 4 * len(JOINTS)
_MOMENT = 3 * (len(JOINTS) - 1)
_COLUMNS = np.cumsum([_PLACE, _MOMENT, 12])


def from_simulation(
    library: MotionLibrary,
    parts: Sequence[tuple[LibraryClip, int, int]],
    offsets: F64,
    cache: Path,
    progress: Callable[[int], object] = lambda _: None,
) -> Domain:
    """Stretches of the library as a simulated person follows them; kept in ``cache``.

    Args:
        library: of the stretches.
        parts: clip, first frame, frame after the last.
        offsets: of the markers (`marker_offsets`).
        cache: folder.
        progress: called with the number of frames done.
    """
    domains = []
    for begin in range(0, len(parts), CHUNK):
        some = parts[begin : begin + CHUNK]
        labels = [f"{clip.name}:{first}:{last}" for clip, first, last in some]
        key = json.dumps(["simulated", _VERSION, MASS_KG, HEIGHTS_M, labels])
        path = cache / f"simulated-{hashlib.sha256(key.encode()).hexdigest()[:16]}.npz"
        people = [person_of(label) for label in labels]
        if path.is_file():
            with np.load(path, allow_pickle=False) as file:
                rows = np.split(file["rows"], np.cumsum(file["lengths"])[:-1])
            progress(sum(len(row) for row in rows))
        else:
            rows = []
            for (clip, first, last), (person, human) in zip(some, people):
                part = replace(clip, start=clip.start + first, stop=clip.start + last)
                motion = library.motion(part, person)
                rows.append(_row(SimulatedHuman(human, motion.fps).follow(motion), human))
                progress(len(motion))
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_name(f".{path.stem}.{os.getpid()}.npz")
            np.savez(partial, rows=np.concatenate(rows), lengths=[len(row) for row in rows])
            partial.replace(path)
        domains += [
            _clip_of(label, row, human, MODEL_RATE_HZ, offsets)
            for label, row, (_, human) in zip(labels, rows, people)
        ]
    return join("simulated", domains)


def _row(found: Simulated, human: Human) -> F32:
    """Pelvis 3 m, orientations 88, moments 63 Nm, ground reaction 12, whether used (T, 167)."""
    count = len(found.motion)
    share = np.linalg.norm(found.residual[:, :3], axis=1) / human.weight
    holds = found.settled & (share < MOST_RESIDUAL)
    parts = (
        found.motion.positions[:, 0],
        found.motion.rotations,
        found.moment[:, 1:],
        found.ground_reaction,
        holds,
    )
    rows = np.concatenate([np.reshape(part, (count, -1)) for part in parts], axis=1)
    return np.asarray(rows, np.float32)


def _clip_of(label: str, row: F32, human: Human, fps: float, offsets: F64) -> Domain:
    place, moment, ground, holds = np.split(row.astype(np.float64), _COLUMNS, axis=1)
    q = place[:, 3:].reshape(len(row), -1, 4)
    positions = np.repeat(place[:, None, :3], len(JOINTS), axis=1)
    view, joints, motions = represented(Motion(fps, positions, q), human, 0.0, offsets)
    turned = view.turned(moment.reshape(len(row), -1, 3)) / MASS_KG
    ankles = joints[:, [JOINT_INDEX[f"{side}_ankle"] for side in SIDES]]
    forces = {
        "torque": turned.reshape(len(row), TORQUE),
        "ground": ground_values(view, ground.reshape(len(row), 2, 6), ankles, human.mass),
    }
    return one_clip(label, motions, forces, holds[:, 0] > 0.5, np.zeros(len(row), np.intp))
