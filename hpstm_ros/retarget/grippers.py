"""The gripper at a tip: its driven joints, and their positions when open and closed."""

from itertools import product
from typing import Any

import numpy as np
import pinocchio as pin
from numpy.typing import NDArray

from hpstm_ros.retarget import structure, values
from hpstm_ros.retarget.description import Gripper
from hpstm_ros.retarget.tree import Joint, Tree
from pallas_ros.body.errors import PallasError

F64 = NDArray[np.float64]

_KEYS = {"open", "closed", "velocity", "acceleration"}
_CLOSING_S = 0.5  # closing time of a gripper without a stated speed
_RAMP_S = 0.1  # time to reach full speed


def gripper_of(
    parts: Tree,
    tip: str,
    entry: Any,
    moving: set[str],
    model: pin.Model,
    shapes: pin.GeometryModel,
    q: F64,
) -> Gripper | None:
    """The gripper of an arm from its configuration (``entry``), or else detected; None if there is
    none or ``entry`` is false.

    Args:
        parts: the robot.
        tip: of the arm.
        entry: of the configuration, or None.
        moving: names of the joints that move the arm.
        model, shapes: the full model and its collision geometry.
        q: a posture of the model, (n,) rad.

    Raises:
        PallasError: the entry names unknown joints, or positions out of their range.
    """
    if entry is False:
        return None
    if entry is not None:
        values.only(entry, _KEYS, "'gripper'")
        joints = _named(parts, entry)
    else:
        joints = [
            joint
            for joint in structure.gripper_joints(parts, tip)
            if joint.lower < joint.upper and joint.name not in moving
        ]
    if not joints:
        return None
    given = entry or {}
    if "open" in given and "closed" in given:
        opened, closed = (
            _positions(joints, given[key], f"gripper {key}") for key in ("open", "closed")
        )
    else:
        opened, closed = _ends(parts, joints, model, shapes, q)
    span = np.abs(opened - closed)
    if (span < 1e-6).all():
        raise PallasError(
            "'gripper' has the same joint positions when it is open and when it is closed"
        )
    velocity, acceleration = _speeds(joints, span, given)
    names = [joint.name for joint in joints]
    return Gripper(
        tuple(names),
        opened,
        closed,
        velocity,
        acceleration,
        max(joint.effort for joint in joints),
        tuple(
            (joint.name, names.index(joint.mimic.joint), joint.mimic.multiplier, joint.mimic.offset)
            for joint in parts.joints
            if joint.mimic is not None and joint.mimic.joint in names
        ),
    )


def _speeds(joints: list[Joint], span: F64, given: dict[str, Any]) -> tuple[F64, F64]:
    """Limits of velocity and acceleration (n,): as given, or as stated by the URDF, or such that a
    gripper closes over its ``span`` (n,) in `_CLOSING_S`.
    """
    usual = np.maximum(span, 1e-3) / _CLOSING_S
    stated = np.array([joint.velocity for joint in joints])
    velocity = np.where((stated > 0) & (stated < 10 * usual), stated, usual)
    if "velocity" in given:
        velocity = np.full(
            len(joints), values.number(given["velocity"], 1e-4, 100.0, "gripper velocity")
        )
    acceleration = velocity / _RAMP_S
    if "acceleration" in given:
        acceleration = np.full(
            len(joints), values.number(given["acceleration"], 1e-4, 1000.0, "gripper acceleration")
        )
    return velocity, acceleration


def _named(parts: Tree, entry: dict[str, Any]) -> list[Joint]:
    """The joints named in `open` and `closed`."""
    opened = entry.get("open")
    closed = entry.get("closed")
    if not isinstance(opened, dict) or not isinstance(closed, dict) or set(opened) != set(closed):
        raise PallasError(
            "'gripper' must have 'open' and 'closed', each a mapping of the same joints to rad"
            " (prismatic joints: m)"
        )
    joints = []
    for name in opened:
        joint = parts.by_name.get(str(name))
        if joint is None or not joint.driven:
            raise PallasError(
                f"'gripper' names joint '{str(name)[:80]}', which the URDF does not have as a"
                " joint that moves by itself"
            )
        joints.append(joint)
    return joints


def _positions(joints: list[Joint], given: dict[str, Any], what: str) -> F64:
    return np.array(
        [
            values.number(given[joint.name], joint.lower, joint.upper, f"{what} {joint.name}")
            for joint in joints
        ]
    )


def _ends(
    parts: Tree, joints: list[Joint], model: pin.Model, shapes: pin.GeometryModel, q: F64
) -> tuple[F64, F64]:
    """Joint positions (m,) in which the gripper's parts are farthest apart, and closest
    together.
    """
    data = model.createData()
    placed = shapes.createData()
    q = q.copy()
    followers = [
        (joint.name, joint.mimic)
        for joint in parts.joints
        if joint.mimic is not None and joint.mimic.joint in {joint.name for joint in joints}
    ]
    ids = {
        name: int(model.getJointId(parts.model_name(parts.by_name[name])))
        for name in (*(joint.name for joint in joints), *(name for name, _ in followers))
    }
    moved = set(ids.values())
    palm = {int(model.parents[number]) for number in moved} - moved
    for item in shapes.geometryObjects:
        item.geometry.computeLocalAABB()

    def spread(position: tuple[float, ...]) -> float:
        for joint, value in zip(joints, position, strict=True):
            q[model.idx_qs[ids[joint.name]]] = value
        for name, mimic in followers:
            master = q[model.idx_qs[ids[mimic.joint]]]
            q[model.idx_qs[ids[name]]] = mimic.multiplier * master + mimic.offset
        pin.updateGeometryPlacements(model, data, shapes, placed, q)
        points = {
            int(item.parentJoint): placement.act(np.asarray(item.geometry.aabb_center))
            for item, placement in zip(shapes.geometryObjects, placed.oMg, strict=True)
            if item.parentJoint in moved | palm
        }
        for number in (moved | palm) - set(points):
            points[number] = np.asarray(data.oMi[number].translation)
        fingers = [points[number] for number in sorted(moved)]
        others = fingers if len(fingers) > 1 else [points[number] for number in palm]
        return float(sum(np.linalg.norm(a - b) for a in fingers for b in others))

    corners = sorted(product(*((joint.lower, joint.upper) for joint in joints)), key=spread)
    return np.array(corners[-1]), np.array(corners[0])
