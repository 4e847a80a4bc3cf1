"""Cartesian limits of the arm: workspace box, keep-out volumes, self-collision, tip speed."""

import math
from typing import Protocol

import numpy as np
import pinocchio as pin
from numpy.typing import NDArray

from hpstm_ros.safety.joints import joint_motion

F64 = NDArray[np.float64]
Barrier = tuple[F64, float, str]
"""A row (n,) that maps joint velocities to the speed in m/s towards an obstacle, the remaining
distance in m, and the obstacle's name.
"""

NEAR_M = 0.05
"""Distance below which a pair of links, or a tip and a face of the box, forms a barrier."""
_INSET_M = 0.001  # a stop is checked at a few points; between them, a tip moves on an arc
_NEAREST = 6  # at most this many pairs
_SKIPPED_M = 0.01  # motion after which pairs that were clear cannot be much nearer than NEAR_M
_KEPT_M = 0.004  # additional margin of the barriers, so that plans are rarely rejected
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
        # Coal reports no collision if the pose of a part is not finite. The check of the tips
        # covers all joints.
        self._placed = all(
            np.isfinite(item.placement.homogeneous).all() for item in geometry.geometryObjects
        )
        self.leverage = _leverage(model, geometry)
        self._clear: F64 | None = (
            None  # last posture in which no pair was within NEAR_M of its margin
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
            return speed, outside, ""  # no pair can be too close after such a small motion
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
        """The barriers of nearby pairs, without those of the box."""
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
        """The barrier of a nearby pair: the relative speed of their nearest points along the
        normal.
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
    """(n,) m/rad (1 for prismatic joints): upper bound of the change in distance between any two
    parts per unit of each joint.

    The distance from a joint to a part that it carries is bounded by the sum of the offsets between
    them and the part's size, in every posture. A joint that carries both parts does not change
    their distance.
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
    for of, reach in zip(motion, lever, strict=True):  # mimic joints move with their master
        out[of.column] += abs(of.ratio) * (1.0 if of.slides else reach)
    return out
