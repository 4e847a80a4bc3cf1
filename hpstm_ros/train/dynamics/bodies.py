"""Forces from bodies that PALLAS estimates from four simulated sensors, compared with those
from the true motion.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from hpstm_ros.dynamics.anthropometry import GRAVITY
from hpstm_ros.dynamics.human import Human
from hpstm_ros.dynamics.offline import Dynamics, analyse
from hpstm_ros.train.dynamics.data import MASS_KG
from hpstm_ros.train.dynamics.evaluate import Row, mean_over_clips, row, square_root
from pallas_ros.body import rotations
from pallas_ros.body.kinematics import forward_kinematics
from pallas_ros.body.motion import Motion
from pallas_ros.body.names import JOINT_INDEX, MODEL_RATE_HZ
from pallas_ros.body.skeleton import Skeleton
from pallas_ros.data.library import LibraryClip, MotionLibrary
from pallas_ros.data.virtual_imu import SensorErrors
from pallas_ros.train.evaluate import network
from pallas_ros.train.inputs import sensed
from pallas_ros.train.measures import place

F64 = NDArray[np.float64]

WATCHED = {
    "lumbar": ("spine1",),
    "shoulders": ("left_shoulder", "right_shoulder"),
    "knees": ("left_knee", "right_knee"),
}
_START_UP = 30
"""Frames at the start that are excluded, while the network settles."""


def body_rows(
    library: MotionLibrary, parts: Sequence[tuple[LibraryClip, int, int]], model: Path
) -> list[Row]:
    """Errors of the rigid-body forces of bodies from PALLAS, with 95 % intervals over clips.

    Args:
        library: of the segments.
        parts: clip, first frame, frame after the last.
        model: weights of PALLAS (.safetensors).
    """
    skeleton = Skeleton.from_height()
    human = Human.of_skeleton(skeleton, MASS_KG)
    method = network(model)
    clips = [
        replace(clip, name=f"{clip.name}:{first}", start=clip.start + first, stop=clip.start + last)
        for clip, first, last in parts
    ]
    pairs = []
    with torch.inference_mode():
        for batch, sequence, lengths in sensed(library, clips, SensorErrors()):
            estimate = method(sequence.imu)
            for number, frames in zip(range(len(batch)), lengths):
                turn = sequence.heading[number, :frames].double().numpy()
                heading = np.asarray(rotations.about_z(turn), np.float64)
                R_found, path = place(estimate, sequence.heading, number, frames, skeleton)
                found = np.asarray(rotations.from_matrix(R_found), np.float64)
                truth = _world(sequence.rotations[number, :frames], heading)
                speed = sequence.root_velocity[number, :frames].double().numpy()
                steps = np.asarray(rotations.rotate(heading, speed), np.float64)
                way = np.cumsum(steps, axis=0) / MODEL_RATE_HZ
                pairs.append(
                    (
                        _forces(human, _motion(skeleton, found, path)),
                        _forces(human, _motion(skeleton, truth, way)),
                    )
                )
    return _rows(pairs, human)


def _world(R: torch.Tensor, heading: F64) -> F64:
    """Orientations (T, 22, 4) xyzw in the world, from matrices (T, 22, 3, 3) in the heading
    frame of the waist.
    """
    q = np.asarray(rotations.from_matrix(R.double().numpy()))
    turn = np.broadcast_to(heading[:, None], q.shape)
    return np.asarray(rotations.multiply(turn, q), np.float64)


def _placed(skeleton: Skeleton, q: F64, path: F64) -> F64:
    return np.asarray(forward_kinematics(skeleton, q, path), np.float64)


def _motion(skeleton: Skeleton, q: F64, path: F64) -> Motion:
    return Motion(MODEL_RATE_HZ, _placed(skeleton, q, path), q)


def _forces(human: Human, motion: Motion) -> Dynamics:
    return analyse(motion, human)


def _rows(pairs: list[tuple[Dynamics, Dynamics]], human: Human) -> list[Row]:
    clip = []
    columns: dict[str, list[F64]] = {}
    for number, (found, truth) in enumerate(pairs):
        good = found.valid & truth.valid
        good[:_START_UP] = False
        clip.append(np.full(int(good.sum()), number, np.int32))
        away = np.linalg.norm(found.moment[good] - truth.moment[good], axis=-1) / human.mass
        columns.setdefault("mpje", []).append(away[:, 1:].mean(axis=1))
        for name, joints in WATCHED.items():
            index = [JOINT_INDEX[joint] for joint in joints]
            columns.setdefault(f"{name}_error", []).append(away[:, index].mean(axis=1))
        force = (found.ground_reaction - truth.ground_reaction)[good][..., 2]
        square = np.square(force / (human.mass * GRAVITY)).mean(axis=1)
        columns.setdefault("grf_vertical_rms", []).append(square)
    owner = np.concatenate(clip)
    rows = []
    for metric, values in columns.items():
        figures = mean_over_clips(np.concatenate(values), owner)
        if metric == "grf_vertical_rms":
            figures = square_root(figures)
        unit = "body weight" if metric == "grf_vertical_rms" else "Nm/kg"
        rows.append(row("pallas_body", "unseen_subjects", metric, unit, figures))
    return rows
