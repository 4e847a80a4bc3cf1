"""Domain 3: a simulated person (MuJoCo) who follows CMU motion under gravity and contact.

Motion, torques and ground reaction are those of the simulation. Frames in which the assistance
at the pelvis (`hpstm_ros.simulation.human`) exceeds 15 % of body weight are not used.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hpstm_ros.dynamics.anthropometry import SIDES
from hpstm_ros.dynamics.human import Human
from hpstm_ros.simulation.human import Simulated, SimulatedHuman
from hpstm_ros.train.dynamics.data import (
    HEIGHTS_M,
    MASS_KG,
    MOST_RESIDUAL,
    TORQUE,
    Domain,
    ground_values,
    join,
    kept_rows,
    one_clip,
    played,
    represented,
)
from pallas_ros.body.motion import Motion
from pallas_ros.body.names import JOINT_INDEX, JOINTS, MODEL_RATE_HZ
from pallas_ros.data.library import LibraryClip, MotionLibrary

F64 = NDArray[np.float64]
F32 = NDArray[np.float32]

_VERSION = 1
"""Version of the simulation, part of the cache key."""
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
    """Domain 3: segments of the library, followed by a simulated person; stored in ``cache``.

    The arguments are those of `from_library`.
    """
    domains = []
    for labels, motions, humans in played(library, parts):
        key = json.dumps(["simulated", _VERSION, MASS_KG, HEIGHTS_M, labels])
        path = cache / f"simulated-{hashlib.sha256(key.encode()).hexdigest()[:16]}.npz"
        rows = kept_rows(path, motions, humans, _followed, progress)
        domains += [
            _clip_of(label, row, human, MODEL_RATE_HZ, offsets)
            for label, row, human in zip(labels, rows, humans)
        ]
    return join("simulated", domains)


def _followed(motion: Motion, human: Human) -> F32:
    return _row(SimulatedHuman(human, motion.fps).follow(motion), human)


def _row(found: Simulated, human: Human) -> F32:
    """Values (T, 167): pelvis 3 m, orientations 88, moments 63 Nm, ground reaction 12, and whether
    the frame is used.
    """
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
