"""Default configuration from a robot's geometry: ready posture, hand axes and workspace.

The defaults are those that a person would choose: hands in front of the shoulders at half reach,
tools forward, joints near mid-range, no contacts.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pinocchio as pin
from numpy.typing import NDArray

F64 = NDArray[np.float64]

# of the reach: ready position of the hand, ahead of the shoulder and below it
_AHEAD = 0.55
_DOWN = 0.15
# of the search for a ready posture
_SAMPLES = 400
_STARTS = 8
_STEPS = 300
_POINTS = 0.3  # of the reach: shortest horizontal extent that defines a direction
_FLOOR_M = 0.05  # clearance of the tip above the floor, for the hand around it
# of the reach, from the shoulder: faces of the box
_NEAREST = 0.15
_LOWEST = 0.8
_HIGHEST = 0.9
# Costs of a ready posture. An offset of 10 % of the reach costs as much as a hand pointing sideways
# or a joint at the end of its range.
_PLACE = 100.0
_POINTING = 1.0
_UPRIGHT = 0.3
_RANGE = 1.0
_TURNED = 0.02


@dataclass(frozen=True, eq=False)
class ArmGeometry:
    """Geometry of an arm, known before its ready posture.

    Attributes:
        tip: frame id.
        columns: positions of the arm's own joints in a posture.
        p_base_shoulder: (3,) m.
        reach: m from the shoulder.
        R_base_operator: (3, 3) the operator's forward, left, up in the base frame.
        fingers: (3,) axis of the tip frame that points along the fingers.
        turns: whether the hand's orientation can be controlled.
    """

    tip: int
    columns: NDArray[np.intp]
    p_base_shoulder: F64
    reach: float
    R_base_operator: F64
    fingers: F64
    turns: bool


def operator_axes(p_left: F64, p_right: F64) -> F64:
    """(3, 3) forward, left, up of an operator whose shoulders are at ``p_left`` and ``p_right``
    (3,), m; z is up.
    """
    left = p_left - p_right
    left[2] = 0.0
    length = float(np.linalg.norm(left))
    if length < 1e-6:
        return np.eye(3)
    left = _nearest_axis(left / length) if np.abs(left).max() > 0.97 * length else left / length
    up = np.array([0.0, 0.0, 1.0])
    return np.column_stack((np.cross(left, up), left, up))


def forward_axes(model: pin.Model, tip: int, p_base_shoulder: F64, reach: float, q: F64) -> F64:
    """(3, 3) forward, left, up of an operator who faces in the direction of the arm in the posture
    ``q``, or along x if the arm points up or down.
    """
    data = model.createData()
    pin.forwardKinematics(model, data, q)
    arrow = pin.updateFramePlacement(model, data, tip).translation - p_base_shoulder
    arrow[2] = 0.0
    if np.linalg.norm(arrow) < _POINTS * reach:
        return np.eye(3)
    forward = _nearest_axis(arrow)
    up = np.array([0.0, 0.0, 1.0])
    return np.column_stack((forward, np.cross(up, forward), up))


def fingers_axis(
    model: pin.Model, geometry: pin.GeometryModel, tip: int, joints: list[int], q: F64
) -> F64:
    """(3,) axis of the tip frame that points along the fingers: away from the wrist, towards tool
    and gripper.

    ``joints`` are the ids of the arm's joints, from the shoulder on.
    """
    data = model.createData()
    pin.framesForwardKinematics(model, data, q)
    pin.updateGeometryPlacements(model, data, geometry, shapes := geometry.createData())
    last = joints[-1]
    tip_pose = data.oMf[tip]
    wrist = data.oMi[last].translation
    hand = [
        placement.act(np.asarray(item.geometry.aabb_center))
        for item, placement in zip(geometry.geometryObjects, shapes.oMg, strict=True)
        if item.parentJoint == last
    ]
    arrow = tip_pose.translation - wrist
    if np.linalg.norm(arrow) < 0.01 and hand:
        arrow = np.mean(hand, axis=0) - wrist
    if np.linalg.norm(arrow) < 0.01 and len(joints) > 1:
        arrow = tip_pose.translation - data.oMi[joints[-2]].translation
    if np.linalg.norm(arrow) < 1e-6:
        return np.array([0.0, 0.0, 1.0])
    return _nearest_axis(tip_pose.rotation.T @ arrow)


def hand_axes(fingers: F64, R_base_tip: F64, R_base_operator: F64) -> F64:
    """(3, 3) the tip's axes in the hand frame: x along the ``fingers`` axis of the tip, z along its
    most upright axis.
    """
    up = R_base_tip.T @ R_base_operator[:, 2]
    up = up - (up @ fingers) * fingers
    free = np.eye(3)[np.abs(fingers) < 0.5]
    back = free[int(np.argmax(np.abs(free @ up)))]
    back = back * (1.0 if back @ up >= 0 else -1.0)
    return np.vstack((fingers, np.cross(back, fingers), back))


def ready_posture(
    model: pin.Model,
    pairs: pin.GeometryModel,
    low: F64,
    high: F64,
    arms: list[ArmGeometry],
    margin: float,
) -> tuple[F64, list[str]]:
    """The ready posture (n,) rad, and the pairs of parts whose contact could not be avoided.

    Args:
        model: of the moving joints.
        pairs: convex shapes, with the collision pairs.
        low, high: (n,) rad, ends of the joints' ranges.
        arms: all arms of the robot.
        margin: m, minimum distance of the pairs.
    """
    options = [_hand_postures(model, arm, low, high) for arm in arms]
    data = model.createData()
    touching = pairs.createData()
    for request in touching.collisionRequests:
        request.security_margin = margin
    best: tuple[int, F64] | None = None
    for rank in range(max(len(found) for found in options)):
        q = (low + high) / 2
        for arm, found in zip(arms, options, strict=True):
            q[arm.columns] = found[min(rank, len(found) - 1)]
        pin.computeCollisions(model, data, pairs, touching, q, False)
        hits = sum(result.isCollision() for result in touching.collisionResults)
        if best is None or hits < best[0]:
            best = hits, q
        if hits == 0:
            break
    assert best is not None
    pin.computeCollisions(model, data, pairs, touching, best[1], False)
    return best[1], [
        f"{pairs.geometryObjects[pair.first].name} and {pairs.geometryObjects[pair.second].name}"
        for pair, result in zip(pairs.collisionPairs, touching.collisionResults, strict=True)
        if result.isCollision() and not _neighbours(model, pairs, pair)
    ]


def _neighbours(model: pin.Model, geometry: pin.GeometryModel, pair: pin.CollisionPair) -> bool:
    """Whether a pair's joints are at most two apart; the design of a robot lets such parts
    touch.
    """
    i, j = (int(geometry.geometryObjects[k].parentJoint) for k in (pair.first, pair.second))
    above = [i, int(model.parents[i]), int(model.parents[model.parents[i]])]
    beyond = [j, int(model.parents[j]), int(model.parents[model.parents[j]])]
    return j in above or i in beyond


def box(
    shoulders: list[F64], reaches: list[float], axes: list[F64], lowest: float | None
) -> tuple[F64, F64]:
    """Corners (3,) m of the workspace box: ahead of the shoulders, within reach, and above the
    ``lowest`` point of the fixed parts.
    """
    corners = []
    for shoulder, reach, R in zip(shoulders, reaches, axes, strict=True):
        for ahead in (_NEAREST, 1.0):
            for left in (-1.0, 1.0):
                for up in (-_LOWEST, _HIGHEST):
                    corners.append(shoulder + reach * (R @ np.array([ahead, left, up])))
    low = np.min(corners, axis=0)
    high = np.max(corners, axis=0)
    if lowest is not None and lowest < min(float(shoulder[2]) for shoulder in shoulders):
        low[2] = max(low[2], lowest + _FLOOR_M)
    return low, high


def lowest_point(model: pin.Model, geometry: pin.GeometryModel, q: F64) -> float | None:
    """Height in m of the lowest point of the fixed parts, or None if there are none."""
    data = model.createData()
    shapes = geometry.createData()
    pin.updateGeometryPlacements(model, data, geometry, shapes, q)
    heights = []
    for item, placement in zip(geometry.geometryObjects, shapes.oMg, strict=True):
        if item.parentJoint == 0:
            half = np.asarray(item.geometry.aabb_local.max_) - np.asarray(item.geometry.aabb_center)
            centre = placement.act(np.asarray(item.geometry.aabb_center))
            heights.append(float(centre[2] - np.abs(placement.rotation)[2] @ half))
    return min(heights, default=None)


def _hand_postures(
    model: pin.Model,
    arm: ArmGeometry,
    low: F64,
    high: F64,
) -> list[F64]:
    """Postures of an arm's own joints with the hand in the ready position, best first."""
    data = model.createData()
    random = np.random.default_rng(0)
    own = arm.columns
    middle = (low + high) / 2
    half = np.maximum((high - low)[own] / 2, 1e-6)
    ahead = arm.R_base_operator @ np.array([_AHEAD, 0.0, -_DOWN])
    target = arm.p_base_shoulder + arm.reach * ahead
    forward = arm.R_base_operator[:, 0]
    up = arm.R_base_operator[:, 2]
    q = middle.copy()

    def cost(own_q: F64) -> float:
        q[own] = own_q
        pin.forwardKinematics(model, data, q)
        pose = pin.updateFramePlacement(model, data, arm.tip)
        off = (pose.translation - target) / arm.reach
        out = _PLACE * float(off @ off)
        if arm.turns:
            out += _POINTING * (1.0 - float((pose.rotation @ arm.fingers) @ forward))
            sideways = np.abs(pose.rotation.T @ up)[np.abs(arm.fingers) < 0.5]
            out += _UPRIGHT * (1.0 - float(sideways.max()))
        away = (own_q - middle[own]) / half
        return (
            out
            + _RANGE * float(np.sum(away**6))
            + _TURNED * float(np.sum((own_q - middle[own]) ** 2))
        )

    starts = middle[own] + 0.8 * half * random.uniform(-1, 1, (_SAMPLES, len(own)))
    starts = np.vstack((middle[own], starts))
    chosen = starts[np.argsort([cost(start) for start in starts])[:_STARTS]]
    found = [_climbed(cost, start, middle[own], 0.9 * half, random) for start in chosen]
    return [posture for _, posture in sorted(found, key=lambda pair: pair[0])]


def _climbed(
    cost: Callable[[F64], float], start: F64, middle: F64, half: F64, random: np.random.Generator
) -> tuple[float, F64]:
    """The minimum cost near ``start`` (k,), within ``half`` (k,) of ``middle`` (k,), and its
    location, by a (1+1) evolution strategy.
    """
    best = np.clip(start, middle - half, middle + half)
    least = cost(best)
    size = 0.3
    for _ in range(_STEPS):
        tried = best + size * half * random.standard_normal(len(best))
        tried = np.clip(tried, middle - half, middle + half)
        value = cost(tried)
        if value < least:
            best = tried
            least = value
            size = min(2.0 * size, 0.5)
        else:
            size *= 0.84
    return least, best


def _nearest_axis(arrow: F64) -> F64:
    """The positive or negative coordinate axis nearest to the direction ``arrow`` (3,)."""
    out = np.zeros(3)
    k = int(np.argmax(np.abs(arrow)))
    out[k] = np.sign(arrow[k])
    return out
