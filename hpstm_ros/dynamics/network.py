"""Forces by the network HDyS, for a motion file or frame by frame.

The network uses joint positions and needs no contact model. It is trained on the output of
`offline.analyse`, which is the reference.
"""

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hpstm_ros.dynamics.anthropometry import GRAVITY, SIDES
from hpstm_ros.dynamics.contacts import cross
from hpstm_ros.dynamics.human import Demand, Human, State, states
from hpstm_ros.dynamics.offline import (
    CUTOFF_HZ,
    Dynamics,
    find_floor,
    placed_joints,
    remarks,
    smoothed,
)
from hpstm_ros.dynamics.representations import View
from hpstm_ros.dynamics.rigid_body import FLIGHT, STANDING, Frame, RigidBody
from pallas_ros.body import rotations
from pallas_ros.body.errors import PallasError
from pallas_ros.body.motion import Motion, resample
from pallas_ros.body.names import JOINT_INDEX, JOINTS, MODEL_RATE_HZ
from pallas_ros.files.parameters import described
from pallas_ros.runtime import Stream, check_tensors, open_stream

F64 = NDArray[np.float64]

HDYS = "hdys"
"""Name of the method."""
MODEL: str = described("dynamics")["model"].default
_MOST_FRAMES = 1000
"""Maximum window; that of the released network is 8."""
_LEAST_SHARE = 0.05
"""Share of body weight; a foot with a smaller force is not in contact."""
_FLIGHT_SHARE = 0.12
"""Share of body weight below which the body is in flight (`ContactSettings.flight`)."""


def check_unloaded(loads: Iterable[float], contacts: Iterable[str] = ()) -> None:
    """Reject conditions that the network does not model.

    Raises:
        PallasError: a hand carries a load, or there are contacts besides the feet.
    """
    if any(loads):
        raise PallasError("HDyS does not model carried loads: use rigid_body, or set no load")
    if any(contacts):
        raise PallasError(
            "HDyS does not model contacts other than the feet: use rigid_body, or set none"
        )


class Network:
    """HDyS on a stream of frames at 60 Hz.

    Args:
        model: the ``.onnx`` file.

    Raises:
        PallasError: the model cannot be used.
    """

    def __init__(self, model: str | Path) -> None:
        self._stream, self._window = _opened(model)
        self._seen = 0

    def reset(self) -> None:
        """Clear the window of previous frames."""
        self._stream.reset()
        self._seen = 0

    def frame(
        self, human: Human, state: State, q_world_pelvis: F64, moving: F64, floor: float
    ) -> Frame | None:
        """The forces at one instant, or None while the window is not full.

        Args:
            human: the person.
            state: of the body.
            q_world_pelvis: (4,) xyzw.
            moving: (3, 22, 3) positions m, velocities m/s, accelerations m/s^2 of the joints.
            floor: m, height of the ground.
        """
        view = View.of(q_world_pelvis[None], moving[0, :1], floor, MODEL_RATE_HZ)
        placed = moving.copy()
        placed[0] -= view.origin[0]
        points = view.turned(placed.transpose(1, 0, 2)[None]).reshape(1, len(JOINTS), -1)
        found = self._stream.step({"keypoints": points})
        self._seen += 1
        if self._seen < self._window:
            return None
        back = view.R_heading_world[0].T
        demand = human.demand(state)
        moment = np.zeros((len(JOINTS), 3))
        moment[1:] = found["torque"].reshape(-1, 3).astype(np.float64) @ back.T * human.mass
        ground = found["ground"].reshape(1, 2, 5).astype(np.float64)
        reaction = _reaction(ground, moving[:1], back[None], human, floor)[0]
        residual = _unexplained(demand, reaction)
        moment[0] = residual[3:]
        return Frame(
            moment=moment,
            ground_reaction=reaction,
            free_moment=np.zeros(2),
            residual=residual,
            extra={},
            support=STANDING if reaction[:, 2].any() else FLIGHT,
            positions=demand.positions,
            centre=demand.centre,
        )


def _opened(model: str | Path) -> tuple[Stream, int]:
    """Open a model file; return it and its window in frames."""
    stream = open_stream(model, expect={"kind": "hdys"})
    check_tensors(
        model,
        stream,
        {"keypoints": (len(JOINTS), 9)},
        {"torque": (3 * (len(JOINTS) - 1),), "ground": (10,)},
    )
    config = stream.metadata.get("config")
    window = config.get("window") if isinstance(config, dict) else None
    if type(window) is not int or not 1 <= window <= _MOST_FRAMES:
        raise PallasError(
            f"model file {model}: it does not state a window of 1 to {_MOST_FRAMES} frames;"
            " export it again"
        )
    return stream, window


def at_model_rate(motion: Motion) -> Motion:
    """The motion at 60 Hz, the rate of the forces that `analyse_network` returns."""
    if abs(motion.fps - MODEL_RATE_HZ) <= 1e-6:
        return motion
    return resample(motion, MODEL_RATE_HZ)


def analyse_network(
    motion: Motion,
    human: Human,
    model: str | Path,
    *,
    floor: float | None = None,
    cutoff: float = CUTOFF_HZ,
    progress: Callable[[int], object] = lambda _: None,
) -> Dynamics:
    """The forces of a motion at 60 Hz, in the form of `offline.analyse`.

    Args:
        motion: in the world, z up.
        human: the person; the network does not model carried loads.
        model: the ``.onnx`` file.
        floor: m, height of the ground; None to find it.
        cutoff: Hz, of the low-pass filter.
        progress: called with the number of frames done.

    Raises:
        PallasError: the motion is too short, a load is carried, or the model cannot be used.
    """
    check_unloaded(human.loads.values())
    motion = at_model_rate(motion)
    stream, window = _opened(model)
    p, q, valid = smoothed(motion, cutoff)
    R = np.asarray(rotations.to_matrix(q), np.float64)
    joints = placed_joints(human.offsets, R, p)
    if floor is None:
        soles = RigidBody(human).soles(joints, R)
        floor = find_floor(soles[valid][..., 2].reshape(int(valid.sum()), -1))
    view = View.of(q[:, 0], p, floor, motion.fps)
    per_mass, ground = _estimates(stream, view.points(joints), progress)
    back = np.swapaxes(view.R_heading_world, 1, 2)
    moment = np.zeros((len(p), len(JOINTS), 3))
    moment[:, 1:] = np.einsum("tij,tpj->tpi", back, per_mass) * human.mass
    reaction = _reaction(ground, joints, back, human, floor)
    notes = remarks(motion, valid, cutoff)
    valid[: window - 1] = False
    if not valid.any():
        raise PallasError(
            f"no frame is valid after the first {window - 1}, which the network needs"
        )
    residual, centre = _residual(human, p, q, motion.fps, reaction)
    moment[:, 0] = residual[:, 3:]
    return Dynamics(
        t=np.arange(len(p)) / motion.fps,
        moment=moment,
        ground_reaction=reaction,
        residual=residual,
        valid=valid,
        flight=np.asarray(~reaction[..., 2].any(axis=1)),
        mass=human.mass,
        loads=dict(human.loads),
        positions=joints,
        centre=centre,
        floor=floor,
        remarks=notes,
    )


def _estimates(
    stream: Stream, points: Iterable[F64], progress: Callable[[int], object]
) -> tuple[F64, F64]:
    """Torques (T, 21, 3) Nm/kg and ground reactions (T, 2, 5) of keypoints, frame by frame."""
    torque = []
    ground = []
    for frame in points:
        found = stream.step({"keypoints": frame[None]})
        torque.append(found["torque"].astype(np.float64).reshape(-1, 3))
        ground.append(found["ground"].astype(np.float64).reshape(2, 5))
        progress(1)
    return np.stack(torque), np.stack(ground)


def _reaction(values: F64, joints: F64, back: F64, human: Human, floor: float) -> F64:
    """Ground reaction (T, 2, 6), world, from forces in body weights and centres of pressure
    relative to the ankles; no force in flight.
    """
    force = np.einsum("tij,tfj->tfi", back, values[..., :3]) * human.mass * GRAVITY
    standing = values[..., 2] > _LEAST_SHARE
    upward = np.where(standing, values[..., 2], 0.0).sum(axis=1, keepdims=True)
    standing &= upward >= _FLIGHT_SHARE
    force[~standing] = 0.0
    flat = np.concatenate((values[..., 3:], np.zeros((*values.shape[:2], 1))), axis=-1)
    ankles = joints[:, [JOINT_INDEX[f"{side}_ankle"] for side in SIDES]]
    centre = ankles + np.einsum("tij,tfj->tfi", back, flat)
    centre[..., 2] = floor
    centre[~standing] = np.nan
    return np.concatenate((force, centre), axis=-1)


def _unexplained(demand: Demand, reaction: F64) -> F64:
    """Residual force and moment (6,) at the pelvis, given the ground reaction (2, 6)."""
    force = reaction[:, :3]
    arms = np.nan_to_num(reaction[:, 3:] - demand.positions[0])
    turned = cross(arms, force).sum(axis=0)
    return np.concatenate((demand.force - force.sum(axis=0), demand.moment[0] - turned))


def _residual(human: Human, p: F64, q: F64, fps: float, reaction: F64) -> tuple[F64, F64]:
    """Residual force and moment (T, 6) at the pelvis, given the ground reaction, and centres of
    mass (T, 3) m.
    """
    residual = []
    centres = []
    for index, state in enumerate(states(q, p, fps)):
        demand = human.demand(state)
        residual.append(_unexplained(demand, reaction[index]))
        centres.append(demand.centre)
    return np.stack(residual), np.stack(centres)
