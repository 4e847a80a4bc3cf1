"""A solid human figure of capsules on the 22 joints, used by RViz, web viewer, videos and
reports.
"""

from dataclasses import dataclass
from xml.sax.saxutils import quoteattr

import numpy as np
from numpy.typing import NDArray

from pallas_ros.body import rotations
from pallas_ros.body.names import JOINT_INDEX, JOINTS, PARENTS, WORLD_FRAME
from pallas_ros.body.skeleton import Skeleton

F64 = NDArray[np.float64]

COLOURS: dict[str, tuple[int, int, int]] = {
    "skin": (226, 178, 148),
    "shirt": (66, 122, 176),
    "trousers": (70, 76, 92),
    "shoes": (48, 48, 54),
}


@dataclass(frozen=True, eq=False)
class Capsule:
    """One part of the figure: ``start`` and ``end`` (3,) m in the joint's frame, ``radius`` m,
    ``part`` a key of `COLOURS`.
    """

    joint: int
    start: F64
    end: F64
    radius: float
    part: str


def figure(skeleton: Skeleton) -> tuple[Capsule, ...]:
    """The figure of an operator; radii are shares of stature, chosen for appearance only."""
    h = skeleton.height
    out: list[Capsule] = []

    def add(
        joint: str,
        start: tuple[float, float, float] | F64,
        end: tuple[float, float, float] | F64,
        radius: float,
        part: str,
    ) -> None:
        out.append(
            Capsule(
                JOINT_INDEX[joint],
                np.array(start, dtype=float),
                np.array(end, dtype=float),
                radius * h,
                part,
            )
        )

    def bone(joint: str) -> F64:
        return np.asarray(skeleton.offsets[JOINT_INDEX[joint]])

    nothing = np.zeros(3)
    add("pelvis", (0, -0.030 * h, -0.012 * h), (0, 0.030 * h, -0.012 * h), 0.062, "trousers")
    add("spine1", (0, -0.022 * h, 0.010 * h), (0, 0.022 * h, 0.010 * h), 0.060, "shirt")
    add("spine2", (0, -0.026 * h, 0.012 * h), (0, 0.026 * h, 0.012 * h), 0.061, "shirt")
    add("spine3", (0, -0.042 * h, 0.048 * h), (0, 0.042 * h, 0.048 * h), 0.064, "shirt")
    add("neck", nothing, bone("head"), 0.031, "skin")
    add("head", (0.010 * h, 0, 0.026 * h), (0.014 * h, 0, skeleton.head - 0.050 * h), 0.050, "skin")
    for side, sign in (("left", 1.0), ("right", -1.0)):
        add(f"{side}_collar", nothing, bone(f"{side}_shoulder"), 0.036, "shirt")
        add(f"{side}_shoulder", nothing, bone(f"{side}_elbow") * 0.55, 0.031, "shirt")
        add(f"{side}_shoulder", bone(f"{side}_elbow") * 0.5, bone(f"{side}_elbow"), 0.025, "skin")
        add(f"{side}_elbow", nothing, bone(f"{side}_wrist"), 0.021, "skin")
        add(f"{side}_wrist", nothing, (0, sign * 0.62 * skeleton.hand, 0), 0.019, "skin")
        add(f"{side}_hip", nothing, bone(f"{side}_knee"), 0.043, "trousers")
        add(f"{side}_knee", nothing, bone(f"{side}_ankle"), 0.030, "trousers")
        add(
            f"{side}_ankle",
            (-0.020 * h, 0, -0.5 * skeleton.sole),
            bone(f"{side}_foot"),
            0.020,
            "shoes",
        )
        add(f"{side}_foot", nothing, (0.030 * h, 0, 0), 0.017, "shoes")
    return tuple(out)


def place(
    capsules: tuple[Capsule, ...], positions: F64, q_world_joint: F64
) -> tuple[F64, F64, F64]:
    """Place the figure in a pose: starts (n, 3) m, ends (n, 3) m in the world, radii (n,) m.

    Args:
        capsules: from `figure`.
        positions: (22, 3) m.
        q_world_joint: (22, 4) xyzw.
    """
    joints = np.array([capsule.joint for capsule in capsules])
    matrices = rotations.to_matrix(q_world_joint)[joints]
    starts = positions[joints] + np.einsum(
        "nij,nj->ni", matrices, np.array([capsule.start for capsule in capsules])
    )
    ends = positions[joints] + np.einsum(
        "nij,nj->ni", matrices, np.array([capsule.end for capsule in capsules])
    )
    return starts, ends, np.array([capsule.radius for capsule in capsules])


REP155_LINKS = {
    "pelvis": "body",
    "spine1": "waist",
    "spine3": "torso",
    "head": "head",
    **{
        f"{side}_{joint}": f"{side[0]}_{joint}"
        for side in ("left", "right")
        for joint in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle", "foot", "collar")
    },
}
"""Joint name to REP-155 frame name without the body id; joints that REP-155 does not name (spine2,
neck, collars, feet) keep their names.
"""

AXES = ("x", "y", "z")


def frame_name(joint: str, body_id: str) -> str:
    """The TF frame of a joint: ``body_<id>`` for the pelvis, ``l_elbow_<id>``, ... (REP-155)."""
    return f"{REP155_LINKS.get(joint, joint)}_{body_id}"


def urdf_joint_names(body_id: str) -> tuple[str, ...]:
    """Names of the 63 revolute joints of `human_urdf`: for each body joint except the pelvis about
    x, then y, then z (intrinsic).
    """
    return tuple(f"{axis}_{frame_name(joint, body_id)}" for joint in JOINTS[1:] for axis in AXES)


def urdf_joint_angles(q_parent_joint: F64) -> F64:
    """Angles (63,) rad of `urdf_joint_names` from the 22 orientations relative to the parent, (22,
    4) xyzw.

    Intrinsic x-y-z; y within ±90°. At y = ±90°, x is the total rotation of x and z.
    """
    m = rotations.to_matrix(q_parent_joint[1:])
    y = np.arcsin(np.clip(m[:, 0, 2], -1.0, 1.0))
    locked = np.abs(m[:, 0, 2]) > 1 - 1e-9
    x = np.where(
        locked,
        np.arctan2(m[:, 1, 0], m[:, 1, 1]) * np.sign(m[:, 0, 2]),
        np.arctan2(-m[:, 1, 2], m[:, 2, 2]),
    )
    z = np.where(locked, 0.0, np.arctan2(-m[:, 0, 1], m[:, 0, 0]))
    return np.stack((x, y, z), axis=-1).reshape(-1)


def link_transforms(
    positions: F64, q_world_joint: F64, angles: F64, body_id: str
) -> list[tuple[str, str, F64, F64]]:
    """Parent frame, child frame, position (3,) m and orientation (4,) xyzw of each of the 64 links
    of `human_urdf` in a pose.

    Args:
        positions: (22, 3) m, world.
        q_world_joint: (22, 4) xyzw, world.
        angles: (63,) from `urdf_joint_angles`.
        body_id: of the person.
    """
    out = [(WORLD_FRAME, frame_name(JOINTS[0], body_id), positions[0], q_world_joint[0])]
    parents = list(PARENTS[1:])
    offsets = rotations.rotate(
        rotations.inverse(q_world_joint[parents]), positions[1:] - positions[parents]
    )
    half = angles.reshape(-1, 3) / 2
    turns = np.zeros((len(parents), 3, 4))
    turns[:, [0, 1, 2], [0, 1, 2]] = np.sin(half)
    turns[:, :, 3] = np.cos(half)
    for index, joint in enumerate(JOINTS[1:]):
        link = frame_name(joint, body_id)
        chain = [frame_name(JOINTS[parents[index]], body_id), f"x_{link}", f"y_{link}", link]
        for number in range(3):
            out.append(
                (
                    chain[number],
                    chain[number + 1],
                    offsets[index] if number == 0 else np.zeros(3),
                    turns[index, number],
                )
            )
    return out


def human_urdf(skeleton: Skeleton, body_id: str) -> str:
    """The operator's URDF: REP-155 links with simple solid shapes, three revolute joints at every
    body joint.

    Its root link is ``body_<id>``. The links between the three joints are named ``<axis>_<link>``.
    """
    lines = [f"<robot name={quoteattr('human_' + body_id)}>"]
    for name, (r, g, b) in COLOURS.items():
        lines.append(
            f'  <material name="{name}"><color rgba="{r / 255:.3f} {g / 255:.3f} {b / 255:.3f}'
            ' 1"/></material>'
        )
    capsules = figure(skeleton)
    for index, joint in enumerate(JOINTS):
        link = frame_name(joint, body_id)
        shapes = [
            line
            for capsule in capsules
            if capsule.joint == index
            for line in _urdf_capsule(capsule)
        ]
        lines += [f"  <link name={quoteattr(link)}>", *shapes, "  </link>"]
        if index:
            lines += _urdf_joints(
                link, frame_name(JOINTS[PARENTS[index]], body_id), skeleton.offsets[index]
            )
    return "\n".join([*lines, "</robot>\n"])


def _urdf_joints(link: str, parent: str, offset: F64) -> list[str]:
    lines = []
    chain = [parent, f"x_{link}", f"y_{link}", link]
    for number, axis in enumerate(AXES):
        if number < 2:
            lines.append(f"  <link name={quoteattr(chain[number + 1])}/>")
        origin = " ".join(f"{value:.5f}" for value in (offset if number == 0 else np.zeros(3)))
        direction = " ".join("1" if other == axis else "0" for other in AXES)
        lines += [
            f'  <joint name={quoteattr(f"{axis}_{link}")} type="revolute">',
            (
                f"    <parent link={quoteattr(chain[number])}/><child"
                f" link={quoteattr(chain[number + 1])}/>"
            ),
            f'    <origin xyz="{origin}" rpy="0 0 0"/><axis xyz="{direction}"/>',
            '    <limit lower="-3.1416" upper="3.1416" effort="0" velocity="50"/>',
            "  </joint>",
        ]
    return lines


def _urdf_capsule(capsule: Capsule) -> list[str]:
    """A cylinder with a sphere at each end, since RViz does not draw capsules of a URDF."""
    along = capsule.end - capsule.start
    length = float(np.linalg.norm(along))
    q = rotations.between_vectors(np.array([0.0, 0.0, 1.0]), along)
    m = rotations.to_matrix(q)
    rpy = (
        np.arctan2(m[2, 1], m[2, 2]),
        -np.arcsin(np.clip(m[2, 0], -1, 1)),
        np.arctan2(m[1, 0], m[0, 0]),
    )

    def visual(centre: F64, turn: tuple[float, ...], geometry: str) -> str:
        xyz, angles = (" ".join(f"{value:.5f}" for value in values) for values in (centre, turn))
        return (
            f'    <visual><origin xyz="{xyz}"'
            f' rpy="{angles}"/><geometry>{geometry}</geometry><material'
            f' name="{capsule.part}"/></visual>'
        )

    ball = f'<sphere radius="{capsule.radius:.5f}"/>'
    middle = (capsule.start + capsule.end) / 2
    return [
        visual(middle, rpy, f'<cylinder radius="{capsule.radius:.5f}" length="{length:.5f}"/>'),
        visual(capsule.start, (0, 0, 0), ball),
        visual(capsule.end, (0, 0, 0), ball),
    ]
