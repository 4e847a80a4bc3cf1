"""Where the arm may be and how fast its tips may go: workspace box, keep-out volumes,
self-collision, tip speed.
"""

import math
from typing import Protocol

import numpy as np
import pinocchio as pin
from numpy.typing import NDArray

from hpstm_ros.safety.joints import joint_motion

F64 = NDArray[np.float64]
Barrier = tuple[F64, float, str]
"""A row (n,) that takes joint velocities to the speed in m/s towards an obstacle, the room left in
m, and the obstacle's name.
"""

NEAR_M = 0.05
"""From what distance on a pair of links, or a tip and a face of the box, takes part in the
barriers.
"""
_INSET_M = 0.001  # a stop is looked at in a few places; between, a tip is on an arc
_NEAREST = 6  # pairs at most: what is farther has room
_SKIPPED_M = (
    0.01  # of motion from where no pair was near: they cannot have come much nearer than NEAR_M
)
_KEPT_M = 0.004  # the barriers keep this much more, so that plans are seldom refused
_NOWHERE = "a part whose place cannot be computed"
# and this much at the box: a tip whose joints stop one by one comes to rest beside its straight way
_KEPT_BOX_M = 0.008


class Guard(Protocol):
    """What the supervisor asks about a posture; `PinocchioGuard` is the one for robots."""

    def tips(self, q: F64) -> F64:
        """Positions (A, 3) m of the tips at ``q``."""

    def tip_motion(self, q: F64) -> tuple[F64, F64]:
        """At ``q``: the positions (3 A,) m of the tips, and the Jacobian (3 A, n) that takes joint
        velocities to theirs.
        """

    leverage: F64
    """(n,) m/rad (1 for a slide): how far a unit of each joint's motion moves any part, at most."""

    def tip_speed(self, q: F64, dq: F64) -> float:
        """The fastest tip's speed in m/s."""

    def look(self, q: F64, dq: F64, pairs: bool = True) -> tuple[float, float, str]:
        """At a state: the fastest tip's speed in m/s, how far in m a tip is outside the box (0:
        none is), the pair that is too near ("" or "a with b").

        What cannot be computed (NaN, an overflow) is infinitely fast and infinitely far outside.

        Without ``pairs`` these are not looked at, which is cheap.
        """

    def barriers(self, q: F64) -> list[Barrier]:
        """What is near: the faces of the box, and parts of the arm or of what is kept out."""


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
        """``tips`` are frame ids; ``margin`` m is the distance that pairs must keep."""
        self._model = model
        self._data = model.createData()
        self._geometry = geometry
        self._margin = margin
        self._exact = geometry.createData()
        self._wide = geometry.createData()
        for data, distance in ((self._exact, margin), (self._wide, margin + NEAR_M)):
            for request in data.collisionRequests:
                request.security_margin = distance
        self._tips = tips
        self._box_min = box_min
        self._box_max = box_max
        # Coal finds no collision where a part's place is not finite. The tips are looked at each
        # time, and with them all joints.
        self._placed = all(
            np.isfinite(item.placement.homogeneous).all() for item in geometry.geometryObjects
        )
        self.leverage = _leverage(model, geometry)
        self._clear: F64 | None = (
            None  # the last posture at which no pair was within NEAR_M of its margin
        )

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
            v = pin.getFrameVelocity(self._model, self._data, tip, pin.LOCAL).linear
            speed = math.sqrt(v @ v) if math.isfinite(v @ v) else math.inf
            fastest = max(fastest, speed)
        return fastest

    def look(self, q: F64, dq: F64, pairs: bool = True) -> tuple[float, float, str]:
        """See `Guard.look`."""
        speed = self.tip_speed(q, dq)
        outside = 0.0
        pair = ""
        for tip in self._tips:
            p = pin.updateFramePlacement(self._model, self._data, tip).translation
            if not (self._placed and math.isfinite(p @ p)):
                return math.inf, math.inf, _NOWHERE
            outside = max(
                outside,
                float((self._box_min - p).max()) + _INSET_M,
                float((p - self._box_max).max()) + _INSET_M,
            )
        if not pairs:
            return speed, outside, ""
        if self._clear is not None and float(self.leverage @ np.abs(q - self._clear)) < NEAR_M:
            return speed, outside, ""  # no pair can have come so much nearer
        pin.updateGeometryPlacements(self._model, self._data, self._geometry, self._exact)
        if pin.computeCollisions(self._geometry, self._exact, True):
            pair = next(
                self._name(k)
                for k, result in enumerate(self._exact.collisionResults)
                if result.isCollision()
            )
        return speed, outside, pair

    def barriers(self, q: F64) -> list[Barrier]:
        """See `Guard.barriers`."""
        p_tips, J_tips = self.tip_motion(q)
        rows: list[Barrier] = []
        for p, J in zip(p_tips.reshape(-1, 3), J_tips.reshape(-1, 3, len(q)), strict=True):
            for sign, room in ((1.0, self._box_max - p), (-1.0, p - self._box_min)):
                rows += [
                    (sign * J[k], float(room[k]) - _KEPT_BOX_M, "workspace")
                    for k in np.flatnonzero(room < NEAR_M)
                ]
        return rows + self.near_pairs(q)

    def near_pairs(self, q: F64) -> list[Barrier]:
        """The barriers of parts that are near each other, without those of the box."""
        model = self._model
        data = self._data
        if self._clear is not None and float(self.leverage @ np.abs(q - self._clear)) < _SKIPPED_M:
            return []
        pin.computeJointJacobians(model, data, q)
        if not pin.computeCollisions(model, data, self._geometry, self._wide, q, False):
            self._clear = np.array(q)
            return []
        near = [
            (r.getContact(0).penetration_depth, k)
            for k, r in enumerate(self._wide.collisionResults)
            if r.isCollision()
        ]
        return [
            self._pair_row(k, self._wide.collisionResults[k]) for _, k in sorted(near)[:_NEAREST]
        ]

    def _pair_row(self, number: int, result: "pin.coal.CollisionResult") -> Barrier:
        """The row of one near pair: its normal's component of the speed of the one's nearest point
        against the other's.
        """
        contact = result.getContact(0)
        pair = self._geometry.collisionPairs[number]
        normal = np.asarray(contact.normal)
        row = np.zeros(self._model.nv)
        for index, point, sign in (
            (pair.first, contact.getNearestPoint1(), 1.0),
            (pair.second, contact.getNearestPoint2(), -1.0),
        ):
            joint = self._geometry.geometryObjects[index].parentJoint
            if joint > 0:
                J = pin.getJointJacobian(self._model, self._data, joint, pin.LOCAL_WORLD_ALIGNED)
                x, y, z = np.asarray(point) - self._data.oMi[joint].translation
                turn = np.array(
                    [
                        y * normal[2] - z * normal[1],
                        z * normal[0] - x * normal[2],
                        x * normal[1] - y * normal[0],
                    ]
                )
                row += sign * (normal @ J[:3] + turn @ J[3:])
        return (
            row,
            float(contact.penetration_depth) - self._margin - _KEPT_M,
            f"collision:{self._name(number)}",
        )

    def _name(self, number: int) -> str:
        pair = self._geometry.collisionPairs[number]
        a, b = (self._geometry.geometryObjects[index].name for index in (pair.first, pair.second))
        return f"{a} with {b}"


def _leverage(model: pin.Model, geometry: pin.GeometryModel) -> F64:
    """(n,) m/rad (1 for a slide): by how much a unit of each joint's motion brings any two parts
    nearer to each other, at most.

    A part is no farther from a joint that carries it than the offsets between them and its own
    size, whatever the posture. A joint that carries both of two parts moves neither against the
    other.
    """
    motion = [joint_motion(model, joint) for joint in range(1, model.njoints)]
    farthest = np.maximum(np.abs(model.lowerPositionLimit), np.abs(model.upperPositionLimit))
    travel = [
        abs(of.ratio) * farthest[of.column] + abs(of.offset) if of.slides else 0.0 for of in motion
    ]
    lever = np.zeros(model.njoints - 1)
    for item in geometry.geometryObjects:
        item.geometry.computeLocalAABB()
        far = (
            np.linalg.norm(item.placement.translation)
            + np.linalg.norm(item.geometry.aabb_center)
            + item.geometry.aabb_radius
        )
        joint = int(item.parentJoint)
        while joint > 0:
            lever[joint - 1] = max(lever[joint - 1], far)
            far += np.linalg.norm(model.jointPlacements[joint].translation) + travel[joint - 1]
            joint = int(model.parents[joint])
    out = np.zeros(model.nv)
    for of, reach in zip(motion, lever, strict=True):  # those that mimic a joint move with it
        out[of.column] += abs(of.ratio) * (1.0 if of.slides else reach)
    return out
