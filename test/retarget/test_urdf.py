"""URDF files of users: each is loaded, or one sentence names the error and the joint."""

import os
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

pytest.importorskip("pinocchio", reason="needs the extra [robot]")

import pinocchio as pin
from urdfs import (
    INERTIAL,
    LIMIT,
    joint,
    link,
    parallelogram,
    robot,
    six_axes,
    two_arms,
    with_fingers,
    write,
)

from hpstm_ros.bench.rows import reaching
from hpstm_ros.retarget.robots import load_robot
from hpstm_ros.retarget.structure import find_arms
from hpstm_ros.retarget.tree import parse
from hpstm_ros.retarget.urdf import example_folder
from hpstm_ros.teleoperation import guard_of
from hpstm_ros.teleoperation.recorded import describe, retarget_motion
from pallas_ros.body.errors import PallasError
from pallas_ros.cli import main


def test_a_joint_and_a_link_may_share_a_name(tmp_path: Path) -> None:
    """The SO-100's own URDF has a joint and a link called 'gripper'."""
    text = (
        robot(link("base"), *six_axes())
        .replace('"joint_3"', '"link_3"')
        .replace('"joint_6"', '"tool0"')
    )
    arm = load_robot(write(tmp_path, text))
    assert arm.joint_names == ("joint_1", "joint_2", "link_3", "joint_4", "joint_5", "tool0")
    assert arm.arms[0].tip == "tool0"
    assert arm.model.frames[arm.frame("tool0")].type == pin.FrameType.BODY
    result = retarget_motion(reaching(1.0), arm, progress=False)
    assert result.violations == []


def test_an_arm_of_one_joint_moves(tmp_path: Path) -> None:
    text = robot(
        link("base"),
        link("arm", 0.4),
        joint("only", "base", "arm", "0 0 1"),
        '<link name="tip"/>',
        joint("tip_fixed", "arm", "tip", kind="fixed", xyz="0.3 0 0"),
    )
    arm = load_robot(write(tmp_path, text))
    assert arm.joint_names == ("only",)
    assert retarget_motion(reaching(1.0), arm, progress=False).violations == []


def test_a_tip_that_only_rotates_is_reported_and_follows_the_orientation(tmp_path: Path) -> None:
    text = robot(link("base"), link("arm"), joint("only", "base", "arm", "0 0 1"))
    arm = load_robot(write(tmp_path, text))
    assert any("do not translate it" in remark for remark in arm.remarks)
    assert retarget_motion(reaching(0.5), arm, progress=False).violations == []


DEGREES = '<limit lower="-170" upper="170" effort="50" velocity="2"/>'


@pytest.mark.parametrize(
    ("limit", "says"),
    [
        ("", "joint 'joint_1' is revolute but has no <limit>"),
        (
            '<limit lower="-1" upper="1" velocity="2"/>',
            "joint 'joint_1': its <limit> has no effort",
        ),
        (
            '<limit lower="-1" upper="1" effort="2"/>',
            "joint 'joint_1': its <limit> has no velocity",
        ),
        ('<limit effort="1" velocity="1"/>', "joint 'joint_1' has an empty range"),
        (
            '<limit lower="0" upper="0" effort="1" velocity="1"/>',
            "joint 'joint_1' has an empty range",
        ),
        (
            '<limit lower="1" upper="-1" effort="1" velocity="1"/>',
            "joint 'joint_1': its lower limit 1",
        ),
        ('<limit lower="-inf" upper="inf" effort="1" velocity="1"/>', "joint 'joint_1'.*-inf"),
        ('<limit lower="x" upper="1" effort="1" velocity="1"/>', "joint 'joint_1'.*'x'"),
        (DEGREES, r"joint 'joint_1' has limits of -170 and 170.*degrees.*-2\.967"),
        (
            '<limit lower="-1e16" upper="1e16" effort="1" velocity="1"/>',
            "joint 'joint_1'.*continuous",
        ),
    ],
)
def test_wrong_limits_are_reported_by_joint(tmp_path: Path, limit: str, says: str) -> None:
    with pytest.raises(PallasError, match=says):
        load_robot(write(tmp_path, robot(link("base"), *six_axes(limit=limit))))


def test_limits_in_degrees_of_several_joints_are_counted(tmp_path: Path) -> None:
    text = robot(link("base"), *six_axes()).replace(LIMIT, DEGREES)
    with pytest.raises(PallasError, match="joint 'joint_1' and 5 others have limits"):
        load_robot(write(tmp_path, text))


def test_several_inverted_limits_are_reported_by_joint(tmp_path: Path) -> None:
    inverted = LIMIT.replace("-2.8", "x").replace("2.8", "-2.8").replace("x", "2.8")
    text = robot(link("base"), *six_axes()).replace(LIMIT, inverted)
    names = ", ".join(f"'joint_{k}'" for k in range(1, 6))
    with pytest.raises(PallasError, match=f"joints {names} and 1 more: their lower limits"):
        load_robot(write(tmp_path, text))
    with pytest.raises(PallasError, match="joints 'joint_1', 'joint_2': their lower limits"):
        load_robot(write(tmp_path, robot(link("base"), *six_axes()).replace(LIMIT, inverted, 2)))


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        (
            [joint("floating_base", "w", "base", kind="floating", limit=""), link("w")],
            "'floating_base' is floating",
        ),
        ([joint("plane", "w", "base", kind="planar", limit=""), link("w")], "'plane' is planar"),
        ([link("lonely")], "2 root links, 'base', 'lonely'"),
        (
            [joint("again", "tool0", "link_2")],
            "'link_2' is the child of two joints, 'joint_2' and 'again'",
        ),
        ([joint("ring", "tool0", "base")], "form a loop"),
        ([joint("stray", "tool0", "nowhere")], "'stray' names 'nowhere' as its child"),
        ([link("base")], "two links named 'base'"),
        ([link("x"), joint("joint_1", "base", "x")], "two joints named 'joint_1'"),
        ([link("x"), joint("odd", "base", "x", kind="hinge")], "'odd' is of type 'hinge'"),
        ([link("x"), joint("me", "base", "x", extra='<mimic joint="me"/>')], "'me' mimics itself"),
    ],
)
def test_a_robot_without_an_arm_is_rejected_by_name(
    tmp_path: Path, parts: list[str], says: str
) -> None:
    with pytest.raises(PallasError, match=says):
        load_robot(write(tmp_path, robot(link("base"), *six_axes(), *parts)))


def test_elements_with_an_undeclared_prefix_are_ignored(tmp_path: Path) -> None:
    """As in URDFs of the first Gazebo plug-ins."""
    gazebo = '<controller:joint_state name="x"><interface:state hz:="9"/></controller:joint_state>'
    arm = load_robot(write(tmp_path, robot(link("base"), *six_axes(), gazebo)))
    assert len(arm.joint_names) == 6


def test_urdfdoms_own_reason_is_passed_on(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    broken = robot(link("base"), *six_axes()).replace('xyz="0 0 0.15"', 'xyz="0 0"')
    with pytest.raises(PallasError, match=r"tool|xyz|vector"):
        load_robot(write(tmp_path, broken))
    assert capfd.readouterr().err == ""


XACRO = """<?xml version="1.0"?>
<robot xmlns:xacro="http://www.ros.org/wiki/xacro" name="x">
  <xacro:property name="reach" value="0.25"/>
  <xacro:include filename="$(find my_arm)/urdf/link.xacro"/>
  <xacro:arm_link name="base"/>
  <xacro:arm_link name="a"/><xacro:arm_link name="b"/><xacro:arm_link name="c"/>
  %s
  <link name="tip"/>
  <joint name="end" type="fixed"><parent link="c"/><child link="tip"/><origin xyz="0 0 ${2 * reach}"/></joint>
</robot>"""  # noqa: E501
MACRO = """<?xml version="1.0"?>
<robot xmlns:xacro="http://www.ros.org/wiki/xacro">
  <xacro:macro name="arm_link" params="name"><link name="${name}">%s</link></xacro:macro>
</robot>"""


@pytest.fixture
def xacro_file(tmp_path: Path) -> Path:
    (tmp_path / "urdf").mkdir()
    (tmp_path / "package.xml").write_text("<package><name>my_arm</name></package>")
    write(tmp_path / "urdf", MACRO % INERTIAL, "link.xacro")
    joints = joint("j1", "base", "a", "0 0 1") + joint("j2", "a", "b") + joint("j3", "b", "c")
    return write(tmp_path / "urdf", XACRO % joints, "arm.urdf.xacro")


def test_xacro_is_expanded(xacro_file: Path) -> None:
    pytest.importorskip("xacro", reason="needs the extra [robot]")
    arm = load_robot(xacro_file)
    assert arm.joint_names == ("j1", "j2", "j3")
    assert arm.arms[0].tip == "tip"


def test_a_missing_xacro_package_is_reported_in_one_sentence(
    xacro_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "xacro", None)
    with pytest.raises(PallasError, match=r"xacro is not installed: pip install xacro"):
        load_robot(xacro_file)


def test_a_xacro_file_that_cannot_be_expanded_is_reported(xacro_file: Path) -> None:
    pytest.importorskip("xacro", reason="needs the extra [robot]")
    xacro_file.write_text(xacro_file.read_text().replace("${2 * reach}", "${2 * depth}"))
    with pytest.raises(PallasError, match=r"xacro cannot expand it: .*depth"):
        load_robot(xacro_file)


def test_a_mimic_joint_follows_its_master(tmp_path: Path) -> None:
    arm = load_robot(write(tmp_path, parallelogram()))
    assert arm.joint_names == ("pan", "lift", "bend")
    data = arm.model.createData()
    tip = arm.frame("tip")
    q = np.array([0.3, 0.5, -0.4])

    def place(q: np.ndarray) -> pin.SE3:
        pin.framesForwardKinematics(arm.model, data, q)
        return data.oMf[tip].copy()

    # With the forearm turned back by what the upper arm turns, the wrist alone says how the tip is
    # tilted.
    tilt = pin.rpy.matrixToRpy(place(q).rotation)
    np.testing.assert_allclose(tilt[1], 0.2 - 0.4, atol=1e-9)
    guard = guard_of(arm)
    eps = 1e-6
    p, J = guard.tip_motion(q)
    for k in range(3):
        moved = place(q + eps * np.eye(3)[k]).translation
        np.testing.assert_allclose((moved - p) / eps, J[:, k], atol=1e-5)
    assert retarget_motion(reaching(1.5), arm, progress=False).violations == []


def test_a_mimic_joint_without_a_master_is_reported(tmp_path: Path) -> None:
    text = parallelogram().replace('<mimic joint="lift"', '<mimic joint="lfit"')
    arm = load_robot(write(tmp_path, text))
    assert any("'fore_follows' mimics 'lfit'" in remark for remark in arm.remarks)
    assert not load_robot(write(tmp_path, parallelogram())).remarks


def test_leverage_includes_mimic_joints(tmp_path: Path) -> None:
    """No part may approach another by more than the guard assumes."""
    arm = load_robot(write(tmp_path, parallelogram()))
    guard = guard_of(arm)
    data = arm.model.createData()
    placed = arm.geometry.createData()
    random = np.random.default_rng(0)

    def centres(q: np.ndarray) -> np.ndarray:
        pin.updateGeometryPlacements(arm.model, data, arm.geometry, placed, q)
        return np.array([placement.translation for placement in placed.oMg])

    for _ in range(50):
        q = random.uniform(-1, 1, 3)
        step = random.uniform(-0.3, 0.3, 3)
        moved = np.linalg.norm(centres(q + step) - centres(q), axis=1).max()
        assert moved <= guard.leverage @ np.abs(step) + 1e-9


@pytest.mark.parametrize("mimic", [True, False])
def test_the_tip_is_before_the_gripper(tmp_path: Path, mimic: bool) -> None:
    arm = load_robot(write(tmp_path, with_fingers(mimic)))
    assert arm.joint_names == tuple(f"joint_{k}" for k in range(1, 7))
    assert arm.arms[0].tip in ("tool0", "hand")
    gripper = arm.arms[0].gripper
    assert gripper is not None
    assert gripper.joint_names == (("finger_a",) if mimic else ("finger_a", "finger_b"))
    np.testing.assert_allclose(gripper.open, 0.04)
    np.testing.assert_allclose(gripper.closed, 0.0)
    assert gripper.followers == ((("finger_b", 0, 1.0, 0.0),) if mimic else ())


def test_the_bare_so101_keeps_its_gripper_still() -> None:
    arm = load_robot(example_folder() / "so_arm_description/urdf/so101.urdf")
    assert "gripper" not in arm.joint_names
    assert arm.arms[0].tip == "gripper_frame_link"
    gripper = arm.arms[0].gripper
    assert gripper is not None
    assert gripper.open[0] > gripper.closed[0]


def test_a_description_gives_the_same_robot_again(tmp_path: Path) -> None:
    arm = load_robot(write(tmp_path, with_fingers()))
    again = load_robot(write(tmp_path, describe(arm), "arm.yaml"))
    assert again.joint_names == arm.joint_names
    np.testing.assert_allclose(again.q_ready, arm.q_ready, atol=1e-3)
    np.testing.assert_allclose(again.box_min, arm.box_min, atol=1e-3)
    one = arm.arms[0]
    other = again.arms[0]
    np.testing.assert_allclose(other.R_hand_tip, one.R_hand_tip, atol=1e-3)
    np.testing.assert_allclose(other.R_base_operator, one.R_base_operator, atol=1e-3)
    assert other.reach == pytest.approx(one.reach, abs=1e-3)
    assert one.gripper is not None
    assert other.gripper is not None
    np.testing.assert_allclose(other.gripper.open, one.gripper.open, atol=1e-4)


@pytest.mark.parametrize(
    ("gripper", "says"),
    [
        ("yes", "'gripper'"),
        ("{open: {finger_a: 0.04}}", "'open' and 'closed'"),
        ("{open: {finger_a: 0.04}, closed: {finger_b: 0}}", "the same joints"),
        ("{open: {finger_b: 0.04}, closed: {finger_b: 0}}", "moves by itself"),
        ("{open: {finger_a: 4}, closed: {finger_a: 0}}", "gripper open finger_a is 4"),
        ("{open: {finger_a: 0}, closed: {finger_a: 0}}", "when it is open and when it is closed"),
    ],
)
def test_a_wrong_gripper_is_refused(tmp_path: Path, gripper: str, says: str) -> None:
    write(tmp_path, with_fingers())
    text = f"urdf: arm.urdf\narms:\n  - {{tip: hand, gripper: {gripper}}}\n"
    with pytest.raises(PallasError, match=says):
        load_robot(write(tmp_path, text, "arm.yaml"))


@pytest.mark.parametrize("slashes", ["//", "///"])
def test_meshes_of_packages_are_found_beside_the_file(tmp_path: Path, slashes: str) -> None:
    (tmp_path / "my_arm" / "meshes").mkdir(parents=True)
    (tmp_path / "my_arm" / "urdf").mkdir()
    corners = ("0 0 0", "0.1 0 0", "0 0.1 0", "0 0 0.1")
    faces = ((0, 2, 1), (0, 1, 3), (0, 3, 2), (1, 2, 3))
    facets = "".join(
        "facet normal 0 0 1\nouter loop\n"
        + "".join(f"vertex {corners[k]}\n" for k in face)
        + "endloop\nendfacet\n"
        for face in faces
    )
    stl = tmp_path / "my_arm" / "meshes" / "part.stl"
    stl.write_text(f"solid part\n{facets}endsolid part\n")
    mesh = f'<mesh filename="package:{slashes}my_arm/meshes/part.stl"/>'
    part = f'<link name="part"><collision><geometry>{mesh}</geometry></collision></link>'
    text = robot(link("base"), *six_axes(), part, joint("fixed", "link_6", "part", kind="fixed"))
    arm = load_robot(write(tmp_path / "my_arm" / "urdf", text))
    assert any("part" in item.name for item in arm.geometry.geometryObjects)


# -- two arms --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("left", "right"), [("left_", "right_"), ("l_", "r_"), ("arm1_", "arm2_"), ("LArm", "RArm")]
)
def test_both_arms_of_a_torso_are_found(tmp_path: Path, left: str, right: str) -> None:
    arm = load_robot(write(tmp_path, two_arms(left, right)))
    assert [found.side for found in arm.arms] == ["left", "right"]
    assert [found.tip for found in arm.arms] == [f"{left}tool0", f"{right}tool0"]
    assert arm.dof == 12
    assert "waist" not in arm.joint_names
    np.testing.assert_allclose(arm.arms[0].R_base_operator, np.eye(3), atol=1e-9)
    assert arm.arms[0].p_base_shoulder[1] > 0.2 > -0.2 > arm.arms[1].p_base_shoulder[1]
    room = np.minimum(arm.q_ready - arm.lower, arm.upper - arm.q_ready)
    assert room.min() > 0.15
    data = arm.geometry.createData()
    for request in data.collisionRequests:
        request.security_margin = 0.01
    assert not pin.computeCollisions(
        arm.model, arm.model.createData(), arm.geometry, data, arm.q_ready, True
    )


def test_a_robot_that_faces_backwards_is_followed_that_way(tmp_path: Path) -> None:
    arm = load_robot(write(tmp_path, two_arms(turned=True)))
    np.testing.assert_allclose(arm.arms[0].R_base_operator, np.diag([-1.0, -1.0, 1.0]), atol=1e-9)
    assert arm.box_max[0] < 0 < -arm.box_min[0]


@pytest.mark.parametrize(
    ("path", "tips", "dof"),
    [
        ("baxter_description/urdf/baxter.urdf", ("left_gripper", "right_gripper"), 7),
        (
            "tiago_description/robots/tiago_dual.urdf",
            ("hand_left_grasping_frame", "hand_right_grasping_frame"),
            7,
        ),
        (
            "tiago_pro_description/robots/tiago_pro.urdf",
            ("arm_left_tool_link", "arm_right_tool_link"),
            7,
        ),
        (
            "talos_data/robots/talos_full_v2.urdf",
            ("gripper_left_base_link", "gripper_right_base_link"),
            7,
        ),
        ("icub_description/robots/icub.urdf", ("l_hand_dh_frame", "r_hand_dh_frame"), 7),
        ("romeo_description/urdf/romeo.urdf", ("l_gripper", "r_gripper"), 7),
        ("pr2_description/urdf/pr2.urdf", ("l_gripper_tool_frame", "r_gripper_tool_frame"), 7),
        ("human_description/robots/human.urdf", ("left_hand", "right_hand"), 8),
        ("centauro_description/urdf/centauro.urdf", ("arm1_8", "arm2_8"), 6),
        (
            "g1_description/urdf/g1_29dof_with_hand_rev_1_0.urdf",
            ("left_hand_palm_link", "right_hand_palm_link"),
            7,
        ),
        ("tiago_description/robots/tiago.urdf", ("hand_grasping_frame",), 7),
        ("panda_description/urdf/panda.urdf", ("panda_hand_tcp",), 7),
        ("so_arm_description/urdf/so100.urdf", ("gripper",), 5),
    ],
)
def test_arms_of_known_robots_are_found(path: str, tips: tuple[str, ...], dof: int) -> None:
    arms = find_arms(parse(ElementTree.parse(example_folder() / path).getroot()))
    assert tuple(arm.tip for arm in arms) == tips
    assert all(sum(part.driven for part in arm.joints) == dof for arm in arms)


@pytest.mark.parametrize(
    "path", ["pr2_description/urdf/pr2.urdf", "talos_data/robots/talos_full_v2.urdf"]
)
def test_hands_that_meet_part_again(path: str) -> None:
    """Regression: grippers meet face to face, and a single barrier at the nearest points let other
    points come too close. The inverse kinematics (PR2) or the arm (TALOS) got stuck there, 0.3 m
    off.
    """
    arm = load_robot(example_folder() / path)
    result = retarget_motion(reaching(4.6), arm, progress=False)
    assert result.violations == []
    assert np.nanmax(result.tip_error[-10:]) < 0.1


def test_a_bare_humanoid_follows_without_editing() -> None:
    """iCub faces along -x, and its URDF states velocities that no joint reaches."""
    arm = load_robot(example_folder() / "icub_description/robots/icub.urdf")
    assert any("velocity limit of 100" in remark for remark in arm.remarks)
    assert arm.velocity.max() <= 1.0
    result = retarget_motion(reaching(1.5), arm, progress=False)
    figures = result.figures()
    assert result.violations == []
    assert figures["hand_error_mean_mm"] < 30


def test_a_description_is_written_in_place_of_the_old_file(tmp_path: Path) -> None:
    """Regression: the old file was overwritten in place, so that an error could leave a part."""
    out = tmp_path / "arm.yaml"
    out.write_text("old")
    os.link(out, tmp_path / "other.yaml")
    urdf = write(tmp_path, with_fingers())
    assert main(["retarget", "--robot", str(urdf), "--describe", str(out)]) == 0
    assert out.read_text() != "old"
    assert (tmp_path / "other.yaml").read_text() == "old"
