"""Detects the arms of a robot from its joints: which belong to an arm, a gripper, the trunk, legs
or head.

Names decide if they are informative, since manufacturers share a few dozen words; otherwise the
structure of the tree decides.
"""

import re
from dataclasses import dataclass

from hpstm_ros.retarget.tree import Joint, Tree
from pallas_ros.body.errors import PallasError


def _any(*words: str) -> re.Pattern[str]:
    """A pattern for any of the words in a name split by `_split`; digits may follow."""
    return re.compile(r"(?<![a-z])(" + "|".join(words) + r")(?![a-z])")


_FINGER = _any("fingers?", "jaws?", "thumb", "knuckle", "claw", "fingertip", "pinky")
_ON_A_HAND = _any("index", "middle", "ring", "little", "mrl")  # not fingers outside a hand
_GRIPPER = _any("gripper", "grip", "hand")
_WRIST = _any("roll", "pitch", "yaw", "rot", "rotation", "rotate", "wrist", "flex")
_NO_ARM = _any(
    "leg", "hip", "knee", "ankle", "foot", "toe", "thigh", "shin", "calf", "haa", "hfe", "kfe",
    "wheels?", "casters?", "tracks?", "neck", "head", "eyes?", "camera", "cam",
)  # fmt: skip
_ARM = _any("[lr]?arms?", "shoulder", "elbow", "wrist", "forearm", "hand")
_LEFT = _any("left[a-z]*", "f?l", "l(arm|shoulder|elbow|wrist|hand)")
_RIGHT = _any("right[a-z]*", "f?r", "r(arm|shoulder|elbow|wrist|hand)")
_TOOL = (  # names of tool frames, in order of preference
    _any("tcp", "grasp", "grasping", "gripper frame", "tool cent(er|re)"),
    _any("tool", "end effector", "ee", "eef"),
    _any("palm", "hand", "gripper"),
    _any("flange"),
)
_SENSOR = _any("camera", "cam", "imu", "ft", "laser", "lidar", "optical", "sensor", "rgb", "depth")
_ARM_JOINTS = 4
"""Minimum number of joints of an arm on a trunk; a shorter chain is a head, or a leg of a small
quadruped.
"""
_FINGER_JOINTS = 4
_FINGER_PARTS = 10
"""Maximum number of moving joints of a finger, including linkages and virtual joints."""
_MOST_GRIPPER_JOINTS = 3  # with more, it is a hand, which one opening does not describe


@dataclass(frozen=True)
class FoundArm:
    """A chain that can follow a human arm.

    Attributes:
        side: ``left`` or ``right`` according to names, else empty.
        tip: the last link before the gripper, or the tool frame on it.
        joints: driven and mimic joints from the shoulder on, without those of a trunk that carries
            more than this arm.
        gripper: driven joints of the gripper at the tip; empty for no gripper, or for a hand with
            many fingers.
    """

    side: str
    tip: str
    joints: tuple[Joint, ...]
    gripper: tuple[Joint, ...]


def find_arms(tree: Tree) -> list[FoundArm]:
    """The arms of a robot: a matching left and right arm if there are two, else the longest arm.

    Raises:
        PallasError: the robot has no arm.
    """
    gripper = _gripper_joints(tree)
    ends = [
        joint
        for joint in tree.joints
        if joint.moves and joint.name not in gripper and not _moving_below(tree, joint, gripper)
    ]
    arms = [arm for arm in (_arm(tree, end, ends, gripper) for end in ends) if arm.joints]
    if not arms:
        raise PallasError("the URDF has no joints that move an arm")
    candidates = [arm for arm in arms if not _NO_ARM.search(_words(arm))] or arms
    pair = _pair(tree, candidates)
    if pair is not None:
        return list(pair)
    return [max(candidates, key=lambda arm: (bool(_ARM.search(_words(arm))), _dof(arm)))]


def gripper_joints(tree: Tree, tip: str) -> tuple[Joint, ...]:
    """The driven joints of the gripper at a tip; empty if there is none, or for a hand with many
    fingers.
    """
    marked = _gripper_joints(tree)
    held = [joint for joint in tree.path(tip) if joint.moves and joint.name not in marked][-1:]
    under = tree.under(held[0].child if held else tree.root)
    found = [
        tree.above[link]
        for link in under
        if link in tree.above and tree.above[link].name in marked and tree.above[link].driven
    ]
    return tuple(found) if len(found) <= _MOST_GRIPPER_JOINTS else ()


def _gripper_joints(tree: Tree) -> set[str]:
    """Names of the moving joints that belong to a gripper or a hand."""
    found = {joint.name for joint in tree.joints if joint.moves and _is_finger(tree, joint)}
    for joint in tree.joints:
        # fingers without informative names: short branches at the end of an arm
        branches = [
            below
            for link in tree.rigid(joint.child)
            for below in tree.below[link]
            if below.moves and _depth(tree, below) <= _FINGER_JOINTS
        ]
        carried = [above for above in tree.path(joint.child) if above.moves]
        moving = [
            below for link in tree.rigid(joint.child) for below in tree.below[link] if below.moves
        ]
        if joint.moves and len(carried) >= _ARM_JOINTS and len(branches) == len(moving) > 1:
            found |= {below.name for below in branches}
    for joint in tree.joints:  # children of a finger belong to it
        if joint.moves and any(above.name in found for above in tree.path(joint.parent)):
            found.add(joint.name)
    return found


def _is_finger(tree: Tree, joint: Joint) -> bool:
    name = _split(joint.name)
    child = _split(joint.child)
    if _FINGER.search(name) or _FINGER.search(child):
        return True
    if _ON_A_HAND.search(name):
        carried = sum(above.moves for above in tree.path(joint.parent))
        parts = sum(tree.above[link].moves for link in tree.under(joint.child))
        return carried >= _ARM_JOINTS and parts <= _FINGER_PARTS
    if not _GRIPPER.search(name) or _WRIST.search(name):
        return False
    return _depth(tree, joint) <= 2  # with more, it is the wrist of a hand


def _depth(tree: Tree, joint: Joint) -> int:
    """The largest number of moving joints in a chain that starts with this joint."""
    below = [at for link in tree.rigid(joint.child) for at in tree.below[link] if at.moves]
    return 1 + max((_depth(tree, at) for at in below), default=0)


def _moving_below(tree: Tree, joint: Joint, gripper: set[str]) -> bool:
    return any(
        at.driven and at.name not in gripper
        for link in tree.under(joint.child)
        for at in tree.below[link]
    )


def _arm(tree: Tree, end: Joint, ends: list[Joint], gripper: set[str]) -> FoundArm:
    """The arm whose last joint is ``end``."""
    path = [joint for joint in tree.path(end.child) if joint.moves]
    others = [
        {joint.name for joint in tree.path(other.child)}
        for other in ends
        if other.name != end.name and other.driven
    ]
    shared = max(
        (k + 1 for k, joint in enumerate(path) if any(joint.name in other for other in others)),
        default=0,
    )
    if len([joint for joint in path[shared:] if joint.driven]) < _ARM_JOINTS:
        shared = 0
    tip = _tip(tree, end, gripper)
    return FoundArm(_side(path[shared:]), tip, tuple(path[shared:]), gripper_joints(tree, tip))


def _side(joints: list[Joint]) -> str:
    """``left`` or ``right`` according to the joints' names, else empty."""
    names = " ".join(_split(joint.name) for joint in joints)
    left = len(_LEFT.findall(names))
    right = len(_RIGHT.findall(names))
    if left == right:
        return ""
    return "left" if left > right else "right"


def _tip(tree: Tree, end: Joint, gripper: set[str]) -> str:
    """The tool frame among the links that move with a joint, else the parent of the gripper, else
    the last link that is not a sensor.
    """
    links = tree.rigid(end.child)
    fit = [
        link
        for link in links
        if not _SENSOR.search(_split(link)) and not _FINGER.search(_split(link))
    ]
    for pattern in _TOOL:
        if named := [link for link in fit if pattern.search(_split(link))]:
            return named[-1]
    for link in links:
        if any(joint.name in gripper for joint in tree.below[link]):
            return link
    return (fit or links)[-1]


def _pair(tree: Tree, arms: list[FoundArm]) -> tuple[FoundArm, FoundArm] | None:
    """A left and a right arm with the same, sufficient number of joints, or None."""
    pairs = []
    for a in arms:
        for b in arms:
            alike = [joint.kind for joint in a.joints] == [joint.kind for joint in b.joints]
            apart = not {joint.name for joint in a.joints} & {joint.name for joint in b.joints}
            sides = (a.side, b.side)
            if (
                alike
                and apart
                and _dof(a) >= _ARM_JOINTS
                and sides in (("left", "right"), ("", ""))
            ):
                pairs.append((a, b))
    if not pairs:
        return None
    best = max(pairs, key=lambda pair: (bool(_ARM.search(_words(pair[0]))), _dof(pair[0])))
    return best


def _dof(arm: FoundArm) -> int:
    return sum(joint.driven for joint in arm.joints)


def _words(arm: FoundArm) -> str:
    """The names of an arm's joints and links."""
    return " ".join(_split(f"{joint.name} {joint.child}") for joint in arm.joints)


def _split(name: str) -> str:
    """Split a name into lower-case words: ``LShoulderPitch_joint`` to ``l shoulder pitch
    joint``.
    """
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", name)
    return re.sub(r"[^a-z0-9]+", " ", spaced.lower()).strip()
