"""An arm of a robot, from its entry in the configuration or from the URDF alone."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pinocchio as pin
from numpy.typing import NDArray

from hpstm_ros.retarget import automatic, structure, tree, values
from hpstm_ros.retarget.description import Arm, frame_id
from pallas_ros.body.errors import PallasError

F64 = NDArray[np.float64]


_DEFAULT_WEIGHTS = {"position": 1.0, "orientation": 0.02, "elbow": 0.003, "posture": 0.003}
_TURNING_DOF = 6  # with fewer joints, orientation is hardly controllable
_ELBOW_DOF = 7  # with fewer joints, the hand pose determines the elbow
_HUMAN_REACH_M = 0.7
"""Largest reach for two arms. At twice a human's reach, Baxter's hands collide, its elbows are in
its torso, and 0.25 m/s is too slow (mean error 72 mm, against 3 mm at this reach).
"""
SHORTEST_M = 0.02  # joints that move a tip by less only rotate it
_ARM_KEYS = {
    "name", "side", "tip", "elbow", "shoulder", "operator_rpy", "hand_rpy", "reach", "reach_min",
    "weights", "gripper",
}  # fmt: skip


@dataclass
class Draft:
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


def drafts_of(parts: tree.Tree, document: dict[str, Any]) -> list[Draft]:
    """The arms named in the configuration, or else the detected ones.

    Raises:
        PallasError: an entry is invalid, its tip is unknown, or the robot has no arm.
    """
    arms = document.get("arms")
    if not arms:
        return [
            Draft(
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
        drafts.append(Draft(arm, [joint.name for joint in parts.path(link) if joint.moves], False))
    return drafts


def measure(
    model: pin.Model, geometry: pin.GeometryModel, draft: Draft, q: F64, low: F64, high: F64
) -> None:
    """Set tip, joints, shoulder and reach of an arm.

    Args:
        model: of the moving joints.
        geometry: its convex shapes.
        draft: the arm.
        q: (n,) rad, posture in which the shoulder is measured.
        low, high: (n,) rad, ends of the joints' ranges.

    Raises:
        PallasError: a value is invalid, or no joint moves the tip.
    """
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


def _reach(model: pin.Model, draft: Draft, low: F64, high: F64) -> float:
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
    return max(0.95 * farthest, SHORTEST_M)


def sides(drafts: list[Draft]) -> list[Draft]:
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


def geometry_of(model: pin.Model, draft: Draft) -> automatic.ArmGeometry:
    """What the search for a ready posture needs to know of an arm."""
    return automatic.ArmGeometry(
        draft.tip,
        np.array([model.idx_qs[joint] for joint in draft.ids]),
        draft.shoulder,
        draft.reach,
        draft.R_base_operator,
        draft.fingers,
        draft.dof >= _TURNING_DOF,
    )


def arm_of(model: pin.Model, draft: Draft, q_ready: F64, parts: tree.Tree) -> Arm:
    """The finished arm; ``q_ready`` (n,) rad is the robot's ready posture.

    Raises:
        PallasError: a value of the configuration is invalid.
    """
    entry = draft.entry
    side = entry.get("side", "right")
    if side not in ("left", "right"):
        raise PallasError(f"an arm's side must be left or right, not {values.shown(side)}")
    weights = dict(_DEFAULT_WEIGHTS)
    if draft.reach <= SHORTEST_M:
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


def _elbow(model: pin.Model, data: pin.Data, draft: Draft, parts: tree.Tree) -> str:
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
