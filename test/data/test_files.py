"""BVH and AMASS/SMPL files: rest poses, and errors that name the file."""

from pathlib import Path

import numpy as np
import pytest

from pallas_ros.body import rotations
from pallas_ros.body.errors import PallasError
from pallas_ros.body.names import JOINT_INDEX, JOINTS
from pallas_ros.data.files import read_amass, read_bvh, read_folder
from pallas_ros.data.library import MotionLibrary

LIMB = """{i}JOINT {n0}
{i}{{ OFFSET {o0}
{i} CHANNELS 3 Zrotation Xrotation Yrotation
{i} JOINT {n1}
{i} {{ OFFSET {o1}
{i}  CHANNELS 3 Zrotation Xrotation Yrotation
{i}  JOINT {n2}
{i}  {{ OFFSET {o2}
{i}   CHANNELS 3 Zrotation Xrotation Yrotation
{i}   End Site
{i}   {{ OFFSET {o3} }}
{i}  }}
{i} }}
{i}}}
"""


def bvh_text(frames: list[dict[str, tuple[float, float, float]]], arm: str = "Arm") -> str:
    """A small rig, y up, facing +z, T-pose at zero; ``frames``: joint -> (z, x, y) degrees."""
    limbs = {
        "LeftUpLeg": ("9 -4 0", "LeftLeg", "0 -43 0", "LeftFoot", "0 -43 0", "0 -4 15"),
        "RightUpLeg": ("-9 -4 0", "RightLeg", "0 -43 0", "RightFoot", "0 -43 0", "0 -4 15"),
        f"Left{arm}": ("18 35 0", f"LeftFore{arm}", "28 0 0", "LeftHand", "25 0 0", "10 0 0"),
        f"Right{arm}": (
            "-18 35 0",
            f"RightFore{arm}",
            "-28 0 0",
            "RightHand",
            "-25 0 0",
            "-10 0 0",
        ),
    }
    order = ["Hips"]
    text = (
        "HIERARCHY\nROOT Hips\n{ OFFSET 0 0 0\n CHANNELS 6 Xposition Yposition Zposition Zrotation"
        " Xrotation Yrotation\n"
    )
    for name, (o0, n1, o1, n2, o2, o3) in limbs.items():
        text += LIMB.format(i=" ", n0=name, o0=o0, n1=n1, o1=o1, n2=n2, o2=o2, o3=o3)
        order += [name, n1, n2]
    for depth, name in enumerate(("Spine", "Neck", "Head")):
        text += (
            " "
            * (depth + 1)
            + f"JOINT {name}\n{{ OFFSET 0 {(20, 30, 10)[depth]} 0\nCHANNELS 3 Zrotation Xrotation"
            " Yrotation\n"
        )
        order.append(name)
    text += "End Site\n{ OFFSET 0 15 0 }\n" + "}\n" * 3 + "}\n"
    text += f"MOTION\nFrames: {len(frames)}\nFrame Time: 0.0166667\n"
    for frame in frames:
        row = [0.0, 95.0, 0.0]
        for name in order:
            row += frame.get(name, (0.0, 0.0, 0.0))
        text += " ".join(map(str, row)) + "\n"
    return (
        text.replace("\n{", "\n{\n").replace(" {", "\n{").replace("}", "\n}\n").replace("{ ", "{\n")
    )


def clean(text: str) -> str:
    """Put one group of tokens on each line, as BVH readers require."""
    return "\n".join(line.strip() for line in text.splitlines() if line.strip()) + "\n"


@pytest.fixture
def bent(tmp_path: Path) -> Path:
    path = tmp_path / "bent.bvh"
    # left arm down, right knee bent by 60
    pose = {
        "LeftArm": (-90.0, 0.0, 0.0),
        "RightLeg": (0.0, 60.0, 0.0),
    }
    path.write_text(clean(bvh_text([{}, {}, pose, pose])))
    return path


def test_bvh_zero_pose_is_the_canonical_tpose_and_turns_follow(bent: Path) -> None:
    motion = read_bvh(bent)
    np.testing.assert_allclose(
        np.abs(motion.rotations[0, :, 3]), 1.0, atol=1e-6, err_msg="all identity"
    )
    arm = rotations.rotate(
        motion.rotations[-1, JOINT_INDEX["left_shoulder"]], np.array([0.0, 1.0, 0.0])
    )
    np.testing.assert_allclose(arm, [0, 0, -1], atol=1e-4)
    shin = rotations.rotate(
        motion.rotations[-1, JOINT_INDEX["right_knee"]], np.array([0.0, 0.0, -1.0])
    )
    np.testing.assert_allclose(shin, [-np.sin(np.pi / 3), 0, -np.cos(np.pi / 3)], atol=1e-4)


def test_bvh_with_other_joints_is_named(tmp_path: Path) -> None:
    path = tmp_path / "odd.bvh"
    path.write_text(clean(bvh_text([{}, {}], arm="Tentacle")))
    with pytest.raises(PallasError, match=r"odd\.bvh: no joint of this BVH is the left shoulder"):
        read_bvh(path)


def test_bvh_with_nan_is_named(tmp_path: Path, bent: Path) -> None:
    path = tmp_path / "nan.bvh"
    path.write_text(bent.read_text().replace("95.0", "nan", 1))
    with pytest.raises(PallasError, match=r"nan\.bvh.*frame"):
        read_bvh(path)


def test_invalid_bvh_files_are_rejected_with_a_reason(tmp_path: Path) -> None:
    path = tmp_path / "bad.bvh"
    path.write_text("hello")
    with pytest.raises(PallasError, match=r"bad\.bvh: not a readable BVH"):
        read_bvh(path)


def test_amass_rest_pose_is_the_canonical_tpose(tmp_path: Path) -> None:
    path = tmp_path / "walk.npz"
    poses = np.zeros((5, 156))
    poses[:, :3] = rotations.to_rotvec(
        rotations.from_matrix(np.array([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]]))
    )  # upright, facing +x
    poses[:, 3 * JOINT_INDEX["left_elbow"] + 1] = -np.pi / 2  # forearm forward, about SMPL's y (up)
    np.savez(path, poses=poses, trans=np.zeros((5, 3)), mocap_framerate=120.0, betas=np.zeros(16))
    motion = read_amass(path)
    assert len(motion) == 3 and motion.fps == 60
    straight = [i for i, name in enumerate(JOINTS) if name not in ("left_elbow", "left_wrist")]
    np.testing.assert_allclose(np.abs(motion.rotations[:, straight, 3]), 1.0, atol=1e-6)
    forearm = rotations.rotate(
        motion.rotations[0, JOINT_INDEX["left_elbow"]], np.array([0.0, 1.0, 0.0])
    )
    np.testing.assert_allclose(forearm, [1, 0, 0], atol=1e-6)


@pytest.mark.parametrize(
    ("arrays", "what"),
    [
        ({"a": np.zeros(3)}, "needs 'poses'"),
        (
            {"poses": np.full((4, 72), np.nan), "trans": np.zeros((4, 3)), "mocap_framerate": 60},
            "NaN",
        ),
    ],
)
def test_bad_amass_files_are_named(
    tmp_path: Path, arrays: dict[str, np.ndarray], what: str
) -> None:
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(PallasError, match=rf"bad\.npz.*{what}"):
        read_amass(tmp_path / "bad.npz")


def test_an_empty_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(PallasError, match=str(tmp_path)):
        MotionLibrary.open(tmp_path)


def test_a_folder_of_files_is_a_library(tmp_path: Path, bent: Path) -> None:
    (bent.parent / ".bent.bvh.index.npz").write_bytes(b"an index of pallas search")
    library = MotionLibrary.from_clips(read_folder(bent.parent))
    assert [clip.name for clip in library.clips] == ["bent.bvh"]
    assert len(library.motion(library.clips[0])) == 4
