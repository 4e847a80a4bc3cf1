"""Where the arms of a robot are, from its joints alone: which joints belong to an arm, to a
gripper, to the trunk, to legs and head.

Names decide where they say something, since robot makers agree on a few dozen words; where they do
not, the shape of the tree does.
"""

import re
from dataclasses import dataclass

from hpstm_ros.retarget.tree import Joint, Tree
from pallas_ros.body.errors import PallasError


def _any(*words: str) -> re.Pattern[str]:
    """Finds any of the words in a name that `_split` has taken apart; digits may follow."""
    return re.compile(r"(?<![a-z])(" + "|".join(words) + r")(?![a-z])")


_FINGER = _any("fingers?", "jaws?", "thumb", "knuckle", "claw", "fingertip", "pinky")
_ON_A_HAND = _any("index", "middle", "ring", "little", "mrl")  # elsewhere these mean other things
_GRIPPER = _any("gripper", "grip", "hand")
_WRIST = _any("roll", "pitch", "yaw", "rot", "rotation", "rotate", "wrist", "flex")
_NO_ARM = _any(
    "leg", "hip", "knee", "ankle", "foot", "toe", "thigh", "shin", "calf", "haa", "hfe", "kfe",
    "wheels?", "casters?", "tracks?", "neck", "head", "eyes?", "camera", "cam",
)  # fmt: skip
_ARM = _any("[lr]?arms?", "shoulder", "elbow", "wrist", "forearm", "hand")
_LEFT = _any("left[a-z]*", "f?l", "l(arm|shoulder|elbow|wrist|hand)")
_RIGHT = _any("right[a-z]*", "f?r", "r(arm|shoulder|elbow|wrist|hand)")
_TOOL = (  # a link of one of these names, the first named first, is where a tool is held
    _any("tcp", "grasp", "grasping", "gripper frame", "tool cent(er|re)"),
    _any("tool", "end effector", "ee", "eef"),
    _any("palm", "hand", "gripper"),
    _any("flange"),
)
_SENSOR = _any("camera", "cam", "imu", "ft", "laser", "lidar", "optical", "sensor", "rgb", "depth")
_ARM_JOINTS = 4
"""An arm that hangs on a trunk has so many joints at least; a shorter chain is a head, or a leg of
a small quadruped.
"""
_FINGER_JOINTS = 4
_FINGER_PARTS = 10
"""Moving joints of a finger: in a row, and with its rods and virtual ones."""
_MOST_GRIPPER_JOINTS = 3  # what moves more is a hand, whose fingers one opening does not describe


@dataclass(frozen=True)
class FoundArm:
    """A chain that can follow an arm.

    Attributes:
        side: ``left`` or ``right`` where names tell, else empty.
        tip: the last link before the gripper, or the frame on it that is meant for tools.
        joints: its own, driven or following, from the shoulder on: those of a trunk that carries
            more than this arm are not among them.
        gripper: driven joints of a gripper beyond the tip; none where there is none, or a hand of
            many fingers.
    """

    side: str
    tip: str
    joints: tuple[Joint, ...]
    gripper: tuple[Joint, ...]


def find_arms(tree: Tree) -> list[FoundArm]:
    """The arms of a robot: a left and a right one where there are two alike, else one, the longest.

    Raises:
        PallasError: nothing that moves is an arm.
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
    """The driven joints of the gripper that a tip carries; none where there is none, or where it is
    a hand of many fingers.
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
        # fingers without a name that says so: short branches at the end of an arm
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
    for joint in tree.joints:  # what hangs on a finger is one
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
    return _depth(tree, joint) <= 2  # what carries more is the wrist of a hand


def _depth(tree: Tree, joint: Joint) -> int:
    """The most moving joints in a row from this one on."""
    below = [at for link in tree.rigid(joint.child) for at in tree.below[link] if at.moves]
    return 1 + max((_depth(tree, at) for at in below), default=0)


def _moving_below(tree: Tree, joint: Joint, gripper: set[str]) -> bool:
    return any(
        at.driven and at.name not in gripper
        for link in tree.under(joint.child)
        for at in tree.below[link]
    )


def _arm(tree: Tree, end: Joint, ends: list[Joint], gripper: set[str]) -> FoundArm:
    """The arm that ends with a joint."""
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
    """``left`` or ``right``, where the joints' names say so."""
    names = " ".join(_split(joint.name) for joint in joints)
    left = len(_LEFT.findall(names))
    right = len(_RIGHT.findall(names))
    if left == right:
        return ""
    return "left" if left > right else "right"


def _tip(tree: Tree, end: Joint, gripper: set[str]) -> str:
    """The frame meant for tools among the links that move with a joint, else the one that carries
    the gripper, else the last that is not a sensor's.
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
    """A left and a right arm with the same joints, of which there must be enough."""
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
    """What an arm's joints and their links are called."""
    return " ".join(_split(f"{joint.name} {joint.child}") for joint in arm.joints)


def _split(name: str) -> str:
    """A name in lower-case words: ``LShoulderPitch_joint`` as ``l shoulder pitch joint``."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", name)
    return re.sub(r"[^a-z0-9]+", " ", spaced.lower()).strip()
