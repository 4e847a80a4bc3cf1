"""Pairs of parts that must not touch: which are too close, and the barriers of those nearby.

Most pairs are far apart, and stay so while the arm moves a little. All of them are tested only
after the arm has moved; in between, only those that can have come near.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

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
"""Distance below which a pair of parts, or a tip and a face of the box, forms a barrier."""
_NEAREST = 6  # at most this many pairs
_KEPT_M = 0.004  # additional margin of the barriers, so that plans are rarely rejected
# Distance beyond NEAR_M up to which pairs are measured when all are tested. For a calm motion of a
# Panda, an SO-101, a G1 and a UR5, 0.07 to 0.15 lead to the fewest tests within a factor of 1.8.
_FAR_M = 0.12
_TOLERANCE_M = 0.001  # of distances; Coal's are accurate to 1e-6 m


class Pairs:
    """The collision pairs of a Pinocchio geometry (keep-out volumes included)."""

    def __init__(self, model: pin.Model, geometry: pin.GeometryModel, margin: float) -> None:
        """``margin`` in m is the minimum distance of pairs."""
        self._model = model
        self._data = model.createData()
        self._geometry = geometry
        self._margin = margin
        self._near_m = margin + NEAR_M
        self._far_m = margin + NEAR_M + _FAR_M
        self._too_close = _margin_data(geometry, margin)
        self._near = _margin_data(geometry, self._near_m)
        self._far = _margin_data(geometry, self._far_m)
        # lists, since each access to Pinocchio's vectors makes a copy
        parts = list(geometry.geometryObjects)
        pairs = [(parts[pair.first], parts[pair.second]) for pair in geometry.collisionPairs]
        self._joints = [(int(a.parentJoint), int(b.parentJoint)) for a, b in pairs]
        self._names = [f"{a.name} with {b.name}" for a, b in pairs]
        self._leverage = leverage_of_pairs(model, geometry)
        self._unknown = np.full(len(self._joints), -np.inf)
        # of all pairs at one posture, then of those that could be near at a later posture
        self._surveys: list[_Survey] = []

    def touching(self, q: F64) -> str:
        """The first pair closer than the margin at ``q`` (n,) rad: "" or "a with b".

        Coal reports no collision if the pose of a part is not finite: check that before.
        """
        found = self._within(self._too_close, self._select(q, self._margin), q)
        return next((self._names[k] for k in found), "")

    def clear(self, q: F64) -> bool:
        """Whether the distances known so far show that no pair is closer than the margin in any of
        the postures ``q`` (K, n) rad. False does not mean that one is.
        """
        return not _closer(self._least(q), self._margin).any()

    def barriers(self, q: F64) -> list[Barrier]:
        """The barriers of the nearest pairs at ``q`` (n,) rad."""
        selected = self._select(q, self._near_m)
        survey = self._survey(self._near, self._near_m, selected, q)
        survey = _Survey(survey.q, np.maximum(survey.least, self._least(q)))
        self._surveys = [self._surveys[0], survey]
        near = [k for k in selected if survey.least[k] < self._near_m]
        if not near:
            return []
        near.sort(key=survey.least.__getitem__)
        pin.computeJointJacobians(self._model, self._data, q)
        return [self._barrier(k) for k in near[:_NEAREST]]

    def _least(self, q: F64) -> F64:
        """(P,) m: lower bounds of the pairs' distances at the posture, or in all of the postures,
        ``q`` (n,) or (K, n) rad.
        """
        least = self._unknown
        for survey in self._surveys:
            moved = np.abs(q - survey.q) @ self._leverage
            if moved.ndim == 2:
                moved = moved.max(0)
            least = np.maximum(least, survey.least - moved)
        return least

    def _select(self, q: F64, distance: float) -> list[int]:
        """The pairs that can be closer than ``distance`` m at ``q`` (n,) rad.

        All of them are tested there if one has not been measured so far.
        """
        selected = _closer(self._least(q), distance)
        unmeasured = not self._surveys or (selected & (self._surveys[0].least >= self._far_m)).any()
        if unmeasured:
            every = range(len(self._joints))
            self._surveys = [self._survey(self._far, self._far_m, every, q)]
            selected = _closer(self._surveys[0].least, distance)
        return np.flatnonzero(selected).tolist()

    def _survey(
        self, data: pin.GeometryData, reach: float, pairs: Sequence[int], q: F64
    ) -> "_Survey":
        """Measure ``pairs`` at ``q`` (n,) rad up to ``reach`` m, the distance of ``data``."""
        least = self._unknown.copy()
        least[pairs] = reach
        for k in self._within(data, pairs, q):
            least[k] = data.collisionResults[k].getContact(0).penetration_depth
        return _Survey(np.array(q), least)

    def _within(self, data: pin.GeometryData, pairs: Sequence[int], q: F64) -> Iterator[int]:
        """Those of ``pairs`` that are closer at ``q`` (n,) rad than the distance of ``data``."""
        if not pairs:
            return
        pin.updateGeometryPlacements(self._model, self._data, self._geometry, data, q)
        for k in pairs:
            if pin.computeCollision(self._geometry, data, k):
                yield k

    def _barrier(self, number: int) -> Barrier:
        """The barrier of a nearby pair: the relative speed of their nearest points along the
        normal.
        """
        contact = self._near.collisionResults[number].getContact(0)
        normal: list[float] = contact.normal.tolist()
        row = np.zeros(self._model.nv)
        points = contact.getNearestPoint1(), contact.getNearestPoint2()
        for joint, point, sign in zip(self._joints[number], points, (1.0, -1.0), strict=True):
            if joint > 0:
                J = pin.getJointJacobian(self._model, self._data, joint, pin.WORLD)
                row += sign * (_wrench(normal, point.tolist()) @ J)
        distance = float(contact.penetration_depth) - self._margin - _KEPT_M
        return row, distance, f"collision:{self._names[number]}"


@dataclass(frozen=True, slots=True)
class _Survey:
    """Lower bounds ``least`` (P,) m of the pairs' distances at the posture ``q`` (n,) rad."""

    q: F64
    least: F64


def _closer(least: F64, distance: float) -> NDArray[np.bool_]:
    """(P,): which pairs can be closer than ``distance`` m if their distances are at least ``least``
    (P,) m, or NaN.
    """
    return ~(least > distance + _TOLERANCE_M)


def _margin_data(geometry: pin.GeometryModel, distance: float) -> pin.GeometryData:
    """Data for collision checks in which pairs closer than ``distance`` m collide."""
    data = geometry.createData()
    for request in data.collisionRequests:
        request.security_margin = distance
    return data


def _wrench(force: list[float], p_base: list[float]) -> F64:
    """(6,): ``force`` (3,) at the point ``p_base`` (3,) m, and its moment about the origin."""
    fx, fy, fz = force
    x, y, z = p_base
    return np.array([fx, fy, fz, y * fz - z * fy, z * fx - x * fz, x * fy - y * fx])


def leverage(model: pin.Model, geometry: pin.GeometryModel) -> F64:
    """(n,) m/rad (1 for prismatic joints): upper bound of any part's motion relative to the base
    per unit of each joint.
    """
    return _by_column(model, _levers(model, geometry).max(axis=1, initial=0.0))


def leverage_of_pairs(model: pin.Model, geometry: pin.GeometryModel) -> F64:
    """(n, P) m/rad (1 for prismatic joints): upper bound of the change in each pair's distance per
    unit of each joint. A joint that carries both parts does not change their distance.
    """
    levers = _levers(model, geometry)
    first = levers[:, [pair.first for pair in geometry.collisionPairs]]
    second = levers[:, [pair.second for pair in geometry.collisionPairs]]
    return _by_column(model, np.where((first > 0.0) & (second > 0.0), 0.0, first + second))


def _levers(model: pin.Model, geometry: pin.GeometryModel) -> F64:
    """(J, G) m/rad (1 for prismatic joints): upper bound of the motion of each part per unit of
    each joint of the model except the universe; 0 if the joint does not carry the part.

    The distance from a joint to a part that it carries is bounded by the sum of the offsets between
    them and the part's size, in every posture.
    """
    motion = [joint_motion(model, joint) for joint in range(1, model.njoints)]
    farthest = np.maximum(np.abs(model.lowerPositionLimit), np.abs(model.upperPositionLimit))
    travel = [
        abs(of.ratio) * farthest[of.column] + abs(of.offset) if of.slides else 0.0 for of in motion
    ]
    levers = np.zeros((model.njoints - 1, geometry.ngeoms))
    for number, item in enumerate(geometry.geometryObjects):
        item.geometry.computeLocalAABB()
        far = (
            np.linalg.norm(item.placement.translation)
            + np.linalg.norm(item.geometry.aabb_center)
            + item.geometry.aabb_radius
        )
        joint = int(item.parentJoint)
        while joint > 0:
            levers[joint - 1, number] = 1.0 if motion[joint - 1].slides else far
            far += np.linalg.norm(model.jointPlacements[joint].translation) + travel[joint - 1]
            joint = int(model.parents[joint])
    return levers


def _by_column(model: pin.Model, levers: F64) -> F64:
    """(n, ...): the ``levers`` (J, ...) of each joint by its column in the configuration; mimic
    joints move with their master.
    """
    out = np.zeros((model.nv, *levers.shape[1:]))
    for joint, lever in enumerate(levers, start=1):
        of = joint_motion(model, joint)
        out[of.column] += abs(of.ratio) * lever
    return out
