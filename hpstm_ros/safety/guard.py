"""Cartesian limits of the arm: workspace box, keep-out volumes, self-collision, tip speed."""

import math
from typing import Protocol

import numpy as np
import pinocchio as pin
from numpy.typing import NDArray

from hpstm_ros.safety.pairs import NEAR_M, Barrier, Pairs, leverage

F64 = NDArray[np.float64]

_INSET_M = 0.001  # a stop is checked at a few points; between them, a tip moves on an arc
_NOWHERE = "a part whose position cannot be computed"
# at the box: a tip whose joints stop at different times leaves its straight path
_KEPT_BOX_M = 0.008


class Guard(Protocol):
    """Interface of the supervisor's posture checks; `PinocchioGuard` implements it for robots."""

    def tips(self, q: F64) -> F64:
        """Positions (A, 3) m of the tips at ``q``."""

    def tip_motion(self, q: F64) -> tuple[F64, F64]:
        """Positions (3 A,) m of the tips at ``q``, and the Jacobian (3 A, n) from joint velocities
        to tip velocities.
        """

    leverage: F64
    """(n,) m/rad (1 for prismatic joints): largest motion of any part per unit of each joint."""

    def tip_speed(self, q: F64, dq: F64) -> float:
        """The fastest tip's speed in m/s."""

    def look(self, q: F64, dq: F64, pairs: bool = True) -> tuple[float, float, str]:
        """For a state: the speed of the fastest tip in m/s, the distance in m of a tip outside the
        box (0 if all are inside), and the pair that is too close ("" or "a with b").

        If a value cannot be computed (NaN, overflow), speed and distance are infinite.

        Without ``pairs``, pairs are not checked, which is much faster.
        """

    def clear(self, q: F64) -> bool:
        """Whether the distances measured so far show that no pair is too close in any of the
        postures ``q`` (K, n) rad. False does not mean that one is.
        """

    def barriers(self, q: F64) -> list[Barrier]:
        """Nearby faces of the box, pairs of links and keep-out volumes."""


class PinocchioGuard:
    """A guard from a Pinocchio model and its collision geometry (keep-out volumes included)."""

    def __init__(
        self,
        model: pin.Model,
        geometry: pin.GeometryModel,
        margin: float,
        tips: list[int],
        box_min: F64,
        box_max: F64,
    ) -> None:
        """``tips`` are frame ids; ``margin`` in m is the minimum distance of pairs."""
        self._model = model
        self._data = model.createData()
        self._pairs = Pairs(model, geometry, margin)
        self._tips = tips
        # plain floats, since NumPy is slower for three numbers
        self._box_min: list[float] = np.asarray(box_min, dtype=float).tolist()
        self._box_max: list[float] = np.asarray(box_max, dtype=float).tolist()
        # Coal reports no collision if the pose of a part is not finite. The check of the tips
        # covers all joints.
        self._placed = all(
            np.isfinite(item.placement.homogeneous).all() for item in geometry.geometryObjects
        )
        self.leverage = leverage(model, geometry)
        self.near_pairs = self._pairs.barriers
        self.clear = self._pairs.clear

    def tips(self, q: F64) -> F64:
        """Positions (A, 3) m of the tips at ``q``."""
        pin.forwardKinematics(self._model, self._data, q)
        return np.array(
            [
                pin.updateFramePlacement(self._model, self._data, tip).translation
                for tip in self._tips
            ]
        )

    def tip_motion(self, q: F64) -> tuple[F64, F64]:
        """See `Guard.tip_motion`."""
        model = self._model
        data = self._data
        pin.computeJointJacobians(model, data, q)
        p = [pin.updateFramePlacement(model, data, tip).translation for tip in self._tips]
        J = [
            pin.getFrameJacobian(model, data, tip, pin.LOCAL_WORLD_ALIGNED).reshape(6, -1)[:3]
            for tip in self._tips
        ]
        return np.concatenate(p), np.concatenate(J)

    def tip_speed(self, q: F64, dq: F64) -> float:
        """The fastest tip's speed in m/s."""
        pin.forwardKinematics(self._model, self._data, q, dq)
        fastest = 0.0
        for tip in self._tips:
            velocity = pin.getFrameVelocity(self._model, self._data, tip, pin.LOCAL).linear
            square = _squared(velocity.tolist())
            speed = math.sqrt(square) if math.isfinite(square) else math.inf
            fastest = max(fastest, speed)
        return fastest

    def look(self, q: F64, dq: F64, pairs: bool = True) -> tuple[float, float, str]:
        """See `Guard.look`."""
        speed = self.tip_speed(q, dq)
        outside = 0.0
        for tip in self._tips:
            placement = pin.updateFramePlacement(self._model, self._data, tip)
            p: list[float] = placement.translation.tolist()
            if not (self._placed and math.isfinite(_squared(p))):
                return math.inf, math.inf, _NOWHERE
            for value, low, high in zip(p, self._box_min, self._box_max, strict=True):
                outside = max(outside, low - value + _INSET_M, value - high + _INSET_M)
        return speed, outside, self._pairs.touching(q) if pairs else ""

    def barriers(self, q: F64) -> list[Barrier]:
        """See `Guard.barriers`."""
        p_tips, J_tips = self.tip_motion(q)
        rows: list[Barrier] = []
        for p, J in zip(p_tips.reshape(-1, 3), J_tips.reshape(-1, 3, len(q)), strict=True):
            place: list[float] = p.tolist()
            above = [high - value for high, value in zip(self._box_max, place, strict=True)]
            below = [value - low for low, value in zip(self._box_min, place, strict=True)]
            for sign, rooms in ((1.0, above), (-1.0, below)):
                rows += [
                    (sign * J[k], room - _KEPT_BOX_M, "workspace")
                    for k, room in enumerate(rooms)
                    if room < NEAR_M
                ]
        return rows + self.near_pairs(q)


def _squared(vector: list[float]) -> float:
    x, y, z = vector
    return x * x + y * y + z * z
