"""One known motion in the conventions of many tools is recovered."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import rigs

from pallas_ros.body import rotations
from pallas_ros.body.errors import PallasError
from pallas_ros.body.motion import Motion
from pallas_ros.body.names import JOINT_INDEX
from pallas_ros.body.skeleton import Skeleton
from pallas_ros.data.files import read_bvh
from pallas_ros.imu.motions import demo_motion
from pallas_ros.motion_files import Overrides, read, read_motion
from pallas_ros.motion_files.joints import plain, without_prefix
from pallas_ros.view.export import write_bvh

LIMBS = tuple(
    (f"{side}_{start}", f"{side}_{end}")
    for side in ("left", "right")
    for start, end in (
        *(("hip", "knee"), ("knee", "ankle"), ("ankle", "foot")),
        *(("shoulder", "elbow"), ("elbow", "wrist")),
    )
)
TRUNK = ("pelvis", "spine1", "spine2", "spine3", "neck", "head")
OFFSETS = Skeleton.from_height().offsets


@pytest.fixture(scope="module")
def motion() -> Motion:
    return rigs.known_motion()


def bones(names: dict[str, str]) -> list[tuple[str, str]]:
    """Return the limb and trunk bones of a rig."""
    spine = [joint for joint in TRUNK if joint in names]
    return [pair for pair in LIMBS if set(pair) <= set(names)] + list(pairwise(spine[1:]))


def degrees_between(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    cross = np.linalg.norm(np.cross(a, b), axis=-1)
    return np.degrees(np.arctan2(cross, np.sum(a * b, axis=-1)))


@pytest.mark.parametrize("name", sorted(rigs.RIGS))
def test_limbs_and_spine_point_as_the_sources(name: str, motion: Motion, tmp_path: Path) -> None:
    rig = rigs.RIGS[name]
    path = tmp_path / f"{name}.bvh"
    own = rigs.render(path, rig, motion)
    out = read_motion(path)
    assert len(out) == len(motion)
    assert out.fps == pytest.approx(motion.fps, rel=1e-6)
    for start, end in bones(dict(rig.names)):
        a = JOINT_INDEX[start]
        b = JOINT_INDEX[end]
        truth = own[:, b] - own[:, a]
        seen = out.positions[:, b] - out.positions[:, a]
        assert degrees_between(truth, seen).max() < 2.0, (start, end, "positions")
        np.testing.assert_allclose(
            np.linalg.norm(seen, axis=1), np.linalg.norm(truth, axis=1), atol=1e-3
        )
        turned = rotations.rotate(out.rotations[:, a], OFFSETS[b])
        assert degrees_between(truth, turned).max() < 2.0, (start, end, "orientations")


@pytest.mark.parametrize("name", sorted(rigs.RIGS))
def test_twists_of_trunk_and_limbs_are_the_sources(
    name: str, motion: Motion, tmp_path: Path
) -> None:
    """Full orientations, not only bone directions, as sensors on the bones would measure them."""
    path = tmp_path / f"{name}.bvh"
    rigs.render(path, rigs.RIGS[name], motion)
    out = read_motion(path)
    chosen = [
        JOINT_INDEX[joint]
        for joint in ("pelvis", "head")
        + tuple(
            f"{s}_{j}"
            for s in ("left", "right")
            for j in ("hip", "knee", "shoulder", "elbow", "wrist")
        )
    ]
    error = np.degrees(
        rotations.angle_between(out.rotations[:, chosen], motion.rotations[:, chosen])
    )
    assert np.median(error, axis=0).max() < 3.0


@pytest.mark.parametrize(
    ("fps", "height"), [(60.0, 1.75), (60.0, 1.62), (30.0, 1.9)], ids=["default", "short", "tall"]
)
def test_our_own_export_reads_back(tmp_path: Path, fps: float, height: float) -> None:
    motion = demo_motion(12.0, fps, Skeleton.from_height(height, {"foot": 0.11 * height}))
    write_bvh(tmp_path / "own.bvh", motion)
    back = read(tmp_path / "own.bvh").motion
    np.testing.assert_allclose(back.positions, motion.positions, atol=1e-4)
    assert np.degrees(rotations.angle_between(back.rotations, motion.rotations)).max() < 0.01
    if fps == 60:
        np.testing.assert_allclose(
            read_bvh(tmp_path / "own.bvh").positions, motion.positions, atol=1e-4
        )


def test_our_own_export_keeps_bones_whose_length_changes(tmp_path: Path) -> None:
    """Smoothed bodies have segment lengths that follow the estimates."""
    motion = demo_motion(6.0, 60.0)
    positions = motion.positions.copy()
    elbow = JOINT_INDEX["left_elbow"]
    wrist = JOINT_INDEX["left_wrist"]
    grown = 1.0 + 0.1 * np.sin(np.arange(len(motion)) / 50.0)[:, None]
    positions[:, wrist] = positions[:, elbow] + grown * (positions[:, wrist] - positions[:, elbow])
    write_bvh(tmp_path / "own.bvh", Motion(motion.fps, positions, motion.rotations))
    back = read(tmp_path / "own.bvh").motion
    np.testing.assert_allclose(back.positions, positions, atol=1e-4)
    assert (tmp_path / "own.bvh").read_text().count("CHANNELS 6") == 2  # pelvis and wrist


def test_what_was_detected_is_reported(motion: Motion, tmp_path: Path) -> None:
    rigs.render(tmp_path / "a.bvh", rigs.RIGS["unreal"], motion)
    found = read(tmp_path / "a.bvh").found
    assert "z up, facing -y" in found and "unit cm" in found and f"{len(motion)} frames" in found


@pytest.mark.parametrize(("name", "joint"), [("ForeArm", "left_elbow"), ("Arm", "left_shoulder")])
def test_a_map_names_joints_that_no_tool_names_so(
    motion: Motion, tmp_path: Path, name: str, joint: str
) -> None:
    path = tmp_path / "odd.bvh"
    rigs.render(path, rigs.RIGS["mixamo"], motion)
    path.write_text(path.read_text().replace(f"mixamorig:Left{name}\n", "Tentacle\n"))
    with pytest.raises(
        PallasError,
        match=rf"odd\.bvh: no joint of this BVH is the {joint.replace('_', ' ')} .*--map FILE",
    ):
        read(path)
    out = read(path, Overrides(joints={joint: "Tentacle"})).motion
    np.testing.assert_allclose(out.positions, motion.positions, atol=1e-4)
    with pytest.raises(PallasError, match="has no joint 'Arm9'"):
        read(path, Overrides(joints={joint: "Arm9"}))
    with pytest.raises(PallasError, match="'elbow' is not a joint of the body"):
        read(path, Overrides(joints={"elbow": "Tentacle"}))


def test_a_map_may_name_joints_in_any_script(motion: Motion, tmp_path: Path) -> None:
    path = tmp_path / "odd.bvh"
    rigs.render(path, rigs.RIGS["mixamo"], motion)
    text = path.read_text().replace("mixamorig:LeftArm\n", "左腕\n")
    for encoding, name in (("utf-8", "左腕"), ("cp932", "左腕".encode("cp932").decode("latin-1"))):
        path.write_text(text, encoding=encoding)
        out = read(path, Overrides(joints={"left_shoulder": name})).motion
        np.testing.assert_allclose(out.positions, motion.positions, atol=1e-4)


def test_overrides_that_fit_change_nothing_and_others_are_refused(
    motion: Motion, tmp_path: Path
) -> None:
    path = tmp_path / "m.bvh"
    rigs.render(path, rigs.RIGS["mixamo"], motion)
    out = read(path, Overrides(up="y", metres=0.01, fps=30.0)).motion
    np.testing.assert_allclose(out.positions, motion.positions, atol=1e-4)
    assert out.fps == 30.0
    for overrides, says in (
        (Overrides(up="x"), "lies throughout.*another --up"),
        (Overrides(up="-y"), "upside down throughout.*another --up"),
        (Overrides(metres=1.0), "--unit makes this body 175.* m tall.*--unit cm"),
        (Overrides(metres=0.0254), "--unit makes this body 4.4. m tall"),
    ):
        with pytest.raises(PallasError, match=says):
            read(path, overrides)


def wide(motion: Motion, factor: float) -> Motion:
    """Return the motion of a scaled body."""
    return Motion(motion.fps, motion.positions * factor, motion.rotations)


@pytest.mark.parametrize("height", [4.0, 7.0])
def test_a_body_that_is_no_persons_size_in_any_unit_is_refused(
    motion: Motion, tmp_path: Path, height: float
) -> None:
    rigs.render(tmp_path / "m.bvh", rigs.RIGS["mixamo"], wide(motion, height / 1.75))
    with pytest.raises(PallasError, match=r"none of which is a person's height.*--unit"):
        read(tmp_path / "m.bvh")


def test_limbs_of_wrong_proportions_are_refused(motion: Motion, tmp_path: Path) -> None:
    path = tmp_path / "m.bvh"
    rigs.render(path, rigs.RIGS["mixamo"], motion)
    path.write_text(
        path.read_text().replace("OFFSET 0.000000 -42.875000 0.000000", "OFFSET 0 -12 0", 1)
    )
    with pytest.raises(PallasError, match=r"thigh is .* times as long as .*--map FILE"):
        read(path)


def test_a_limb_without_length_on_the_right_is_refused(motion: Motion, tmp_path: Path) -> None:
    path = tmp_path / "m.bvh"
    rigs.render(path, rigs.RIGS["mixamo"], motion)
    head, thigh, rest = path.read_text().rpartition("OFFSET 0.000000 -42.875000 0.000000")
    assert thigh
    path.write_text(f"{head}OFFSET 0 0 0{rest}")
    with pytest.raises(PallasError, match=r"right \w+ is 0.00 times as long as .*--map FILE"):
        read(path)


def test_exchanged_sides_are_refused(motion: Motion, tmp_path: Path) -> None:
    path = tmp_path / "m.bvh"
    rigs.render(path, rigs.RIGS["mixamo"], motion)
    text = path.read_text().replace("Left", "#").replace("Right", "Left").replace("#", "Right")
    path.write_text(text)
    with pytest.raises(PallasError, match=r"left and right joints are exchanged.*--map FILE"):
        read(path)


def lying(motion: Motion, height: float) -> Motion:
    """Return the motion on its back, with the pelvis at this height."""
    turn = rotations.from_matrix(rigs.turn("y", -90.0))
    positions = rotations.rotate(turn, motion.positions)
    positions[..., 2] += height - np.median(positions[:, 0, 2])
    return Motion(motion.fps, positions, rotations.multiply(turn, motion.rotations))


def test_lying_is_believed_where_the_floor_shows_it(motion: Motion, tmp_path: Path) -> None:
    still = Motion(motion.fps, motion.positions[:5], motion.rotations[:5])
    on_floor = lying(still, 0.12)
    on_floor.positions[..., 0] += 2.5  # in the middle of the room
    rigs.render(tmp_path / "a.bvh", rigs.RIGS["mixamo"], on_floor)
    out = read(tmp_path / "a.bvh").motion
    trunk = out.positions[:, JOINT_INDEX["neck"]] - out.positions[:, 0]
    assert np.abs(trunk[:, 2]).max() < 0.1
    in_the_air = lying(still, 0.95)
    in_the_air.positions[..., 0] += 2.5
    rigs.render(tmp_path / "b.bvh", rigs.RIGS["mixamo"], in_the_air)
    with pytest.raises(PallasError, match=r"--up"):
        read(tmp_path / "b.bvh")
    out = read(tmp_path / "b.bvh", Overrides(up="y")).motion
    trunk = out.positions[:, JOINT_INDEX["neck"]] - out.positions[:, 0]
    assert np.abs(trunk[:, 2]).max() < 0.1


def test_a_path_in_another_unit_than_the_skeleton_is_refused(
    motion: Motion, tmp_path: Path
) -> None:
    path = tmp_path / "m.bvh"
    rigs.render(path, rigs.RIGS["mixamo"], motion)
    head, _, rows = path.read_text().partition("Frame Time:")
    lines = rows.splitlines()
    for index, line in enumerate(lines[1:], 1):
        numbers = line.split()
        numbers[0] = str(3000.0 * index)
        numbers[2] = "0"
        lines[index] = " ".join(numbers)
    path.write_text(head + "Frame Time:" + "\n".join(lines))
    with pytest.raises(PallasError, match="m/s; its path is in another unit"):
        read(path)


@pytest.mark.parametrize(
    ("name", "side", "part"),
    [
        ("LeftUpLeg", "left", "upleg"),
        ("lShldrBend", "left", "shldrbend"),
        ("Bip01 L UpperArm", "left", "upperarm"),
        ("upper_arm.L", "left", "upperarm"),
        ("thigh.L.001", "left", "thigh001"),
        ("thigh_r", "right", "thigh"),
        ("L5", "", "l5"),
        ("LHipJoint", "left", "hipjoint"),
        ("RUArm", "right", "uarm"),
        ("leftforearm", "left", "forearm"),
        ("ShoulderRight", "right", "shoulder"),
        ("lhip", "left", "hip"),
        ("mixamorig1:LeftArm", "left", "arm"),
        ("DEF-upper_arm.R", "right", "upperarm"),
        ("leg", "", "leg"),
        ("LeftForeArm_end", "left", "forearmend"),
        ("Spine1_M", "", "spine1"),
        ("mHipLeft", "left", "hip"),
        ("C7", "", "c7"),
    ],
)
def test_sides_and_parts_of_names(name: str, side: str, part: str) -> None:
    assert plain(name) == (side, part)


def test_a_common_beginning_is_no_part_of_a_name() -> None:
    names = ["CC_Base_Hip", "CC_Base_L_Thigh", "CC_Base_R_Thigh", "Camera"]
    assert without_prefix(names) == ["Hip", "L_Thigh", "R_Thigh", "Camera"]
