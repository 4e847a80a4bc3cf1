"""Forces in a live body: accelerations come from a polynomial fitted to the latest frames.

The polynomial is fitted to ``delay`` frames before and after the evaluated instant, so the forces
lag the body by exactly this delay (5 frames: 83 ms).
"""

from collections import deque
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.signal import savgol_coeffs

from hpstm_ros.dynamics.anthropometry import GRAVITY, SEXES, SIDES, check_load, check_mass
from hpstm_ros.dynamics.efforts import joint_efforts
from hpstm_ros.dynamics.ergonomics import Scores, score
from hpstm_ros.dynamics.human import Human, State, state
from hpstm_ros.dynamics.network import HDYS, MODEL, Network, check_unloaded
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
from pallas_ros.body.motion import FARTHEST_M, Motion
from pallas_ros.body.names import JOINTS, MODEL_RATE_HZ
from pallas_ros.view.human import urdf_joint_angles

F64 = NDArray[np.float64]

_LEARNED_FRAMES = 30
"""Number of frames from which the bone lengths are estimated."""
_GAP_S = 0.05
"""A larger gap between frames starts a new window: three frames at 60 Hz."""
_RATE_TOLERANCE = 0.1
"""Relative deviation of the frames' rate from 60 Hz, above which derivatives are unknown."""
_IN_VIEW_NS = 1_000_000_000
"""ns, difference of stamps within which the followed person excludes all others."""
_FLOOR_S = 5.0
"""The ground height is the typical height of the soles' lowest point within this time."""
_REACH_M = (0.4, 3.0)
"""m, limits of the distance from the pelvis to the farthest joint of a person in any posture."""
_LEAP_M = 1.0
"""m, a pelvis that moves farther between two frames starts a new window."""
_MOST_NAMED = 4
"""Number of missing joints that a remark names."""
_CUBIC = 3
RIGID_BODY = "rigid_body"
METHODS = (RIGID_BODY, HDYS)
_SCORED_EVERY = 6
"""Frames between updates of the posture scores and of the ground height, which change slowly."""


@dataclass(frozen=True)
class LiveSettings:
    """Settings of `LiveDynamics`.

    Attributes:
        mass: kg, of the person.
        height: m, of the person; 0 to estimate it from the bone lengths.
        sex: one of `anthropometry.SEXES`.
        delay: frames at 60 Hz before and after the evaluated instant.
        contacts: additional contacts, of `rigid_body.EXTRA_CONTACTS`.
        carried: kg in the left and the right hand at the start.
        method: one of `METHODS`: inverse dynamics, or the network that approximates it.
        model: ``.onnx`` file of the network.
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
        """Validate the settings.

        Raises:
            PallasError: a mass is out of range, or a sex, contact or method is unknown.
        """
        check_mass(self.mass)
        for load in self.carried:
            check_load(load)
        for name in self.contacts:
            if name not in EXTRA_CONTACTS:
                known = ", ".join(EXTRA_CONTACTS)
                raise PallasError(f"contact '{name[:40]}': give some of {known}")
        if self.sex not in SEXES:
            raise PallasError(f"sex '{self.sex[:40]}': give one of {', '.join(SEXES)}")
        if self.method not in METHODS:
            raise PallasError(f"method '{self.method[:40]}': give {' or '.join(METHODS)}")
        if self.method == HDYS:
            check_unloaded(self.carried, self.contacts)


@dataclass(frozen=True, eq=False)
class LiveForces:
    """The forces at one instant.

    Attributes:
        stamp: ns, of the body to which they belong.
        body_id: id of this body.
        frame: moments and contact forces, or None if unknown.
        efforts: (63,) Nm about the axes of the operator's URDF; NaN if unknown.
        angles: (63,) rad, about these axes.
        loads: the reported moments; empty if unknown.
        deviations: Nm, their standard deviations; NaN if the covariance of the body is unknown.
        scores: of the posture.
        carried: kg in the left and the right hand.
        residual: force that no contact explains, as a share of body weight.
        remark: why the forces are unknown, or empty.
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
        """Whether the body has support, i.e. is not in flight."""
        return self.frame is not None and self.frame.support != FLIGHT


class LiveDynamics:
    """Computes the forces of one body; other bodies are ignored while it is in view.

    Args:
        settings: person, contacts and method.

    Attributes:
        carried: kg in the left and the right hand.

    Raises:
        PallasError: the settings are invalid, or the model cannot be used.
    """

    def __init__(self, settings: LiveSettings | None = None) -> None:
        self.settings = settings or LiveSettings()
        self.carried = self.settings.carried
        self._size = 2 * self.settings.delay + 1
        self._window: deque[BodyFrame] = deque(maxlen=self._size)
        self._local: deque[F64] = deque(maxlen=self._size)
        order = min(_CUBIC, self._size - 1)
        self._fit = np.stack(
            [savgol_coeffs(self._size, order, deriv=k, use="dot") for k in range(3)]
        )
        self._id: str | None = None
        self._seen = 0
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

    def use(self, method: str, carried: tuple[float, float] | None = None) -> None:
        """Switch to another of `METHODS`, if given with other masses ``carried``.

        Raises:
            PallasError: the method is unknown, its model cannot be used, or it does not model the
                loads or contacts; then nothing changes.
        """
        settings = replace(self.settings, method=method, carried=carried or self.carried)
        self._network = Network(settings.model) if method == HDYS else None
        self.settings = settings
        self.carried = settings.carried
        self._load_body()

    def carry(self, left: float, right: float) -> None:
        """Set the masses in the left and the right hand, kg.

        Raises:
            PallasError: a mass is out of range for one hand, or the method does not model loads.
        """
        if self._network is not None:
            check_unloaded((left, right))
        self.carried = (check_load(left), check_load(right))
        self._load_body()

    def push(self, body: BodyFrame) -> LiveForces | None:
        """Process a body.

        Returns:
            The forces of the body ``delay`` frames earlier, or None while there are too few frames.
        """
        if not self._follows(body):
            return None
        problem = _problem(body)
        if problem:
            self._restart(forget=False)
            return self._unknown(body, problem)
        gap_s = (body.stamp - self._window[-1].stamp) / 1e9 if self._window else 0.0
        too_slow = len(self._window) == 1 and gap_s > _GAP_S
        if self._window and _apart(self._window[-1], body):
            self._restart(forget=False)
        self._window.append(body)
        self._local.append(np.asarray(kinematics.to_local(body.rotations), np.float64))
        if too_slow:
            return self._unknown(body, _rate_remark(1 / gap_s))
        if self._body is None and not self._learned(body):
            return None
        if len(self._window) < self._size:
            return None
        rate = (self._size - 1) * 1e9 / (self._window[-1].stamp - self._window[0].stamp)
        if abs(rate / MODEL_RATE_HZ - 1) > _RATE_TOLERANCE:
            self._soles = None
            if self._network is not None:
                self._network.reset()
            return self._unknown(self._window[self.settings.delay], _rate_remark(rate))
        return self._solve()

    def _follows(self, body: BodyFrame) -> bool:
        """Whether this is a new body of the followed person, or the person is now followed."""
        if self._window and body.stamp == self._window[-1].stamp:
            return False
        other = body.body_id != self._id
        if other and self._id is not None:
            if abs(body.stamp - self._seen) < _IN_VIEW_NS:
                return False
            self._restart(forget=True)
        if other or body.valid.any():
            self._seen = body.stamp
        self._id = body.body_id
        return True

    def _restart(self, forget: bool) -> None:
        self._window.clear()
        self._local.clear()
        self._soles = None
        self._scored = 0  # the posture is another one: do not repeat the last scores
        if self._network is not None:
            self._network.reset()
        if forget:
            self._learning.clear()
            self._lowest.clear()
            self._body = None

    def _learned(self, body: BodyFrame) -> bool:
        """Estimate the bone lengths from the first frames; return whether they are known."""
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
            for side, load in zip(SIDES, self.carried):
                self._body.human.carry(load, side)

    def _unknown(self, body: BodyFrame, remark: str) -> LiveForces:
        nothing = np.full(63, np.nan)
        return LiveForces(
            body.stamp, body.body_id, None, nothing, nothing, carried=self.carried, remark=remark
        )

    def _state(self) -> tuple[State, F64]:
        """State of the middle frame, and its smoothed orientations (22, 4) relative to parents."""
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
        """The forces by the current method; None while the window of the network is not full."""
        assert self._body is not None
        if self._network is None:
            return self._body.solve(found, self._floor, speed, _standing(body))
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
        slow_update = self._scored % _SCORED_EVERY == 0
        if slow_update or len(self._lowest) < _LEARNED_FRAMES:
            self._floor = float(np.percentile(self._lowest, 25))
        frame = self._frame(body, found, q_parent_joint[0], speed)
        if frame is None:
            return None
        angles = urdf_joint_angles(q_parent_joint)
        both = bool((frame.ground_reaction[:, 2] > 1.0).all())
        if slow_update:
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
            carried=self.carried,
            residual=float(np.linalg.norm(frame.residual[:3])) / (human.mass * GRAVITY),
        )


def _problem(body: BodyFrame) -> str:
    """Why the forces of a body cannot be computed, or empty."""
    finite = np.isfinite(body.positions).all(axis=1) & np.isfinite(body.rotations).all(axis=1)
    missing = [name for name, there in zip(JOINTS, body.valid & finite) if not there]
    if missing:
        names = ", ".join(missing[:_MOST_NAMED])
        more = len(missing) - _MOST_NAMED
        others = f" and {more} others" if more > 0 else ""
        return f"the body is incomplete: no {names}{others}"
    if np.abs(body.positions).max() > FARTHEST_M:
        return f"the body is implausible: it is more than {FARTHEST_M:g} m from the origin"
    reach = float(np.linalg.norm(body.positions - body.positions[0], axis=1).max())
    low, high = _REACH_M
    if not low <= reach <= high:
        return (
            f"the body is implausible: its farthest joint is {reach:.2g} m from the pelvis,"
            f" expected {low:g} to {high:g} m"
        )
    return ""


def _rate_remark(rate: float) -> str:
    return (
        f"the bodies arrive at {rate:.3g} Hz, but forces are computed for {MODEL_RATE_HZ:g} Hz:"
        " use /hpstm/body or another topic of this rate"
    )


def _apart(before: BodyFrame, body: BodyFrame) -> bool:
    """Whether there is a gap between two frames, or a jump of the pelvis."""
    leap = float(np.linalg.norm(body.positions[0] - before.positions[0]))
    return not 0 < (body.stamp - before.stamp) / 1e9 <= _GAP_S or leap > _LEAP_M


def _standing(body: BodyFrame) -> F64 | None:
    """Probabilities (2,) that the left and the right foot are on the ground, or None if unknown."""
    known = np.isfinite(body.contacts).all() and np.any(body.contacts > 0)
    return body.contacts if known else None
