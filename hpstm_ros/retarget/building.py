"""Builds a `RobotDescription` from a robot's configuration or a bare URDF: values are validated,
missing ones derived.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pinocchio as pin
from numpy.typing import NDArray

from hpstm_ros.retarget import automatic, collision, grippers, structure, tree, urdf, values
from hpstm_ros.retarget.description import Arm, Gripper, RobotDescription, frame_id, own_joints
from hpstm_ros.retarget.joint_limits import Limiter, moving_limits
from pallas_ros.body.errors import PallasError

F64 = NDArray[np.float64]

_DEFAULT_WEIGHTS = {"position": 1.0, "orientation": 0.02, "elbow": 0.003, "posture": 0.003}
_TURNING_DOF = 6  # with fewer joints, orientation is hardly controllable
_ELBOW_DOF = 7  # with fewer joints, the hand pose determines the elbow
_HUMAN_REACH_M = 0.7
"""Largest reach for two arms. At twice a human's reach, Baxter's hands collide, its elbows are in
its torso, and 0.25 m/s is too slow (mean error 72 mm, against 3 mm at this reach).
"""
_SHORTEST_M = 0.02  # joints that move a tip by less only rotate it
_KEYS = {"urdf", "arms", "ready", "locked", "limits", "workspace", "tip_speed", "description"}
_ARM_KEYS = {
    "name", "side", "tip", "elbow", "shoulder", "operator_rpy", "hand_rpy", "reach", "reach_min",
    "weights", "gripper",
}  # fmt: skip


@dataclass
class _Draft:
    """An arm under construction: its entry in the configuration, and the joints that move it."""

    entry: dict[str, Any]
    joints: list[str]
    found: bool  # without a configuration
    tip: int = 0
    ids: list[int] = field(default_factory=list)
    shoulder: F64 = field(default_factory=lambda: np.zeros(3))
    reach: float = 0.0
    R_base_operator: F64 = field(default_factory=lambda: np.eye(3))
    fingers: F64 = field(default_factory=lambda: np.array([0.0, 0.0, 1.0]))

    @property
    def dof(self) -> int:
        """Number of joints that move the tip."""
        return len(self.ids)


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
    drafts = _drafts(parts, document)
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
        _measure(model, geometry, draft, q_middle, low, high)
    if len(drafts) == 2 and drafts[0].found:
        drafts = _sides(drafts)
    q_ready, touching = _ready(model, geometry, drafts, document, limits, limiter)
    collision.drop_touching(model, geometry, q_ready)

    def gripper(draft: _Draft) -> Gripper | None:
        tip = str(draft.entry["tip"])
        wanted = draft.entry.get("gripper")
        return grippers.gripper_of(parts, tip, wanted, moving, full, shapes, q_full)

    arms = tuple(
        replace(_arm(model, draft, q_ready, parts), gripper=gripper(draft)) for draft in drafts
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


def _remarks(drafts: list[_Draft], touching: list[str], parts: tree.Tree) -> list[str]:
    """Remarks on the detected arms, and on joints that cannot move, for the user."""
    remarks = [
        f"the joints rotate the tip '{draft.entry['tip']}' but do not translate it: only the"
        " orientation of the hand is followed; set 'tip' to a frame farther out in a"
        " configuration (pallas retarget --describe)"
        for draft in drafts
        if draft.reach <= _SHORTEST_M
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


def _drafts(parts: tree.Tree, document: dict[str, Any]) -> list[_Draft]:
    """The arms named in the configuration, or else the detected ones."""
    arms = document.get("arms")
    if not arms:
        return [
            _Draft(
                {
                    "name": arm.side or "arm",
                    "side": arm.side or "right",
                    "tip": arm.tip,
                },
                [joint.name for joint in arm.joints],
                True,
            )
            for arm in structure.find_arms(parts)
        ]
    if (
        not isinstance(arms, list)
        or not 1 <= len(arms) <= 2
        or not all(isinstance(arm, dict) and "tip" in arm for arm in arms)
    ):
        raise PallasError("'arms' must be a list of one or two mappings, each with at least 'tip'")
    drafts = []
    for arm in arms:
        values.only(arm, _ARM_KEYS, "an arm")
        tip = str(arm["tip"])
        link = tip if tip in parts.links else ""
        if not link and tip in parts.by_name:
            link = parts.by_name[tip].child
        if not link:
            raise PallasError(
                f"the URDF has no frame '{tip[:80]}'; it has {values.some(parts.links)}"
            )
        drafts.append(_Draft(arm, [joint.name for joint in parts.path(link) if joint.moves], False))
    return drafts


def _moving(parts: tree.Tree, drafts: list[_Draft], locked_at: Any) -> set[str]:
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


def _measure(
    model: pin.Model, geometry: pin.GeometryModel, draft: _Draft, q: F64, low: F64, high: F64
) -> None:
    """Set tip, joints, shoulder and reach of an arm."""
    entry = draft.entry
    draft.tip = frame_id(model, str(entry["tip"]))
    chain = _chain(model, draft.tip)
    draft.ids = [joint for joint in chain if model.nvs[joint] == 1]
    if not draft.ids:
        raise PallasError(f"no joint moves the tip '{entry['tip']}'")
    data = model.createData()
    pin.forwardKinematics(model, data, q)
    # The first joint only rotates the arm about its base: the second is the natural shoulder.
    draft.shoulder = np.array(data.oMi[chain[min(1, len(chain) - 1)]].translation)
    if "shoulder" in entry:
        draft.shoulder = values.vector(entry["shoulder"], 3, "shoulder")
    if "reach" in entry:
        draft.reach = values.number(entry["reach"], 0.05, 5.0, "reach")
    else:
        draft.reach = _reach(model, draft, low, high)
    if "operator_rpy" in entry:
        draft.R_base_operator = values.rotation(entry["operator_rpy"], "operator_rpy")
    elif draft.found:
        draft.R_base_operator = automatic.forward_axes(
            model, draft.tip, draft.shoulder, draft.reach, q
        )
    draft.fingers = automatic.fingers_axis(model, geometry, draft.tip, chain, q)


def _chain(model: pin.Model, frame: int) -> list[int]:
    """Ids of the joints from the base to a frame."""
    joint = int(model.frames[frame].parentJoint)
    chain = list[int]()
    while joint > 0:
        chain.insert(0, joint)
        joint = int(model.parents[joint])
    return chain


def _reach(model: pin.Model, draft: _Draft, low: F64, high: F64) -> float:
    """0.95 times the largest distance from the shoulder in sampled postures."""
    data = model.createData()
    random = np.random.default_rng(0)
    farthest = 0.0
    q = (low + high) / 2
    columns = [model.idx_qs[joint] for joint in draft.ids]
    for sample in random.uniform(low[columns], high[columns], (2000, len(columns))):
        q[columns] = sample
        pin.forwardKinematics(model, data, q)
        p = pin.updateFramePlacement(model, data, draft.tip).translation
        farthest = max(farthest, float(np.linalg.norm(p - draft.shoulder)))
    return max(0.95 * farthest, _SHORTEST_M)


def _sides(drafts: list[_Draft]) -> list[_Draft]:
    """Two detected arms in the order left, right: by name, or else by position; the operator faces
    in the robot's forward direction.
    """
    one, other = drafts
    for draft in drafts:
        draft.reach = min(draft.reach, _HUMAN_REACH_M)
    if one.entry["side"] == other.entry["side"]:
        arrow = one.shoulder - other.shoulder
        if arrow[1] < -1e-6 or (abs(arrow[1]) <= 1e-6 and arrow[0] > 0):
            one, other = other, one
        one.entry.update(name="left", side="left")
        other.entry.update(name="right", side="right")
    R = automatic.operator_axes(one.shoulder, other.shoulder)
    return [replace(draft, R_base_operator=R) for draft in (one, other)]


def _ready(
    model: pin.Model,
    geometry: pin.GeometryModel,
    drafts: list[_Draft],
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
        model, geometry, low, high, [_geometry_of(model, draft) for draft in drafts],
        collision.READY_MARGIN_M,
    )  # fmt: skip


def _geometry_of(model: pin.Model, draft: _Draft) -> automatic.ArmGeometry:
    return automatic.ArmGeometry(
        draft.tip,
        np.array([model.idx_qs[joint] for joint in draft.ids]),
        draft.shoulder,
        draft.reach,
        draft.R_base_operator,
        draft.fingers,
        draft.dof >= _TURNING_DOF,
    )


def _arm(model: pin.Model, draft: _Draft, q_ready: F64, parts: tree.Tree) -> Arm:
    entry = draft.entry
    side = entry.get("side", "right")
    if side not in ("left", "right"):
        raise PallasError(f"an arm's side must be left or right, not {values.shown(side)}")
    weights = dict(_DEFAULT_WEIGHTS)
    if draft.reach <= _SHORTEST_M:
        weights.update(position=0.0, elbow=0.0)
    elif draft.dof < _TURNING_DOF:
        weights.update(orientation=0.002, elbow=0.0)
    given = entry.get("weights", {})
    values.only(given, set(weights), "'weights'")
    weights.update(
        {key: values.number(value, 0.0, 100.0, f"weight {key}") for key, value in given.items()}
    )
    data = model.createData()
    pin.forwardKinematics(model, data, q_ready)
    R_base_tip = np.array(pin.updateFramePlacement(model, data, draft.tip).rotation)
    elbow = None if entry.get("elbow") is None else str(entry["elbow"])
    if elbow is None and draft.found and draft.dof >= _ELBOW_DOF:
        elbow = _elbow(model, data, draft, parts)
    if elbow is not None:
        frame_id(model, elbow)
    R_hand_tip = values.rotation(entry.get("hand_rpy", [0, 90, 0]), "hand_rpy")
    if draft.found:
        R_hand_tip = automatic.hand_axes(draft.fingers, R_base_tip, draft.R_base_operator)
    return Arm(
        name=str(entry.get("name", "arm")),
        side=str(side),
        tip=str(entry["tip"]),
        elbow=elbow,
        p_base_shoulder=draft.shoulder,
        R_base_operator=draft.R_base_operator,
        R_hand_tip=R_hand_tip,
        reach=draft.reach,
        reach_min=values.number(
            entry.get("reach_min", 0.25 * draft.reach), 0.0, draft.reach, "reach_min"
        ),
        weights=weights,
    )


def _elbow(model: pin.Model, data: pin.Data, draft: _Draft, parts: tree.Tree) -> str:
    """The link of the joint midway between shoulder and tip."""
    tip = data.oMf[draft.tip].translation
    joints = draft.ids[1:-1]
    middles = [
        min(
            float(np.linalg.norm(data.oMi[joint].translation - end))
            for end in (draft.shoulder, tip)
        )
        for joint in joints
    ]
    return parts.modelled(str(model.names[joints[int(np.argmax(middles))]])).child


def _workspace(
    model: pin.Model,
    geometry: pin.GeometryModel,
    arms: tuple[Arm, ...],
    drafts: list[_Draft],
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
