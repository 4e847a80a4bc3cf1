"""Builds a `RobotDescription` from a robot's configuration or a bare URDF: values are validated,
missing ones derived.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pinocchio as pin
from numpy.typing import NDArray

from hpstm_ros.retarget import automatic, collision, grippers, tree, urdf, values
from hpstm_ros.retarget.description import Arm, Gripper, RobotDescription, own_joints
from hpstm_ros.retarget.drafts import (
    SHORTEST_M,
    Draft,
    arm_of,
    drafts_of,
    geometry_of,
    measure,
    sides,
)
from hpstm_ros.retarget.joint_limits import Limiter, moving_limits
from pallas_ros.body.errors import PallasError

F64 = NDArray[np.float64]

_KEYS = {"urdf", "arms", "ready", "locked", "limits", "workspace", "tip_speed", "description"}


def build(name: str, document: dict[str, Any], folder: Path) -> RobotDescription:
    """The robot of a configuration, whose paths are relative to ``folder``.

    Raises:
        PallasError: a value is invalid, the URDF or a mesh is unusable, or it contains no arm.
    """
    values.only(document, _KEYS, "the configuration")
    path = urdf.find(str(document["urdf"]), folder)
    text = urdf.read(path)
    try:
        return _build(name, document, path, text)
    except PallasError as error:
        raise PallasError(f"{path}: {error}") from None


def _build(name: str, document: dict[str, Any], path: Path, text: str) -> RobotDescription:
    parts = tree.parse(ElementTree.fromstring(text))
    drafts = drafts_of(parts, document)
    locked_at = document.get("locked", {})
    moving = _moving(parts, drafts, locked_at)
    following = {
        joint.name
        for joint in parts.joints
        if joint.mimic is not None and joint.mimic.joint in moving
    }
    full = urdf.full_model(text, parts, following)
    q_full = _standing(full, parts, locked_at)
    locked = [
        joint
        for joint in range(1, full.njoints)
        if parts.modelled(str(full.names[joint])).name not in moving | following
    ]
    model = _reduced(full, locked, q_full)
    limiter = Limiter([parts.modelled(str(model.names[joint])) for joint in own_joints(model)])
    limits = moving_limits(limiter, document.get("limits", {}))
    shapes = urdf.geometry(path, text, full, pin.GeometryType.COLLISION)
    geometry = collision.convex_model(model, pin.buildReducedModel(full, shapes, locked, q_full)[1])
    low, high = limiter.span(limits)
    q_middle = (low + high) / 2
    for draft in drafts:
        measure(model, geometry, draft, q_middle, low, high)
    if len(drafts) == 2 and drafts[0].found:
        drafts = sides(drafts)
    q_ready, touching = _ready(model, geometry, drafts, document, limits, limiter)
    collision.drop_touching(model, geometry, q_ready)

    def gripper(draft: Draft) -> Gripper | None:
        tip = str(draft.entry["tip"])
        wanted = draft.entry.get("gripper")
        return grippers.gripper_of(parts, tip, wanted, moving, full, shapes, q_full)

    arms = tuple(
        replace(arm_of(model, draft, q_ready, parts), gripper=gripper(draft)) for draft in drafts
    )
    box_min, box_max = _workspace(model, geometry, arms, drafts, document, q_ready)
    tip_speed = document.get("tip_speed")
    return RobotDescription(
        name=name,
        path=path,
        text=text,
        full=full,
        model=model,
        locked=locked,
        q_full=q_full,
        geometry=geometry,
        joint_names=tuple(limiter.names),
        arms=arms,
        q_ready=q_ready,
        effort=np.array(model.effortLimit),
        box_min=box_min,
        box_max=box_max,
        tip_speed=None if tip_speed is None else values.number(tip_speed, 0.01, 5.0, "tip_speed"),
        continuous=limiter.continuous,
        locked_at={
            name: float(q_full[column])
            for name, column in _columns(full, parts).items()
            if name not in moving and parts.by_name[name].driven
        },
        remarks=(*limiter.remarks, *_remarks(drafts, touching, parts)),
        **limits,
    )


def _remarks(drafts: list[Draft], touching: list[str], parts: tree.Tree) -> list[str]:
    """Remarks on the detected arms, and on joints that cannot move, for the user."""
    remarks = [
        f"the joints rotate the tip '{draft.entry['tip']}' but do not translate it: only the"
        " orientation of the hand is followed; set 'tip' to a frame farther out in a"
        " configuration (pallas retarget --describe)"
        for draft in drafts
        if draft.reach <= SHORTEST_M
    ]
    if touching:
        remarks.append(
            f"in the ready posture {', '.join(touching[:3])} touch, so they are not checked for"
            " collisions"
        )
    remarks += [
        f"joint '{joint.name}' mimics '{joint.mimic.missing}', which the URDF does not have: it is"
        " held at 0"
        for joint in parts.joints
        if joint.mimic is not None and joint.mimic.missing
    ]
    return remarks


def _moving(parts: tree.Tree, drafts: list[Draft], locked_at: Any) -> set[str]:
    """Names of the driven joints that move an arm, directly or through mimic joints."""
    if not isinstance(locked_at, dict):
        raise PallasError("'locked' must be a mapping of joint names to rad")
    moving: set[str] = set()
    for draft in drafts:
        for name in draft.joints:
            mimic = parts.by_name[name].mimic
            moving.add(name if mimic is None else mimic.joint)
    moving -= {"", *(str(name) for name in locked_at)}
    if not moving:
        raise PallasError("no joint can move an arm: all are fixed or locked")
    return moving


def _standing(full: pin.Model, parts: tree.Tree, locked_at: dict[str, Any]) -> F64:
    """The configuration of the locked joints: as given by `locked`, else 0 or the nearest limit."""
    q = np.clip(pin.neutral(full), full.lowerPositionLimit, full.upperPositionLimit)
    columns = _columns(full, parts)
    _assign(columns, q, locked_at, "locked")
    for name, column in columns.items():
        mimic = parts.by_name[name].mimic
        if mimic is not None:
            master = q[columns[mimic.joint]] if mimic.joint else 0.0
            q[column] = mimic.multiplier * master + mimic.offset
    return np.asarray(q)


def _columns(model: pin.Model, parts: tree.Tree) -> dict[str, int]:
    """Index in the configuration of each independent joint, by name."""
    return {
        parts.modelled(str(model.names[joint])).name: int(model.idx_qs[joint])
        for joint in own_joints(model)
    }


def _reduced(full: pin.Model, locked: list[int], q_full: F64) -> pin.Model:
    """The model of only the moving joints."""
    try:
        model: pin.Model = pin.buildReducedModel(full, locked, q_full)
    except (ValueError, RuntimeError) as error:
        raise PallasError(
            "Pinocchio cannot lock the joints that no arm uses:"
            f" {(str(error).splitlines() or [''])[0][:200]}"
        ) from None
    return model


def _ready(
    model: pin.Model,
    geometry: pin.GeometryModel,
    drafts: list[Draft],
    document: dict[str, Any],
    limits: dict[str, F64],
    limiter: Limiter,
) -> tuple[F64, list[str]]:
    """The ready posture, and the contacts that a derived one could not avoid; a configured posture
    is used unchanged.
    """
    low, high = limiter.span(limits)
    if "ready" in document:
        q = (low + high) / 2
        _assign({name: k for k, name in enumerate(limiter.names)}, q, document["ready"], "ready")
        outside = (q < limits["lower"]) | (q > limits["upper"])
        if outside.any():
            raise PallasError(
                "'ready' lies outside the position limits of joint"
                f" '{limiter.names[int(np.argmax(outside))]}'"
            )
        return q, []
    return automatic.ready_posture(
        model, geometry, low, high, [geometry_of(model, draft) for draft in drafts],
        collision.READY_MARGIN_M,
    )  # fmt: skip


def _workspace(
    model: pin.Model,
    geometry: pin.GeometryModel,
    arms: tuple[Arm, ...],
    drafts: list[Draft],
    document: dict[str, Any],
    q_ready: F64,
) -> tuple[F64, F64]:
    """The workspace box of the tips; adds the keep-out volumes to ``geometry``."""
    workspace = document.get("workspace", {})
    values.only(workspace, {"min", "max", "keep_out"}, "'workspace'")
    boxes = workspace.get("keep_out", [])
    if not isinstance(boxes, list):
        raise PallasError("workspace keep_out must be a list of mappings with 'centre' and 'size'")
    box_min = np.full(3, -10.0)
    box_max = np.full(3, 10.0)
    if drafts[0].found:
        lowest = automatic.lowest_point(model, geometry, q_ready)
        box_min, box_max = automatic.box(
            [arm.p_base_shoulder for arm in arms],
            [arm.reach for arm in arms],
            [arm.R_base_operator for arm in arms],
            lowest,
        )
    collision.add_keep_out(model, geometry, [_keep_out(entry) for entry in boxes])
    return (
        values.vector(workspace.get("min", box_min), 3, "workspace min"),
        values.vector(workspace.get("max", box_max), 3, "workspace max"),
    )


def _keep_out(entry: Any) -> tuple[F64, F64]:
    """Centre and size of a keep-out box."""
    if not isinstance(entry, dict):
        raise PallasError(
            "each entry of workspace keep_out must be a mapping with 'centre' and 'size'"
        )
    values.only(entry, {"centre", "size"}, "a keep-out volume")
    return values.vector(entry.get("centre"), 3, "keep_out centre"), values.vector(
        entry.get("size"), 3, "keep_out size"
    )


def _assign(columns: dict[str, int], q: F64, given: Any, what: str) -> None:
    """Set joint positions of a mapping in ``q``, by their index in ``columns``."""
    if not isinstance(given, dict):
        raise PallasError(f"'{what}' must be a mapping of joint names to rad")
    for joint, value in given.items():
        if str(joint) not in columns:
            raise PallasError(
                f"'{what}' names joint '{str(joint)[:80]}', which is not among"
                f" {values.some(columns)}"
            )
        q[columns[str(joint)]] = values.number(value, -100.0, 100.0, f"{what} {joint}")
