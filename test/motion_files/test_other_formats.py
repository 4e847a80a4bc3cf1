"""AMASS/SMPL, SMPL-X stageii, MVNX, C3D, TRC and this package's own files through one reader."""

import argparse
import io
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
import rigs

from pallas_ros.body import rotations
from pallas_ros.body.errors import PallasError
from pallas_ros.body.kinematics import to_local
from pallas_ros.body.motion import Motion, resample, save_motion
from pallas_ros.body.names import JOINT_INDEX, JOINTS
from pallas_ros.body.skeleton import Skeleton
from pallas_ros.commands import export_motion
from pallas_ros.motion_files import Overrides, options, read, read_for_streaming
from pallas_ros.motion_files.axes import Y_UP
from pallas_ros.motion_files.mvnx import _PARENTS

MOTION = rigs.known_motion(60)
MVNX_NAMES = {
    **{"Pelvis": "pelvis", "L5": "spine1", "L3": "spine2", "T8": "spine3", "Neck": "neck"},
    "Head": "head",
} | {
    f"{side.title()}{segment}": f"{side}_{joint}"
    for side in ("left", "right")
    for segment, joint in (
        *(("Shoulder", "collar"), ("UpperArm", "shoulder"), ("ForeArm", "elbow")),
        *(("Hand", "wrist"), ("UpperLeg", "hip"), ("LowerLeg", "knee"), ("Foot", "ankle")),
        ("Toe", "foot"),
    )
}
KEYPOINTS = {
    **{"CHip": "pelvis", "Neck": "neck", "Head": "head"},
    **{
        f"{side[0].upper()}{point}": f"{side}_{joint}"
        for side in ("left", "right")
        for point, joint in (
            *(("Hip", "hip"), ("Knee", "knee"), ("Ankle", "ankle"), ("BigToe", "foot")),
            *(("Shoulder", "shoulder"), ("Elbow", "elbow"), ("Wrist", "wrist")),
        )
    },
}


def smpl_arrays(motion: Motion, up: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """Return AMASS fields; ``up`` (3, 3) rotates the world axes."""
    turn = np.eye(3) if up is None else up
    world = rotations.from_matrix(turn)
    q = rotations.multiply(world, rotations.multiply(motion.rotations, rotations.from_matrix(Y_UP)))
    poses = rotations.to_rotvec(to_local(q)).reshape(len(motion), -1)
    return {
        "poses": np.concatenate((poses, np.zeros((len(motion), 90))), axis=1),
        "trans": motion.positions[:, 0] @ turn.T,
        "mocap_framerate": np.float64(motion.fps),
        "betas": np.zeros(16),
    }


def assert_rotations(motion: Motion, degrees: float) -> None:
    error = np.degrees(rotations.angle_between(motion.rotations, MOTION.rotations))
    assert error.max() < degrees


def assert_limbs(motion: Motion, degrees: float = 2.0) -> None:
    for side in ("left", "right"):
        for start, end in (
            ("hip", "knee"),
            ("knee", "ankle"),
            ("shoulder", "elbow"),
            ("elbow", "wrist"),
        ):
            a = JOINT_INDEX[f"{side}_{start}"]
            b = JOINT_INDEX[f"{side}_{end}"]
            bones = [m.positions[:, b] - m.positions[:, a] for m in (motion, MOTION)]
            units = [bone / np.linalg.norm(bone, axis=1, keepdims=True) for bone in bones]
            assert np.sum(units[0] * units[1], axis=1).min() > np.cos(np.radians(degrees))


def test_amass_in_its_own_axes_and_in_a_cameras(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **smpl_arrays(MOTION))
    assert_rotations(read(tmp_path / "a.npz").motion, 0.1)
    camera = np.array([[0.0, -1.0, 0.0], [0.0, 0.0, -1.0], [1.0, 0.0, 0.0]])  # x right, y down
    np.savez(tmp_path / "b.npz", **smpl_arrays(MOTION, camera))
    file = read(tmp_path / "b.npz")
    assert "-y up" in file.found
    assert_rotations(file.motion, 0.1)


def test_smpl_poses_of_any_shape_and_without_a_rate(tmp_path: Path) -> None:
    arrays = smpl_arrays(MOTION)
    arrays["poses"] = arrays["poses"].reshape(len(MOTION), -1, 3)
    rate = float(arrays.pop("mocap_framerate"))
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(PallasError, match="--fps"):
        read(tmp_path / "a.npz")
    assert_rotations(read(tmp_path / "a.npz", Overrides(fps=rate)).motion, 0.1)


def test_stageii_files_are_read_and_their_objects_never_are(tmp_path: Path) -> None:
    arrays = smpl_arrays(MOTION)
    poses = arrays.pop("poses")
    arrays["mocap_frame_rate"] = arrays.pop("mocap_framerate")
    arrays |= {"root_orient": poses[:, :3], "pose_body": poses[:, 3:66], "pose_hand": poses[:, 66:]}
    arrays["surface_model_type"] = np.array("smplx")
    path = tmp_path / "walk_stageii.npz"
    np.savez(path, **arrays)
    with zipfile.ZipFile(
        path, "a"
    ) as archive:  # an object array whose pickle would raise if it were loaded
        member = io.BytesIO()
        np.lib.format.write_array_header_1_0(
            member, {"descr": "|O", "fortran_order": False, "shape": (3,)}
        )
        archive.writestr("markers_latent_vids.npy", member.getvalue() + b"cos\nabort\n(tR.")
    assert_rotations(read(path).motion, 0.1)


def mvnx(motion: Motion, poses: bool = True) -> str:
    names = list(_PARENTS)
    at = [JOINT_INDEX[MVNX_NAMES.get(name, "spine2")] for name in names]
    rest = Skeleton.from_height().rest_positions
    wxyz = motion.rotations[:, at][..., [3, 0, 1, 2]]

    def frame(kind: str, p: np.ndarray, q: np.ndarray) -> str:
        texts = (" ".join(f"{v:.6f}" for v in values.ravel()) for values in (q, p))
        return (
            '<frame type="{}"><orientation>{}</orientation><position>{}</position></frame>'.format(
                kind, *texts
            )
        )

    identity = np.tile([1.0, 0.0, 0.0, 0.0], (len(names), 1))
    frames = [frame("identity", rest[at], identity)] if poses else []
    frames += [frame("normal", p[at], q) for p, q in zip(motion.positions, wxyz, strict=True)]
    segments = "".join(f'<segment label="{name}" id="1"/>' for name in names)
    return (
        '<?xml version="1.0"?><mvnx version="4" xmlns="http://www.xsens.com/mvn/mvnx">'
        f'<subject frameRate="{motion.fps}"><segments>{segments}</segments>'
        f"<frames>{''.join(frames)}</frames></subject></mvnx>"
    )


@pytest.mark.parametrize("poses", [True, False], ids=["with rest pose", "without"])
def test_mvnx(tmp_path: Path, poses: bool) -> None:
    (tmp_path / "a.mvnx").write_text(mvnx(MOTION, poses))
    motion = read(tmp_path / "a.mvnx").motion
    assert_limbs(motion, 0.1)
    if poses:
        assert_rotations(motion, 1.0)


def test_mvnx_that_is_none(tmp_path: Path) -> None:
    path = tmp_path / "a.mvnx"
    text = mvnx(MOTION)
    for bad, says in (
        (text[:3000], "not XML"),
        (
            text.replace("<position>", "<velocity>").replace("</position>", "</velocity>"),
            "no frame",
        ),
        (text.replace("<mvnx", '<!DOCTYPE a [<!ENTITY b "c">]><mvnx', 1), "document type"),
        (
            text.replace("</segments>", '<segment label="x"/>' * 2000 + "</segments>"),
            "2000 segments",
        ),
        (text.replace(f'frameRate="{MOTION.fps}"', 'frameRate="0"'), "--fps"),
    ):
        path.write_text(bad)
        with pytest.raises(PallasError, match=says):
            read(path)


def test_endless_text_of_an_mvnx_is_not_kept(tmp_path: Path) -> None:
    text = mvnx(MOTION).replace("<position>", "<position>" + " " * 30_000_000, 1)
    (tmp_path / "a.mvnx").write_text(text)
    tracemalloc.start()
    try:
        found = read(tmp_path / "a.mvnx")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(found.motion) == len(MOTION)
    assert peak < 25_000_000


def trc(motion: Motion, unit: str, factor: float, axes: np.ndarray) -> str:
    names = list(KEYPOINTS)
    points = motion.positions[:, [JOINT_INDEX[joint] for joint in KEYPOINTS.values()]]
    points = points @ axes.T * factor
    rows = [
        f"{i + 1}\t{i / motion.fps:.6f}\t" + "\t".join(f"{v:.5f}" for v in frame.ravel())
        for i, frame in enumerate(points)
    ]
    labels = "\t\t\t".join(names)
    return "\n".join(
        (
            "PathFileType\t4\t(X/Y/Z)\ta.trc",
            "DataRate\tCameraRate\tNumFrames\tNumMarkers\tUnits",
            f"{motion.fps}\t{motion.fps}\t{len(motion) + 5}\t{len(names)}\t{unit}",
            f"Frame#\tTime\t{labels}\t\t",
            "\t\t" + "\t".join(f"X{i}\tY{i}\tZ{i}" for i in range(1, len(names) + 1)),
            "",
            *rows,
        )
    )


def test_trc(tmp_path: Path) -> None:
    path = tmp_path / "a.trc"
    text = trc(MOTION, "mm", 1000.0, rigs.Y_UP)
    path.write_text(text)
    file = read(path)
    assert_limbs(file.motion)
    assert "y up" in file.found
    assert "unit mm" in file.found
    assert f"announces {len(MOTION) + 5} frames" in file.found
    lines = text.splitlines()
    cells = lines[20].split("\t")
    cells[2:5] = ["", "", ""]
    lines[20] = "\t".join(cells)
    path.write_text("\r\n".join(lines).replace("\tmm", "\tm"))  # a unit that is wrong
    file = read(path)
    assert_limbs(file.motion)
    assert file.motion.valid is not None
    assert np.flatnonzero(~file.motion.valid).tolist() == [14]
    path.write_text("PathFileType\n")
    with pytest.raises(PallasError, match="TRC"):
        read(path)


def test_short_rows_of_a_trc_count_in_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are padded, so that a small file could fill the memory."""
    monkeypatch.setattr("pallas_ros.motion_files.trc._MAX_NUMBERS", 10_000)
    names = "\t\t\t".join(f"p{n}" for n in range(1000))
    head = f"PathFileType\t4\nDataRate\tUnits\n60\tm\nFrame#\tTime\t{names}\n\n"
    (tmp_path / "a.trc").write_text(head + "1\t0\n" * 10)
    with pytest.raises(PallasError, match="more than 3 frames of 1000 points"):
        read(tmp_path / "a.trc")


def test_c3d(tmp_path: Path) -> None:
    c3d = pytest.importorskip("c3d")
    writer = c3d.Writer(point_rate=60.0, point_scale=-1.0)
    points = MOTION.positions[:, [JOINT_INDEX[joint] for joint in KEYPOINTS.values()]] * 1000
    frames = [
        (np.concatenate((p, np.zeros((len(p), 2))), axis=1).astype(np.float32), np.zeros((0, 0)))
        for p in points
    ]
    writer.set_point_labels(list(KEYPOINTS))
    writer.add_frames(frames)
    path = tmp_path / "a.c3d"
    with path.open("wb") as file:
        writer.write(file)
    found = read(path)
    assert found.motion.fps == 60.0
    assert_limbs(found.motion)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    assert "it contains" in read(path).found
    path.write_bytes(data[:700])
    with pytest.raises(PallasError, match=r"a\.c3d"):
        read(path)


def test_own_files_and_those_with_positions_only(tmp_path: Path) -> None:
    save_motion(tmp_path / "a.npz", MOTION)
    np.testing.assert_allclose(
        read(tmp_path / "a.npz").motion.positions, MOTION.positions, atol=1e-6
    )
    arrays = {"fps": MOTION.fps, "joint_names": np.array(JOINTS)}
    np.savez(tmp_path / "b.npz", positions=MOTION.positions @ rigs.Y_UP.T * 100, **arrays)
    file = read(tmp_path / "b.npz")
    assert_limbs(file.motion)
    assert "y up" in file.found
    save_motion(tmp_path / "c.npz", Motion(60.0, MOTION.positions * 1000, MOTION.rotations))
    with pytest.raises(PallasError, match=r"legs are .* --unit"):
        read(tmp_path / "c.npz")
    assert_limbs(read(tmp_path / "c.npz", Overrides(metres=0.001)).motion)
    np.savez(tmp_path / "d.npz", stamp=np.zeros(3), linear_acceleration=np.zeros((3, 1, 3)))
    with pytest.raises(PallasError, match=r"an IMU recording.*pallas process"):
        read(tmp_path / "d.npz")
    (tmp_path / "e.txt").write_text("hello")
    with pytest.raises(PallasError, match=r"not a motion file of a known format.*\.bvh"):
        read(tmp_path / "e.txt")


def test_slow_files_of_other_tools_are_interpolated_before_streaming(tmp_path: Path) -> None:
    rigs.render(tmp_path / "a.bvh", rigs.RIGS["own"], MOTION)
    motion = read_for_streaming(tmp_path / "a.bvh").motion
    assert motion.fps == 60.0
    assert motion.duration == pytest.approx(MOTION.duration, abs=0.02)
    save_motion(tmp_path / "a.npz", MOTION)
    assert len(read_for_streaming(tmp_path / "a.npz").motion) == len(MOTION)


def test_resampling_marks_frames_next_to_an_invalid_one() -> None:
    valid = np.array([True, True, False, True, True])
    motion = Motion(30.0, MOTION.positions[:5], MOTION.rotations[:5], valid=valid)
    out = resample(motion, 60.0)
    assert out.valid is not None
    assert out.valid.tolist() == [True, True, True, False, False, False, True, True, True]


@pytest.mark.parametrize(
    ("unit", "metres"), [("m", 1.0), ("CM", 0.01), ("in", 0.0254), ("0.5", 0.5)]
)
def test_units(unit: str, metres: float) -> None:
    assert options.metres(unit) == metres


@pytest.mark.parametrize("unit", ["parsec", "-1", "nan", "0"])
def test_units_that_are_none(unit: str) -> None:
    with pytest.raises(PallasError, match="--unit"):
        options.metres(unit)


def test_the_options_reach_the_reader(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rigs.render(tmp_path / "a.bvh", rigs.RIGS["biped"], MOTION)
    (tmp_path / "map.yaml").write_text("head: Bip01 Head\n")
    parser = argparse.ArgumentParser()
    export_motion.configure(parser)
    arguments = [str(tmp_path / "a.bvh"), str(tmp_path / "a.csv"), "--up", "z", "--unit", "inch"]
    args = parser.parse_args([*arguments, "--fps", "50", "--map", str(tmp_path / "map.yaml")])
    assert export_motion.run(args) == 0
    assert "at 50 Hz; z up, facing -y; unit inch" in capsys.readouterr().out
    args = parser.parse_args([*arguments[:2], "--up=-z"])
    with pytest.raises(PallasError, match="upside down"):
        export_motion.run(args)
    with pytest.raises(PallasError, match="--up sideways"):
        export_motion.run(parser.parse_args([*arguments[:2], "--up", "sideways"]))
