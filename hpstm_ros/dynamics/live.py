"""Forces in a body as it streams: a polynomial through the latest frames gives the accelerations.

The polynomial runs through ``delay`` frames before and after the instant that is described, so the
forces lag the body by that much (5 frames: 83 ms) and by nothing else.
"""

from collections import deque
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.signal import savgol_coeffs

from hpstm_ros.dynamics.anthropometry import GRAVITY, SIDES, check_load, check_mass
from hpstm_ros.dynamics.efforts import joint_efforts
from hpstm_ros.dynamics.ergonomics import Scores, score
from hpstm_ros.dynamics.human import Human, State, state
from hpstm_ros.dynamics.network import MODEL, Network, check_unloaded
from hpstm_ros.dynamics.offline import measured_offsets
from hpstm_ros.dynamics.points import stature
from hpstm_ros.dynamics.rigid_body import (
    EXTRA_CONTACTS,
    FLIGHT,
    Frame,
    RigidBody,
    RigidBodySettings,
)
from hpstm_ros.dynamics.strength import Load, loads
from hpstm_ros.dynamics.uncertainty import Spread
from pallas_ros.body import kinematics, rotations
from pallas_ros.body.errors import PallasError
from pallas_ros.body.frames import BodyFrame
from pallas_ros.body.motion import Motion
from pallas_ros.body.names import MODEL_RATE_HZ
from pallas_ros.view.human import urdf_joint_angles

F64 = NDArray[np.float64]

_LEARNED_FRAMES = 30
"""Frames from which the bones' lengths are taken."""
_GAP_S = 0.05
"""Frames farther apart begin a new window: three frames of 60 Hz."""
_FLOOR_S = 5.0
"""The ground is where the soles' lowest point usually was within this time."""
_CUBIC = 3
RIGID_BODY = "rigid_body"
HDYS = "hdys"
METHODS = (RIGID_BODY, HDYS)
_SCORED_EVERY = 6
"""Frames between two scores of the posture and two heights of the ground, which change slowly."""


@dataclass(frozen=True)
class LiveSettings:
    """Whose forces, and how.

    Attributes:
        mass: kg.
        height: m, or 0 to take it from the bones.
        sex: of `anthropometry.SEXES`.
        delay: frames at 60 Hz, see above.
        contacts: of `rigid_body.EXTRA_CONTACTS`.
        carried: kg in the left and the right hand at the start.
        method: of `METHODS`: inverse dynamics, or the network that imitates them.
        model: the network's ``.onnx`` file.
    """

    mass: float = 75.0
    height: float = 0.0
    sex: str = "mean"
    delay: int = 5
    contacts: tuple[str, ...] = ()
    carried: tuple[float, float] = (0.0, 0.0)
    method: str = RIGID_BODY
    model: str | Path = MODEL

    def __post_init__(self) -> None:
        """Refuse what is not a person, a contact or a method.

        Raises:
            PallasError: it is none.
        """
        check_mass(self.mass)
        for load in self.carried:
            check_load(load)
        for name in self.contacts:
            if name not in EXTRA_CONTACTS:
                known = ", ".join(EXTRA_CONTACTS)
                raise PallasError(f"contact '{name[:40]}': give some of {known}")
        if self.method not in METHODS:
            raise PallasError(f"method '{self.method[:40]}': give {' or '.join(METHODS)}")
        if self.method == HDYS:
            check_unloaded(self.carried, self.contacts)


@dataclass(frozen=True, eq=False)
class LiveForces:
    """The forces at one instant.

    Attributes:
        stamp: ns, of the body that they belong to.
        body_id: of that body.
        frame: moments and contact forces, or None where they are unknown.
        efforts: (63,) Nm about the axes of the operator's URDF; NaN where unknown.
        angles: (63,) rad, of those axes.
        loads: the watched moments, empty where unknown.
        deviations: Nm, their standard deviations; NaN where the body's covariance is unknown.
        scores: of the posture.
        carried: kg in the left and the right hand.
        residual: share of body weight that no contact explains.
        remark: why forces are unknown, or empty.
    """

    stamp: int
    body_id: str
    frame: Frame | None
    efforts: F64
    angles: F64
    loads: tuple[Load, ...] = ()
    deviations: F64 = field(default_factory=lambda: np.full(5, np.nan))
    scores: Scores | None = None
    carried: tuple[float, float] = (0.0, 0.0)
    residual: float = float("nan")
    remark: str = ""

    @property
    def standing(self) -> bool:
        """Whether something carries the body."""
        return self.frame is not None and self.frame.support != FLIGHT


class LiveDynamics:
    """The forces of one body; others' frames are left out while it is in view.

    Args:
        settings: see there.
    """

    def __init__(self, settings: LiveSettings | None = None) -> None:
        self.settings = settings or LiveSettings()
        self._carried = list(self.settings.carried)
        self._size = 2 * self.settings.delay + 1
        self._window: deque[BodyFrame] = deque(maxlen=self._size)
        self._local: deque[F64] = deque(maxlen=self._size)
        order = min(_CUBIC, self._size - 1)
        self._fit = np.stack(
            [savgol_coeffs(self._size, order, deriv=k, use="dot") for k in range(3)]
        )
        self._learning: list[BodyFrame] = []
        self._body: RigidBody | None = None
        self._spread: Spread | None = None
        self._floor = 0.0
        self._lowest: deque[float] = deque(maxlen=round(_FLOOR_S * MODEL_RATE_HZ))
        self._soles: F64 | None = None
        self._scores: Scores | None = None
        self._scored = 0
        self._network: Network | None = None
        self.use(self.settings.method)

    def use(self, method: str) -> None:
        """Compute forces by another of `METHODS` from now on.

        Raises:
            PallasError: it is none, its model cannot be used, or it does not model what the hands
                carry or what else carries the body.
        """
        settings = replace(
            self.settings, method=method, carried=(self._carried[0], self._carried[1])
        )
        self._network = Network(settings.model) if method == HDYS else None
        self.settings = settings

    def carry(self, left: float, right: float) -> None:
        """What the hands hold from now on, kg.

        Raises:
            PallasError: nobody carries that.
        """
        if self._network is not None:
            check_unloaded((left, right))
        self._carried = [check_load(left), check_load(right)]
        self._load_body()

    def push(self, body: BodyFrame) -> LiveForces | None:
        """Take a body.

        The forces of the one ``delay`` frames before it, or None while there are too few.
        """
        last = self._window[-1] if self._window else None
        if last is not None and body.body_id != last.body_id:
            if 0 <= body.stamp - last.stamp < 1e9:
                return None
            self._restart(forget=True)
        elif last is not None and not 0 < (body.stamp - last.stamp) / 1e9 <= _GAP_S:
            if body.stamp == last.stamp:
                return None
            self._restart(forget=False)
        if not (np.isfinite(body.positions).all() and np.isfinite(body.rotations).all()):
            self._restart(forget=False)
            return self._unknown(body, "the body is incomplete: a joint is missing or not finite")
        self._window.append(body)
        self._local.append(np.asarray(kinematics.to_local(body.rotations), np.float64))
        if self._body is None and not self._learned(body):
            return None
        if len(self._window) < self._size:
            return None
        return self._solve()

    def _restart(self, forget: bool) -> None:
        self._window.clear()
        self._local.clear()
        self._soles = None
        if self._network is not None:
            self._network.reset()
        if forget:
            self._learning.clear()
            self._lowest.clear()
            self._body = None

    def _learned(self, body: BodyFrame) -> bool:
        """Take the bones' lengths from the first frames; whether they are known now."""
        self._learning.append(body)
        if len(self._learning) < _LEARNED_FRAMES:
            return False
        motion = Motion(
            MODEL_RATE_HZ,
            np.stack([frame.positions for frame in self._learning]),
            np.stack([frame.rotations for frame in self._learning]),
        )
        offsets = measured_offsets(motion)
        height = self.settings.height or stature(motion)
        human = Human(offsets, self.settings.mass, height, self.settings.sex)
        self._body = RigidBody(human, RigidBodySettings(extra=self.settings.contacts))
        self._spread = Spread(human)
        self._learning.clear()
        self._load_body()
        return True

    def _load_body(self) -> None:
        if self._body is not None:
            for side, load in zip(SIDES, self._carried):
                self._body.human.carry(load, side)

    def _unknown(self, body: BodyFrame, remark: str) -> LiveForces:
        nothing = np.full(63, np.nan)
        carried = (self._carried[0], self._carried[1])
        return LiveForces(
            body.stamp, body.body_id, None, nothing, nothing, carried=carried, remark=remark
        )

    def _state(self) -> tuple[State, F64]:
        """The middle frame's state, and its smooth orientations relative to the parents (22, 4)."""
        middle = self._local[self.settings.delay]
        local = np.stack(self._local)
        away = rotations.to_rotvec(rotations.multiply(rotations.inverse(middle), local))
        paths = np.concatenate(
            (
                away.reshape(self._size, -1),
                np.stack([frame.positions[0] for frame in self._window]),
            ),
            axis=1,
        )
        rate = MODEL_RATE_HZ
        values, v, a = (self._fit @ paths) * np.array([[1.0], [rate], [rate**2]])
        turn = rotations.from_rotvec(values[:-3].reshape(-1, 3))
        q = np.asarray(rotations.multiply(middle, turn), dtype=np.float64)
        found = state(values[-3:], q, v[-3:], a[-3:], v[:-3].reshape(-1, 3), a[:-3].reshape(-1, 3))
        return found, q

    def _frame(
        self, body: BodyFrame, found: State, q_world_pelvis: F64, speed: F64
    ) -> Frame | None:
        """The forces by the method in use; None while the network's window fills."""
        assert self._body is not None
        if self._network is None:
            standing = body.contacts if np.any(body.contacts > 0) else None
            return self._body.solve(found, self._floor, speed, standing)
        paths = np.stack([frame.positions for frame in self._window]).reshape(self._size, -1)
        rates = np.array([[1.0], [MODEL_RATE_HZ], [MODEL_RATE_HZ**2]])
        moving = ((self._fit @ paths) * rates).reshape(3, -1, 3)
        return self._network.frame(self._body.human, found, q_world_pelvis, moving, self._floor)

    def _solve(self) -> LiveForces | None:
        assert self._body is not None
        assert self._spread is not None
        body = self._window[self.settings.delay]
        found, q_parent_joint = self._state()
        human = self._body.human
        R, placed = human.placed(found.q)
        soles = self._body.soles(placed, R)
        before = soles if self._soles is None else self._soles
        speed = np.linalg.norm(soles - before, axis=-1) * MODEL_RATE_HZ
        self._soles = soles
        self._lowest.append(float(soles[..., 2].min()))
        now_and_then = self._scored % _SCORED_EVERY == 0
        if now_and_then or len(self._lowest) < _LEARNED_FRAMES:
            self._floor = float(np.percentile(self._lowest, 25))
        frame = self._frame(body, found, q_parent_joint[0], speed)
        if frame is None:
            return None
        angles = urdf_joint_angles(q_parent_joint)
        both = bool((frame.ground_reaction[:, 2] > 1.0).all())
        if now_and_then:
            q_world_joint = np.asarray(kinematics.to_global(q_parent_joint), np.float64)
            self._scores = score(q_world_joint, human.loads, both)
        self._scored += 1
        return LiveForces(
            stamp=body.stamp,
            body_id=body.body_id,
            frame=frame,
            efforts=joint_efforts(frame.moment, angles, R),
            angles=angles,
            loads=loads(frame.moment, human.mass, self.settings.sex),
            deviations=self._spread.deviations(frame, body.covariance),
            scores=self._scores,
            carried=(self._carried[0], self._carried[1]),
            residual=float(np.linalg.norm(frame.residual[:3])) / (human.mass * GRAVITY),
        )
