"""A robot arm as data: a URDF, and a short YAML that says how an operator's arm stands to it (docs/guide/robots.md)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pinocchio as pin
from numpy.typing import NDArray

from hpstm_ros.retarget import collision, urdf
from pallas_ros.body.errors import PallasError
from pallas_ros.body.resources import share
from pallas_ros.files.opening import exists
from pallas_ros.files.yaml_text import load_yaml

F64 = NDArray[np.float64]

DEFAULT_ACCELERATION = 5.0
DEFAULT_JERK = 100.0
_LARGEST = 1e6
"""No length, angle, speed, acceleration or jerk of a robot is beyond this; what is larger makes later sums overflow."""
_DEFAULT_WEIGHTS = {"position": 1.0, "orientation": 0.02, "elbow": 0.003, "posture": 0.003}


@dataclass(frozen=True, eq=False)
class Arm:
    """One chain of a robot, and how a human arm maps to it.

    Attributes:
        name: of the chain.
        side: the human arm it follows when arms are mapped to the same side.
        tip: frame that follows the hand.
        elbow: frame that follows the elbow's direction, or None where the arm has no such freedom.
        p_base_shoulder: (3,) m, where in the robot's base frame the operator's shoulder is.
        R_base_operator: (3, 3) the operator's forward, left, up in the base frame.
        R_hand_tip: (3, 3) the tip's axes in the hand's (x along the fingers, z out of the back of the hand).
        reach: m from the shoulder, what the operator's straight arm is scaled to.
        reach_min: m from the shoulder, nearer than which the tip is not sent.
        weights: of the tasks `position` (1/m^2), `orientation` (1/rad^2), `elbow` (1/m^2), `posture` (1/rad^2), as cost's roots.
    """

    name: str
    side: str
    tip: str
    elbow: str | None
    p_base_shoulder: F64
    R_base_operator: F64
    R_hand_tip: F64
    reach: float
    reach_min: float
    weights: dict[str, float]


@dataclass(frozen=True, eq=False)
class RobotDescription:
    """A robot: its model, with the joints that no arm uses locked, its arms, limits and workspace.

    Attributes:
        name: of the configuration or the file.
        path: of the URDF.
        text: of the URDF, as read.
        model: Pinocchio's, of the moving joints alone.
        locked: full model's joint ids that are locked, and the full configuration they are locked in.
        geometry: convex shapes with collision pairs, keep-out volumes of the workspace included.
        joint_names: of the moving joints, in the model's order.
        arms: one, or two for a two-armed robot.
        q_ready: (n,) rad, the posture to prefer.
        lower, upper: (n,) rad, position limits.
        velocity, acceleration, jerk: (n,) rad/s and its derivatives; the URDF's or the YAML's, the stricter.
        effort: (n,) Nm; 0 where the URDF does not say.
        box_min, box_max: (3,) m, where tips may be, in the base frame.
        tip_speed: m/s, the limit of each tip's speed that the robot's own configuration asks for, or None.
    """

    name: str
    path: Path
    text: str
    full: pin.Model
    model: pin.Model
    locked: list[int]
    q_full: F64
    geometry: pin.GeometryModel
    joint_names: tuple[str, ...]
    arms: tuple[Arm, ...]
    q_ready: F64
    lower: F64
    upper: F64
    velocity: F64
    acceleration: F64
    jerk: F64
    effort: F64
    box_min: F64
    box_max: F64
    tip_speed: float | None

    @property
    def dof(self) -> int:
        """Number of moving joints."""
        return len(self.joint_names)

    def frame(self, name: str) -> int:
        """Pinocchio's id of a frame."""
        return int(self.model.getFrameId(name))

    def visual(self) -> pin.GeometryModel:
        """The visual meshes on the moving joints, for rendering."""
        full = urdf.geometry(self.path, self.text, self.full, pin.GeometryType.VISUAL)
        return pin.buildReducedModel(self.full, full, self.locked, self.q_full)[1]


def ready_robots() -> list[str]:
    """Names of the robots with a configuration in `config/robots`."""
    return sorted(path.stem for path in (share() / "config" / "robots").glob("*.yaml"))


def load_robot(name_or_path: str | Path) -> RobotDescription:
    """A robot by the name of its configuration (`ready_robots`), by the path of a YAML, or by that of a bare URDF.

    A bare URDF gets a configuration from its longest chain: good enough to see it move, and a start for a YAML.

    Raises:
        PallasError: there is no such robot, or its files are not usable.
    """
    text = str(name_or_path)
    if text.endswith((".yaml", ".yml")):
        path = Path(text).expanduser()
    elif text.endswith((".urdf", ".xml")):
        return _build(Path(text).stem, {"urdf": text}, Path.cwd())
    else:
        path = share() / "config" / "robots" / f"{text}.yaml"
        if "/" in text or not exists(path):
            raise PallasError(
                f"no robot '{text}': give one of {', '.join(ready_robots())}, or the path of a URDF or YAML file"
            )
    document = load_yaml(path, "robot configuration")
    if not isinstance(document, dict) or "urdf" not in document:
        raise PallasError(f"{path}: a robot's configuration is a mapping with at least 'urdf'")
    try:
        return _build(path.stem, document, path.parent)
    except PallasError as error:
        raise PallasError(f"{path}: {error}") from None


_KEYS = {"urdf", "arms", "ready", "locked", "limits", "workspace", "tip_speed", "description"}
_ARM_KEYS = {
    "name",
    "side",
    "tip",
    "elbow",
    "shoulder",
    "operator_rpy",
    "hand_rpy",
    "reach",
    "reach_min",
    "weights",
}


def _build(name: str, document: dict[str, Any], folder: Path) -> RobotDescription:
    _only(document, _KEYS, "the configuration")
    path = urdf.find(str(document["urdf"]), folder)
    text = urdf.read(path)
    full = urdf.full_model(path, text)
    arms = document.get("arms") or [{"tip": _farthest_frame(full)}]
    if (
        not isinstance(arms, list)
        or not 1 <= len(arms) <= 2
        or not all(isinstance(arm, dict) and "tip" in arm for arm in arms)
    ):
        raise PallasError("'arms' is a list of one or two mappings, each with at least 'tip'")
    q_full = pin.neutral(full)
    q_full = np.clip(q_full, full.lowerPositionLimit, full.upperPositionLimit)
    _assign(full, q_full, document.get("locked", {}), "locked")
    keep = {joint for arm in arms for joint in _chain(full, str(arm["tip"]))} - {
        full.getJointId(joint) for joint in document.get("locked", {})
    }
    locked = [joint for joint in range(1, full.njoints) if joint not in keep]
    model = pin.buildReducedModel(full, locked, q_full)
    q_ready = (model.lowerPositionLimit + model.upperPositionLimit) / 2
    _assign(model, q_ready, document.get("ready", {}), "ready")
    limits = _limits(model, document.get("limits", {}))
    if ((q_ready < limits["lower"]) | (q_ready > limits["upper"])).any():
        raise PallasError("'ready' lies outside the position limits")
    workspace = document.get("workspace", {})
    _only(workspace, {"min", "max", "keep_out"}, "'workspace'")
    boxes = workspace.get("keep_out", [])
    if not isinstance(boxes, list):
        raise PallasError("workspace keep_out is a list of mappings with 'centre' and 'size'")
    shapes = urdf.geometry(path, text, full, pin.GeometryType.COLLISION)
    shapes = pin.buildReducedModel(full, shapes, locked, q_full)[1]
    geometry = collision.convex_model(model, shapes, q_ready)
    collision.add_keep_out(model, geometry, [_keep_out(entry) for entry in boxes])
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
        joint_names=tuple(str(joint) for joint in list(model.names)[1:]),
        arms=tuple(_arm(model, limits, q_ready, arm) for arm in arms),
        q_ready=q_ready,
        effort=np.array(model.effortLimit),
        box_min=_vector(workspace.get("min", [-10.0] * 3), 3, "workspace min"),
        box_max=_vector(workspace.get("max", [10.0] * 3), 3, "workspace max"),
        tip_speed=None if tip_speed is None else _number(tip_speed, 0.01, 5.0, "tip_speed"),
        **limits,
    )


def _arm(model: pin.Model, limits: dict[str, F64], q_ready: F64, entry: dict[str, Any]) -> Arm:
    _only(entry, _ARM_KEYS, "an arm")
    tip, elbow = str(entry["tip"]), entry.get("elbow")
    for frame in (tip, elbow):
        if frame is not None and not model.existFrame(str(frame)):
            raise PallasError(f"the URDF has no frame '{frame}'")
    side = entry.get("side", "right")
    if side not in ("left", "right"):
        raise PallasError(f"an arm's side is left or right, not {side!r}")
    weights = dict(_DEFAULT_WEIGHTS)
    if len(_chain(model, tip)) < 6:
        weights.update(orientation=0.002, elbow=0.0)
    given = entry.get("weights", {})
    _only(given, set(weights), "'weights'")
    weights.update(
        {key: _number(value, 0.0, 100.0, f"weight {key}") for key, value in given.items()}
    )
    shoulder = (
        _vector(entry["shoulder"], 3, "shoulder")
        if "shoulder" in entry
        else _first_joint(model, tip, q_ready)
    )
    far = (
        _reach(model, limits, tip, shoulder)
        if "reach" not in entry
        else _number(entry["reach"], 0.05, 5.0, "reach")
    )
    return Arm(
        name=str(entry.get("name", "arm")),
        side=str(side),
        tip=tip,
        elbow=None if elbow is None else str(elbow),
        p_base_shoulder=shoulder,
        R_base_operator=_rotation(entry.get("operator_rpy", [0, 0, 0]), "operator_rpy"),
        R_hand_tip=_rotation(entry.get("hand_rpy", [0, 90, 0]), "hand_rpy"),
        reach=far,
        reach_min=_number(entry.get("reach_min", 0.25 * far), 0.0, far, "reach_min"),
        weights=weights,
    )


def _limits(model: pin.Model, entry: dict[str, Any]) -> dict[str, F64]:
    """Limits of the moving joints: the URDF's, the YAML's where it is stricter, the defaults where neither says."""
    _only(entry, {"margin", "velocity", "acceleration", "jerk", "lower", "upper"}, "'limits'")
    n, margin = model.nq, _number(entry.get("margin", 0.01), 0.0, 0.5, "limits margin")
    lower, upper = (
        np.array(model.lowerPositionLimit) + margin,
        np.array(model.upperPositionLimit) - margin,
    )
    stated = np.array(model.velocityLimit)
    velocity = np.where(stated > 0, stated, 1.0)
    if "velocity" in entry:
        velocity = np.minimum(velocity, _vector(entry["velocity"], n, "limits velocity"))
    if "lower" in entry:
        lower = np.maximum(lower, _vector(entry["lower"], n, "limits lower"))
    if "upper" in entry:
        upper = np.minimum(upper, _vector(entry["upper"], n, "limits upper"))
    acceleration = _vector(
        entry.get("acceleration", DEFAULT_ACCELERATION), n, "limits acceleration"
    )
    jerk = _vector(entry.get("jerk", DEFAULT_JERK), n, "limits jerk")
    if (lower >= upper).any() or min(velocity.min(), acceleration.min(), jerk.min()) <= 0:
        raise PallasError(
            "limits must leave room to move: lower below upper, velocity, acceleration and jerk above 0"
        )
    return {
        "lower": lower,
        "upper": upper,
        "velocity": velocity,
        "acceleration": acceleration,
        "jerk": jerk,
    }


def _chain(model: pin.Model, tip: str) -> list[int]:
    """Ids of the joints from the base to a frame."""
    if not model.existFrame(tip):
        raise PallasError(
            f"the URDF has no frame '{tip}'; it has {', '.join(f.name for f in model.frames if f.type == pin.FrameType.BODY)}"
        )
    joint, chain = int(model.frames[model.getFrameId(tip)].parentJoint), list[int]()
    while joint > 0:
        chain.insert(0, joint)
        joint = int(model.parents[joint])
    return chain


def _farthest_frame(model: pin.Model) -> str:
    """The body at the end of the longest chain; of several on the last joint, the last."""
    bodies = [frame.name for frame in model.frames if frame.type == pin.FrameType.BODY]
    if not bodies:
        raise PallasError("the URDF has no links")
    longest = max(len(_chain(model, name)) for name in bodies)
    return str([name for name in bodies if len(_chain(model, name)) == longest][-1])


def _first_joint(model: pin.Model, tip: str, q: F64) -> F64:
    """Where the second joint of a chain is (the first only turns the arm about its foot), the natural shoulder."""
    data = model.createData()
    pin.forwardKinematics(model, data, q)
    chain = _chain(model, tip)
    return np.array(data.oMi[chain[min(1, len(chain) - 1)]].translation)


def _reach(model: pin.Model, limits: dict[str, F64], tip: str, shoulder: F64) -> float:
    """0.95 of the largest distance from the shoulder that sampled postures reach."""
    data, frame, random = model.createData(), model.getFrameId(tip), np.random.default_rng(0)
    farthest = 0.0
    for q in random.uniform(limits["lower"], limits["upper"], (2000, model.nq)):
        pin.framesForwardKinematics(model, data, q)
        farthest = max(farthest, float(np.linalg.norm(data.oMf[frame].translation - shoulder)))
    return 0.95 * farthest


def _keep_out(entry: Any) -> tuple[F64, F64]:
    """A keep-out box's centre and size."""
    if not isinstance(entry, dict):
        raise PallasError("each of workspace keep_out is a mapping with 'centre' and 'size'")
    _only(entry, {"centre", "size"}, "a keep-out volume")
    return _vector(entry.get("centre"), 3, "keep_out centre"), _vector(
        entry.get("size"), 3, "keep_out size"
    )


def _assign(model: pin.Model, q: F64, values: Any, what: str) -> None:
    if not isinstance(values, dict):
        raise PallasError(f"'{what}' is a mapping of joint names to rad")
    for joint, value in values.items():
        if not model.existJointName(str(joint)):
            raise PallasError(
                f"'{what}' names joint '{joint}', which is not among {', '.join(list(model.names)[1:])}"
            )
        q[model.joints[model.getJointId(str(joint))].idx_q] = _number(
            value, -100.0, 100.0, f"{what} {joint}"
        )


def _only(entry: Any, keys: set[str], what: str) -> None:
    if not isinstance(entry, dict):
        raise PallasError(f"{what} must be a mapping")
    for key in entry:
        if key not in keys:
            raise PallasError(
                f"{what} has an unknown key '{key}'; known are {', '.join(sorted(keys))}"
            )


def _number(value: Any, low: float, high: float, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise PallasError(f"{what} is {value!r}, but must be a number from {low} to {high}")
    return float(value)


def _vector(value: Any, n: int, what: str) -> F64:
    """``n`` numbers; a single one stands for all."""
    try:
        out = np.array(value, dtype=np.float64)
    except (TypeError, ValueError):
        out = np.array(np.nan)
    if out.shape == ():
        out = np.full(n, float(out))
    if out.shape != (n,) or not (np.abs(out) <= _LARGEST).all():
        shown = str(value)[:80]
        raise PallasError(f"{what} is {shown}, but must be {n} numbers within ±{_LARGEST:g}")
    return out


def _rotation(degrees: Any, what: str) -> F64:
    """Roll, pitch, yaw in degrees to a rotation matrix."""
    return np.array(pin.rpy.rpyToMatrix(np.deg2rad(_vector(degrees, 3, what))))
