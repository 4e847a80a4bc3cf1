"""Consistency of the simulated person, and evaluation of the rigid-body reference with its known
forces.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from hpstm_ros.dynamics.anthropometry import SIDES
from hpstm_ros.dynamics.contacts import cross
from hpstm_ros.dynamics.human import Demand, Human, states
from hpstm_ros.dynamics.offline import placed_joints, smoothed
from hpstm_ros.dynamics.rigid_body import RigidBody
from hpstm_ros.simulation.human import Simulated, SimulatedHuman
from hpstm_ros.train.dynamics.data import MOST_RESIDUAL, person_of
from hpstm_ros.train.dynamics.evaluate import Row, mean_over_clips, row, square_root
from pallas_ros.body import rotations
from pallas_ros.body.names import JOINT_INDEX
from pallas_ros.data.library import LibraryClip, MotionLibrary

F64 = NDArray[np.float64]

_EVERY = 4
"""Interval between compared frames."""
_UNITS = {
    "used_share": "",
    "away_cm": "cm",
    "help_force": "body weight",
    "unexplained_force": "body weight",
    "unexplained_moment": "Nm/kg",
    "grf_vertical_rms": "body weight",
    "mpje": "Nm/kg",
}


def simulated_rows(
    library: MotionLibrary, parts: Sequence[tuple[LibraryClip, int, int]]
) -> list[Row]:
    """Rows of the simulation, and of `RigidBody` on its motion, with 95 % intervals over clips.

    Args:
        library: of the segments.
        parts: clip, first frame, frame after the last.
    """
    columns: dict[str, list[F64]] = {name: [] for name in _UNITS}
    for clip, first, last in parts:
        person, human = person_of(f"{clip.name}:{first}:{last}")
        part = replace(clip, start=clip.start + first, stop=clip.start + last)
        motion = library.motion(part, person)
        found = SimulatedHuman(human, motion.fps).follow(motion)
        share = np.linalg.norm(found.residual[:, :3], axis=1) / human.weight
        used = found.settled & (share < MOST_RESIDUAL)
        columns["used_share"].append(used.astype(np.float64))
        columns["away_cm"].append(100 * found.away[used])
        columns["help_force"].append(share[used])
        for name, values in _compared(found, human, np.flatnonzero(used)[::_EVERY]).items():
            columns[name].append(values)
    rows = []
    for name, several in columns.items():
        clip_of = np.repeat(np.arange(len(several), dtype=np.int32), [len(v) for v in several])
        figures = mean_over_clips(np.concatenate(several), clip_of)
        if name == "grf_vertical_rms":
            figures = square_root(figures)
        rows.append(row("rigid_body", "simulated", name, _UNITS[name], figures))
    return rows


def _compared(found: Simulated, human: Human, frames: NDArray[np.intp]) -> dict[str, F64]:
    """Unexplained forces and moments of the simulated motion, and errors of the reference."""
    p, q, _ = smoothed(found.motion)
    moving = states(q, p, found.motion.fps)
    body = RigidBody(human)
    R = np.asarray(rotations.to_matrix(q), np.float64)
    soles = body.soles(placed_joints(human.offsets, R, p), R)
    speed = np.linalg.norm(np.gradient(soles, 1 / found.motion.fps, axis=0), axis=-1)
    known = [k for k in range(1, found.moment.shape[1]) if np.isfinite(found.moment[0, k, 0])]
    out = np.zeros((4, len(frames)))
    for number, index in enumerate(frames):
        ground = found.ground_reaction[index]
        truth = found.moment[index, known]
        demand = human.demand(moving[index])
        away = demand.force - ground[:, :3].sum(axis=0) - found.residual[index, :3]
        out[0, number] = np.linalg.norm(away) / human.weight
        carried = _less_ground(demand, ground)[known]
        out[1, number] = np.linalg.norm(carried - truth, axis=1).mean() / human.mass
        frame = body.solve(moving[index], 0.0, speed[index])
        upward = (frame.ground_reaction - ground)[:, 2] / human.weight
        out[2, number] = np.square(upward).mean()
        out[3, number] = np.linalg.norm(frame.moment[known] - truth, axis=1).mean() / human.mass
    names = ("unexplained_force", "unexplained_moment", "grf_vertical_rms", "mpje")
    return dict(zip(names, out))


def _less_ground(demand: Demand, ground: F64) -> F64:
    """Joint moments (22, 3) Nm, given the ground reaction (2, 6) on the feet."""
    moment = demand.moment.copy()
    for foot, side in enumerate(SIDES):
        if np.isfinite(ground[foot, 3]):
            for joint in ("hip", "knee", "ankle"):
                k = JOINT_INDEX[f"{side}_{joint}"]
                moment[k] -= cross(ground[foot, 3:] - demand.positions[k], ground[foot, :3])
    return moment
