"""URDF files in the conventions that users bring, written in code."""

from pathlib import Path

INERTIAL = (
    '<inertial><mass value="1"/>'
    '<inertia ixx="0.01" iyy="0.01" izz="0.01" ixy="0" ixz="0" iyz="0"/></inertial>'
)
LIMIT = '<limit lower="-2.8" upper="2.8" effort="50" velocity="2"/>'


def link(name: str, length: float = 0.2) -> str:
    """A link: a thin cylinder along z."""
    return (
        f'<link name="{name}">{INERTIAL}<collision><origin xyz="0 0 {length / 2}"/>'
        f'<geometry><cylinder radius="0.03" length="{0.7 * length}"/></geometry></collision></link>'
    )


def joint(
    name: str,
    parent: str,
    child: str,
    axis: str = "0 1 0",
    xyz: str = "0 0 0.25",
    kind: str = "revolute",
    limit: str = LIMIT,
    extra: str = "",
) -> str:
    """A joint."""
    moves = "" if kind == "fixed" else f'<axis xyz="{axis}"/>{limit}'
    return (
        f'<joint name="{name}" type="{kind}"><parent link="{parent}"/><child link="{child}"/>'
        f'<origin xyz="{xyz}"/>{moves}{extra}</joint>'
    )


def robot(*parts: str, name: str = "r") -> str:
    """A URDF of these links and joints."""
    return f'<?xml version="1.0"?><robot name="{name}">{"".join(parts)}</robot>'


AXES = ("0 0 1", "0 1 0", "0 1 0", "0 0 1", "0 1 0", "0 0 1")


def six_axes(prefix: str = "", base: str = "base", **first: str) -> list[str]:
    """Links and joints of an arm of six joints on a link ``base``, with a frame `tool0`; ``first``
    changes its first joint.
    """
    parts = []
    parent = base
    for k, axis in enumerate(AXES, 1):
        child = f"{prefix}link_{k}"
        change = first if k == 1 else {}
        parts.append(link(child))
        parts.append(joint(f"{prefix}joint_{k}", parent, child, **{"axis": axis, **change}))
        parent = child
    parts.append(f'<link name="{prefix}tool0"/>')
    parts.append(joint(f"{prefix}tool", parent, f"{prefix}tool0", kind="fixed", xyz="0 0 0.15"))
    return parts


def write(folder: Path, text: str, name: str = "arm.urdf") -> Path:
    """Write a file; its path."""
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def two_arms(left: str = "left_", right: str = "right_", turned: bool = False) -> str:
    """A torso on a waist joint, with an arm on either side, legs and a head; ``turned``: it faces
    along -x.
    """
    side = -1 if turned else 1
    parts = [
        link("base", 0.4),
        link("torso", 0.6),
        joint("waist", "base", "torso", "0 0 1", "0 0 0.5"),
    ]
    for prefix, y in ((left, 0.25 * side), (right, -0.25 * side)):
        parts += six_axes(prefix, "torso", axis="0 0 1", xyz=f"0 {y} 0.4")
    parts += [link("head", 0.1), joint("head_pan", "torso", "head", "0 0 1", "0 0 0.75")]
    for prefix, y in (("left_", 0.1), ("right_", -0.1)):
        parent = "base"
        for k, name in enumerate(("hip", "knee", "ankle", "foot", "toe")):
            parts.append(link(f"{prefix}{name}_link", 0.1))
            xyz = f"0 {y} -0.1" if k == 0 else "0 0 -0.2"
            parts.append(joint(f"{prefix}{name}_joint", parent, f"{prefix}{name}_link", xyz=xyz))
            parent = f"{prefix}{name}_link"
    return robot(*parts)


GRIPPER_LIMIT = '<limit lower="0" upper="0.04" effort="20" velocity="0.1"/>'


def with_fingers(mimic: bool = True) -> str:
    """An arm with a parallel gripper whose second finger mimics the first."""
    follow = '<mimic joint="finger_a"/>' if mimic else ""
    return robot(
        link("base"),
        *six_axes(),
        link("hand", 0.08),
        joint("hand_fixed", "link_6", "hand", kind="fixed", xyz="0 0 0.2"),
        link("left_pad", 0.05),
        joint("finger_a", "hand", "left_pad", "0 1 0", "0 0.01 0.1", "prismatic", GRIPPER_LIMIT),
        link("right_pad", 0.05),
        joint(
            "finger_b",
            "hand",
            "right_pad",
            "0 -1 0",
            "0 -0.01 0.1",
            "prismatic",
            GRIPPER_LIMIT,
            follow,
        ),
    )


def parallelogram() -> str:
    """A palletising arm: the forearm's joint follows the upper arm's, so that the tool
    stays level.
    """
    level = '<mimic joint="lift" multiplier="-1" offset="0.2"/>'
    return robot(
        link("base"),
        link("turret", 0.1),
        joint("pan", "base", "turret", "0 0 1"),
        link("upper", 0.3),
        joint("lift", "turret", "upper", "0 1 0", "0 0 0.1"),
        link("fore", 0.3),
        joint("fore_follows", "upper", "fore", "0 1 0", "0 0 0.3", extra=level),
        link("wrist", 0.1),
        joint("bend", "fore", "wrist", "0 1 0", "0.1 0 0.3"),
        '<link name="tip"/>',
        joint("tip_fixed", "wrist", "tip", kind="fixed", xyz="0.15 0 0"),
    )
