"""One known motion as BVH files in the conventions of many tools: names, axes, units, rest poses,
channels.
"""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from pallas_ros.body import rotations
from pallas_ros.body.motion import Motion
from pallas_ros.body.names import JOINT_INDEX, JOINTS, PARENTS
from pallas_ros.imu.motions import demo_motion

Y_UP = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
"""The body's axes to y up, facing z."""
Z_UP = np.eye(3)
Z_UP_FACING_MINUS_Y = np.array([[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
X_UP = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
Y_UP_FACING_X = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])


def sided(**parts: str) -> dict[str, str]:
    """Canonical joints of both sides -> names, from patterns with S (Left), s (left), L (L) or l
    (l).
    """
    out = {}
    for side in ("left", "right"):
        for part, pattern in parts.items():
            marks = {"{S}": side.title(), "{s}": side, "{L}": side[0].upper(), "{l}": side[0]}
            for mark, text in marks.items():
                pattern = pattern.replace(mark, text)
            out[f"{side}_{part}"] = pattern
    return out


def limbs(pattern: str, *parts: str) -> dict[str, str]:
    """Names of the eight joints of a side, in the order hip, knee, ankle, foot, collar, shoulder,
    elbow, wrist.
    """
    keys = ("hip", "knee", "ankle", "foot", "collar", "shoulder", "elbow", "wrist")
    return sided(**{k: pattern.replace("*", p) for k, p in zip(keys, parts) if p})


def trunk(*names: str) -> dict[str, str]:
    """Names of pelvis, spine1 to 3, neck and head; an empty one leaves a joint out."""
    keys = ("pelvis", "spine1", "spine2", "spine3", "neck", "head")
    return {k: n for k, n in zip(keys, names) if n}


STANDARD = ("UpLeg", "Leg", "Foot", "ToeBase", "Shoulder", "Arm", "ForeArm", "Hand")
NAMES: dict[str, dict[str, str]] = {
    "own": {joint: joint for joint in JOINTS},
    "mixamo": trunk(
        *(f"mixamorig:{n}" for n in ("Hips", "Spine", "Spine1", "Spine2", "Neck", "Head"))
    )
    | limbs("mixamorig:{S}*", *STANDARD),
    "motionbuilder": trunk("Hips", "Spine", "Spine1", "Spine2", "Neck", "Head")
    | limbs("{S}*", *STANDARD),
    "lafan1": trunk("Hips", "Spine", "Spine1", "Spine2", "Neck", "Head")
    | limbs("{S}*", *STANDARD[:3], "Toe", *STANDARD[4:]),
    "noitom": trunk(
        "Robot_Hips", "Robot_Spine", "Robot_Spine1", "Robot_Spine2", "Robot_Neck", "Robot_Head"
    )
    | limbs("Robot_{S}*", *STANDARD[:3], "", *STANDARD[4:]),
    "rokoko": trunk("Hips", "Spine1", "Spine2", "Spine3", "Neck", "Head")
    | limbs("{S}*", "Thigh", "Shin", "Foot", "Toe", "Shoulder", "Arm", "ForeArm", "Hand"),
    "biped": trunk(
        "Bip01", "Bip01 Spine", "Bip01 Spine1", "Bip01 Spine2", "Bip01 Neck", "Bip01 Head"
    )
    | limbs(
        "Bip01 {L} *", "Thigh", "Calf", "Foot", "Toe0", "Clavicle", "UpperArm", "Forearm", "Hand"
    ),
    "xsens": trunk("Hips", "Chest", "Chest2", "Chest4", "Neck", "Head")
    | limbs("{S}*", "Hip", "Knee", "Ankle", "Toe", "Collar", "Shoulder", "Elbow", "Wrist"),
    "biovision": trunk("Hips", "Chest", "", "", "Neck", "Head")
    | limbs("{S}*", "Hip", "Knee", "Ankle", "", "Collar", "Shoulder", "Elbow", "Wrist"),
    "biovision2": trunk("Hips", "Chest", "", "Chest2", "Neck", "Head")
    | limbs("{S}*", "UpLeg", "LowLeg", "Foot", "", "Collar", "UpArm", "LowArm", "Hand"),
    "cmu_daz": trunk("hip", "abdomen", "", "chest", "neck", "head")
    | limbs("{l}*", "Thigh", "Shin", "Foot", "", "Collar", "Shldr", "ForeArm", "Hand"),
    "rigify": trunk("spine", "spine.001", "spine.002", "spine.003", "spine.004", "spine.006")
    | limbs("*.{L}", "thigh", "shin", "foot", "toe", "shoulder", "upper_arm", "forearm", "hand"),
    "blender": trunk("hips", "spine", "chest", "upper_chest", "neck", "head")
    | limbs(
        "*.{L}",
        "upper_leg",
        "lower_leg",
        "foot",
        "toes",
        "shoulder",
        "upper_arm",
        "lower_arm",
        "hand",
    ),
    "unreal": trunk("pelvis", "spine_01", "spine_02", "spine_03", "neck_01", "head")
    | limbs("*_{l}", "thigh", "calf", "foot", "ball", "clavicle", "upperarm", "lowerarm", "hand"),
    "bandai": trunk("Hips", "Spine", "", "Chest", "Neck", "Head")
    | limbs(
        "*_{L}", "UpperLeg", "LowerLeg", "Foot", "Toes", "Shoulder", "UpperArm", "LowerArm", "Hand"
    ),
    "vrm": trunk(
        *(f"J_Bip_C_{n}" for n in ("Hips", "Spine", "Chest", "UpperChest", "Neck", "Head"))
    )
    | limbs(
        "J_Bip_{L}_*",
        "UpperLeg",
        "LowerLeg",
        "Foot",
        "ToeBase",
        "Shoulder",
        "UpperArm",
        "LowerArm",
        "Hand",
    ),
    "character_creator": trunk(
        *(f"CC_Base_{n}" for n in ("Hip", "Waist", "Spine01", "Spine02", "NeckTwist01", "Head"))
    )
    | limbs(
        "CC_Base_{L}_*",
        "Thigh",
        "Calf",
        "Foot",
        "ToeBase",
        "Clavicle",
        "Upperarm",
        "Forearm",
        "Hand",
    ),
    "optitrack": trunk(
        "Skeleton1_Hip", "Skeleton1_Ab", "", "Skeleton1_Chest", "Skeleton1_Neck", "Skeleton1_Head"
    )
    | limbs("Skeleton1_{L}*", "Thigh", "Shin", "Foot", "Toe", "Shoulder", "UArm", "FArm", "Hand"),
    "lower_case": trunk("root", "lowerback", "upperback", "thorax", "neck", "head")
    | limbs("{s}*", "upleg", "leg", "foot", "toebase", "shoulder", "arm", "forearm", "hand"),
    "smpl": trunk("Pelvis", "Spine1", "Spine2", "Spine3", "Neck", "Head")
    | limbs("{L}_*", "Hip", "Knee", "Ankle", "Foot", "Collar", "Shoulder", "Elbow", "Wrist"),
    "makehuman": trunk("root", "spine05", "spine03", "spine01", "neck01", "head")
    | limbs(
        "*.{L}",
        *("upperleg01", "lowerleg01", "foot", "toe1-1"),
        *("clavicle", "upperarm01", "lowerarm01", "wrist"),
    ),
    "deepmotion": trunk("hips_JNT", "spine_JNT", "spine1_JNT", "spine2_JNT", "neck_JNT", "head_JNT")
    | limbs("{l}_*_JNT", *(part.lower() for part in STANDARD)),
    "soma": trunk("Hips", "Spine1", "Spine2", "Chest", "Neck1", "Head")
    | limbs("{S}*", "Leg", "Shin", *STANDARD[2:]),
    "advanced_skeleton": trunk("Root_M", "Spine1_M", "Spine2_M", "Chest_M", "Neck_M", "Head_M")
    | limbs("*_{L}", "Hip", "Knee", "Ankle", "Toes", "Scapula", "Shoulder", "Elbow", "Wrist"),
    "second_life": trunk("mPelvis", "mTorso", "", "mChest", "mNeck", "mHead")
    | limbs("m*{S}", "Hip", "Knee", "Ankle", "Foot", "Collar", "Shoulder", "Elbow", "Wrist"),
    "valve": trunk(
        *(f"ValveBiped.Bip01_{n}" for n in ("Pelvis", "Spine", "Spine1", "Spine4")),
        *(f"ValveBiped.Bip01_{n}" for n in ("Neck1", "Head1")),
    )
    | limbs(
        "ValveBiped.Bip01_{L}_*",
        *("Thigh", "Calf", "Foot", "Toe0", "Clavicle", "UpperArm", "Forearm", "Hand"),
    ),
    "kinect2": trunk("SpineBase", "SpineMid", "", "SpineShoulder", "Neck", "Head")
    | limbs("*{S}", "Hip", "Knee", "Ankle", "Foot", "", "Shoulder", "Elbow", "Wrist"),
    "auto_rig_pro": trunk("root.x", "spine_01.x", "spine_02.x", "spine_03.x", "neck.x", "head.x")
    | limbs(
        "*.{l}",
        *("thigh_stretch", "leg_stretch", "foot", "toes_01"),
        *("shoulder", "arm_stretch", "forearm_stretch", "hand"),
    ),
    "xsens_segments": trunk("Pelvis", "L5", "T12", "T8", "Neck", "Head")
    | limbs(
        "{S}*",
        *("UpperLeg", "LowerLeg", "Foot", "Toe", "Shoulder", "UpperArm", "ForeArm", "Hand"),
    ),
    "asf": trunk("root", "lowerback", "upperback", "thorax", "lowerneck", "head")
    | limbs("{l}*", "femur", "tibia", "foot", "toes", "clavicle", "humerus", "radius", "wrist"),
}
"""Tool -> canonical joint -> its name there; joints that are left out do not exist in the tool's
rigs.
"""


def turn(axis: str, degrees: float) -> np.ndarray:
    """Return a rotation matrix."""
    return np.asarray(Rotation.from_euler(axis, degrees, degrees=True).as_matrix())


def t_pose(joint: str) -> np.ndarray:
    return np.eye(3)


def a_pose(joint: str) -> np.ndarray:
    """Arms lowered by 45 degrees, legs spread by 8."""
    side = 1.0 if joint.startswith("left") else -1.0
    if joint.endswith(("shoulder", "elbow", "wrist")):
        return turn("x", -45.0 * side)
    if joint.endswith(("hip", "knee")):
        return turn("x", 8.0 * side)
    return np.eye(3)


def n_pose(joint: str) -> np.ndarray:
    """Hanging arms, the trunk slightly bent."""
    side = 1.0 if joint.startswith("left") else -1.0
    if joint.endswith(("shoulder", "elbow", "wrist")):
        return turn("x", -88.0 * side)
    if joint in ("spine2", "spine3"):
        return turn("y", 8.0)
    return np.eye(3)


def palms_forward(joint: str) -> np.ndarray:
    """Hanging arms with the palms forward, the anatomical position."""
    side = 1.0 if joint.startswith("left") else -1.0
    if joint.endswith(("shoulder", "elbow", "wrist")):
        return turn("x", -88.0 * side) @ turn("y", -90.0)
    return np.eye(3)


def sitting(joint: str) -> np.ndarray:
    """Sitting on a chair, forearms forward."""
    if joint.endswith("hip"):
        return turn("y", -80.0)
    side = 1.0 if joint.startswith("left") else -1.0
    if joint.endswith(("elbow", "wrist")):
        return turn("z", -80.0 * side)
    return np.eye(3)


def along_x(joint: str) -> np.ndarray:
    """Each joint's x axis along its bone, so that the rest pose is a straight chain (LAFAN1)."""
    side = 1.0 if joint.startswith("left") else -1.0
    if joint.endswith(("collar", "shoulder", "elbow", "wrist")):
        return turn("z", -90.0 * side)
    if joint.endswith(("hip", "knee", "ankle")):
        return turn("y", -90.0) @ turn("x", 90.0)
    if joint.endswith("foot"):
        return turn("x", 40.0)
    return turn("y", 90.0) @ turn("x", 20.0)


def random_axes(joint: str) -> np.ndarray:
    """Arbitrary joint axes."""
    return np.asarray(Rotation.random(random_state=JOINT_INDEX[joint] + 5).as_matrix())


@dataclass(frozen=True)
class Rig:
    """Conventions of a tool.

    Attributes:
        names: of the joints; those missing are left out.
        axes: (3, 3), from the body's axes to the file's.
        unit: the file's units per metre.
        rest: joint -> rotation of its rest pose from the T-pose.
        order: rotation channels.
        everywhere: position channels at every joint.
        root: name of a joint added above the pelvis, or empty.
        root_turn: (3, 3), rotation of the motion, but not of the rest pose.
        extra: fingers, face and twist joints.
        frame_time: s.
        parents: canonical joint -> its parent if different from the body's.
    """

    names: Mapping[str, str]
    axes: np.ndarray = field(default_factory=Y_UP.copy)
    unit: float = 100.0
    rest: Callable[[str], np.ndarray] = t_pose
    order: str = "ZXY"
    everywhere: bool = False
    root: str = ""
    root_turn: np.ndarray = field(default_factory=lambda: np.eye(3))
    extra: bool = False
    number: str = "%.6f"
    parents: Mapping[str, str] = field(default_factory=dict)


def known_motion(frames: int = 150) -> Motion:
    """The demonstration (T-pose, walk, reach, wave, lift), every twelfth frame, at 5 Hz."""
    whole = demo_motion(40.0)
    every = len(whole) // frames
    return Motion(60.0 / every, whole.positions[::every], whole.rotations[::every])


def render(path: Path, rig: Rig, motion: Motion) -> np.ndarray:
    """Write a motion as the rig's BVH.

    Returns:
        (T, 22, 3) m, positions of the rig's joints in the body's axes; NaN for joints it lacks. A
        rig with fewer joints than the body bends differently.
    """
    parents: dict[str, str] = {}
    for joint in rig.names:
        parent = PARENTS[JOINT_INDEX[joint]]
        while parent >= 0 and JOINTS[parent] not in rig.names:
            parent = PARENTS[parent]
        parents[joint] = rig.parents.get(joint, JOINTS[parent] if parent >= 0 else "")
    A = rig.axes
    R = rotations.to_matrix(motion.rotations)
    C = {joint: A @ rig.rest(joint).T @ A.T for joint in rig.names}  # rest pose in the file's axes
    R_file = {
        joint: rig.root_turn @ A @ R[:, JOINT_INDEX[joint]] @ A.T @ C[joint] for joint in rig.names
    }
    p_file = motion.positions @ (rig.root_turn @ A).T * rig.unit
    p = {joint: p_file[:, JOINT_INDEX[joint]] for joint in rig.names}
    lines = ["HIERARCHY"]
    columns = []
    frames = len(motion)
    own = np.full(motion.positions.shape, np.nan)
    place = "Xposition Yposition Zposition "
    turns = " ".join(f"{axis}rotation" for axis in rig.order)

    def write(joint: str, indent: str, above: str) -> None:
        parent = parents[joint]
        if parent:
            bone = np.einsum("tji,tj->ti", R_file[parent], p[joint] - p[parent])
            local = np.einsum("tji,tjk->tik", R_file[parent], R_file[joint])
        else:
            bone = p[joint]
            local = R_file[joint]
        offset = np.median(bone, axis=0) if parent else np.zeros(3)
        if parent and not rig.everywhere:
            above_it = own[:, JOINT_INDEX[parent]]
            own[:, JOINT_INDEX[joint]] = above_it + R_file[parent] @ offset
        else:
            own[:, JOINT_INDEX[joint]] = p[joint]
        lines.append(f"{indent}{above} {rig.names[joint]}")
        lines.append(f"{indent}{{")
        lines.append(f"{indent}\tOFFSET " + " ".join(rig.number % v for v in offset))
        moves = not parent or rig.everywhere
        lines.append(f"{indent}\tCHANNELS {6 if moves else 3} {place if moves else ''}{turns}")
        if moves:
            columns.append(bone)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # gimbal lock, which loses nothing
            angles = Rotation.from_matrix(local).as_euler(rig.order, degrees=True)
        columns.append(angles)
        children = [child for child, above_ in parents.items() if above_ == joint]
        for child in children:
            write(child, indent + "\t", "JOINT")
        if rig.extra and joint.endswith(("wrist", "hip", "head")):
            for finger in ("Thumb", "Index", "Pinky"):
                side = joint.split("_")[0].title()
                lines.extend(
                    f"{indent}\t{line}"
                    for line in (
                        f"JOINT {side}{'Hand' if 'wrist' in joint else 'Twist'}{finger}1",
                        "{",
                        f"\tOFFSET 1 2 {len(finger)}",
                        f"\tCHANNELS 3 {turns}",
                        "\tEnd Site",
                        "\t{",
                        "\t\tOFFSET 0 0 2",
                        "\t}",
                        "}",
                    )
                )
                columns.append(np.full((frames, 3), 12.0))
        if not children and not rig.extra:
            lines.extend(
                (
                    f"{indent}\tEnd Site",
                    f"{indent}\t{{",
                    f"{indent}\t\tOFFSET 0 0 {rig.number % (0.05 * rig.unit)}",
                    f"{indent}\t}}",
                )
            )
        lines.append(f"{indent}}}")

    if rig.root:
        lines.extend((f"ROOT {rig.root}", "{", "\tOFFSET 0 0 0", f"\tCHANNELS 6 {place}{turns}"))
        columns.append(np.zeros((frames, 6)))
        everywhere = parents["pelvis"]
        assert not everywhere
        write("pelvis", "\t", "JOINT")
        lines.append("}")
    else:
        write("pelvis", "", "ROOT")
    lines += ["MOTION", f"Frames: {frames}", f"Frame Time: {1 / motion.fps:.8f}"]
    rows = np.concatenate(columns, axis=1)
    lines += [" ".join(rig.number % value for value in row) for row in rows]
    path.write_text("\n".join(lines) + "\n")
    return own @ (rig.root_turn @ A) / rig.unit


RIGS: dict[str, Rig] = {
    "own": Rig(NAMES["own"]),
    "mixamo": Rig(NAMES["mixamo"], extra=True),
    "motionbuilder": Rig(NAMES["motionbuilder"], rest=a_pose, root="Reference"),
    "lafan1": Rig(NAMES["lafan1"], rest=along_x, order="ZYX"),
    "lafan1_z_up": Rig(NAMES["lafan1"], rest=along_x, order="ZYX", axes=Z_UP),
    "noitom": Rig(NAMES["noitom"], order="YXZ", everywhere=True, extra=True),
    "rokoko": Rig(NAMES["rokoko"], order="XYZ", everywhere=True, unit=1.0),
    "biped": Rig(NAMES["biped"], axes=Z_UP_FACING_MINUS_Y, unit=1 / 0.0254),
    "biped_random": Rig(NAMES["biped"], rest=random_axes),
    "xsens": Rig(NAMES["xsens"], order="YXZ", rest=n_pose),
    "biovision": Rig(NAMES["biovision"], unit=1 / 0.0254),
    "biovision2": Rig(NAMES["biovision2"]),
    "cmu_daz": Rig(NAMES["cmu_daz"], order="XZY", unit=0.45 / 0.0254),
    "rigify": Rig(NAMES["rigify"], axes=Z_UP_FACING_MINUS_Y, unit=1.0, order="XYZ"),
    "blender": Rig(NAMES["blender"], axes=Z_UP, unit=1.0, rest=a_pose),
    "unreal": Rig(NAMES["unreal"], root="root", axes=Z_UP_FACING_MINUS_Y, rest=a_pose),
    "bandai": Rig(NAMES["bandai"], rest=along_x, root="joint_Root"),
    "vrm": Rig(NAMES["vrm"], unit=1.0),
    "character_creator": Rig(NAMES["character_creator"], rest=palms_forward),
    "optitrack": Rig(NAMES["optitrack"], unit=1000.0, order="XYZ"),
    "lower_case": Rig(NAMES["lower_case"], number="%.8e"),
    "smpl": Rig(NAMES["smpl"], rest=random_axes, unit=1.0, axes=Y_UP_FACING_X),
    "x_up": Rig(NAMES["mixamo"], axes=X_UP),
    "facing_x": Rig(NAMES["mixamo"], axes=Y_UP_FACING_X),
    "sitting": Rig(NAMES["mixamo"], rest=sitting),
    "makehuman": Rig(NAMES["makehuman"], unit=10.0, rest=a_pose),
    "deepmotion": Rig(NAMES["deepmotion"]),
    "soma": Rig(NAMES["soma"], everywhere=True, order="YXZ"),
    "advanced_skeleton": Rig(NAMES["advanced_skeleton"], rest=a_pose, order="XYZ"),
    "second_life": Rig(NAMES["second_life"], axes=Z_UP, unit=1.0),
    "valve": Rig(NAMES["valve"], axes=Z_UP, unit=1 / 0.0254),
    "kinect2": Rig(NAMES["kinect2"], unit=1.0),
    "asf": Rig(NAMES["asf"], unit=1 / 0.0254),
    "auto_rig_pro": Rig(
        NAMES["auto_rig_pro"], axes=Z_UP_FACING_MINUS_Y, unit=1.0, order="XYZ", root="c_traj"
    ),
    "xsens_segments": Rig(NAMES["xsens_segments"], order="YXZ", rest=n_pose, axes=Z_UP),
    "biped_triangles": Rig(
        NAMES["biped"],
        axes=Z_UP_FACING_MINUS_Y,
        parents={
            **{"left_hip": "spine1", "right_hip": "spine1"},
            **{"left_collar": "neck", "right_collar": "neck"},
        },
    ),
    "turned_root": Rig(NAMES["mixamo"], root_turn=turn("x", 90.0)),
}
"""Twenty and more files, by name."""
