"""`pallas dynamics`, and bodies given by positions only."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import standing_bodies as bodies

pytest.importorskip("pinocchio", reason="needs the extra [robot]")

from hpstm_ros.dynamics.files import load_dynamics, save_dynamics
from hpstm_ros.dynamics.human import Human
from hpstm_ros.dynamics.offline import analyse, measured_offsets
from hpstm_ros.dynamics.points import stature, whole_body
from hpstm_ros.dynamics.rigid_body import RigidBodySettings
from pallas_ros.body.errors import PallasError
from pallas_ros.body.motion import Motion, save_motion, save_npz
from pallas_ros.body.names import JOINT_INDEX, JOINTS
from pallas_ros.body.skeleton import Skeleton
from pallas_ros.cli import main

SEEN = ("pelvis", "spine1") + tuple(
    f"{side}_{joint}"
    for side in ("left", "right")
    for joint in ("hip", "knee", "ankle", "foot", "shoulder", "elbow", "wrist")
)


def standing(frames: int = 60) -> np.ndarray:
    """Joints (frames, 22, 3) in the T-pose."""
    return np.tile(Skeleton.from_height().rest_positions, (frames, 1, 1))


def only(points: np.ndarray, joints: tuple[str, ...]) -> np.ndarray:
    out = np.full_like(points, np.nan)
    columns = [JOINT_INDEX[joint] for joint in joints]
    out[:, columns] = points[:, columns]
    return out


def test_missing_joints_are_placed_where_a_body_has_them() -> None:
    points = standing()
    motion = whole_body(only(points, SEEN), 60.0)
    assert np.abs(motion.positions - points).max() < 0.05
    assert motion.valid is not None
    assert motion.valid.all()


@pytest.mark.parametrize(
    ("lacking", "said"),
    [(("left_ankle",), "left_ankle is missing"), (("left_hip", "right_hip"), "hip is missing")],
)
def test_without_legs_nothing_is_claimed(lacking: tuple[str, ...], said: str) -> None:
    with pytest.raises(PallasError, match=said):
        whole_body(only(standing(), tuple(j for j in SEEN if j not in lacking)), 60.0)


def run(*words: str | Path) -> int:
    return main(["dynamics", *map(str, words)])


def test_the_command_writes_a_dynamics_file_and_a_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "in.npz"
    out = tmp_path / "out.npz"
    points = only(standing(), SEEN).astype(np.float32)
    save_npz(source, {"fps": np.float64(60), "joint_names": np.array(JOINTS), "positions": points})
    page = tmp_path / "page.html"
    assert (
        run(source, out, "--mass", "75", "--load", "10", "--hand", "right", "--report", page) == 0
    )
    found = load_dynamics(out)
    assert found.moment.shape == (60, 22, 3)
    assert found.residual.shape == (60, 6)
    upward = found.ground_reaction[30, :, 2]
    assert upward.sum() == pytest.approx(85 * 9.81, rel=0.02)
    assert upward[1] > upward[0]  # the load hangs on the right
    assert "Ground reaction" in page.read_text()
    assert page.read_text().count("data:image/png") == 3
    said = capsys.readouterr().out
    assert "lumbar" in said
    assert "not a medical device" in said
    slow = {"fps": np.float64(10), "joint_names": np.array(JOINTS), "positions": points}
    save_npz(source, slow)
    assert run(source, out, "--mass", "75", "--report", page) == 0
    assert "the motion is not filtered" in capsys.readouterr().out
    assert "the motion is not filtered" in page.read_text()


def test_invalid_frames_do_not_change_the_size_of_the_person() -> None:
    """Regression: placeholders in frames that are not valid counted as bone lengths."""
    motion = bodies.still(bodies.arms_down(), 2.0)
    offsets = measured_offsets(motion)
    height = stature(motion)
    motion.valid = np.arange(len(motion)) < 50
    motion.positions[50:] *= 0.1
    np.testing.assert_allclose(measured_offsets(motion), offsets, atol=1e-9)
    assert stature(motion) == pytest.approx(height)


def test_a_dynamics_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    """Regression: the forces of seat and hands were left out, and wrong arrays were tracebacks."""
    motion = bodies.still(bodies.arms_down(), 0.5)
    settings = RigidBodySettings(extra=("seat",))
    written = analyse(motion, Human.of_skeleton(bodies.SKELETON, 75.0), settings)
    path = tmp_path / "forces.npz"
    save_dynamics(path, written)
    found = load_dynamics(path)
    known = written.valid
    np.testing.assert_allclose(found.extra["seat"][known], written.extra["seat"][known])
    with np.load(path) as file:
        arrays = dict(file)
    for name, wrong in (("t", np.float64(1)), ("load", np.zeros(1)), ("mass", np.array("many"))):
        save_npz(path, {**arrays, name: wrong})
        with pytest.raises(PallasError, match=f"'{name}' has shape"):
            load_dynamics(path)


@pytest.mark.parametrize("fps", [30, 120])
def test_the_network_takes_files_of_any_rate(
    fps: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Regression: scores and pictures were taken from frames of the file by indices at 60 Hz, which
    failed at 30 Hz and missed the bow at 120 Hz.
    """
    words = ["--mass", "75", "--method", "hdys", "--report", tmp_path / "page.html"]
    posture = []
    for rate in (60, fps):
        save_motion(tmp_path / "in.npz", _bowing_late(rate))
        assert run(tmp_path / "in.npz", tmp_path / "out.npz", *words) == 0
        posture.append([line for line in capsys.readouterr().out.splitlines() if "RULA" in line])
        assert load_dynamics(tmp_path / "out.npz").t[-1] == pytest.approx(4.0, abs=0.05)
    assert posture[0] == posture[1]


def _bowing_late(fps: int) -> Motion:
    """A bow in the second half of four seconds."""
    t = np.arange(4 * fps) / fps
    q = np.stack([bodies.bowed(1.2 * s) for s in np.clip(t - 2.5, 0.0, 1.0)])
    pelvis = np.tile(bodies.SKELETON.rest_positions[0], (len(q), 1))
    return replace(bodies.moving(q, pelvis), fps=float(fps))


def test_no_dynamics_file_is_left_if_the_page_cannot_be_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_motion(tmp_path / "in.npz", bodies.still(bodies.arms_down()))
    out = tmp_path / "out.npz"
    assert run(tmp_path / "in.npz", out, "--mass", "75", "--report", tmp_path) != 0
    assert "cannot be written" in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--mass", "0"), "--mass is 0"),
        (("--mass", "500"), "--mass is 500"),
        (("--mass", "nan"), "--mass is nan"),
        (("--mass", "75", "--load", "-3"), "--load is -3"),
        (("--mass", "75", "--height", "17"), "--height 17"),
    ],
)
def test_wrong_numbers_are_one_sentence_and_no_file(
    words: tuple[str, ...], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "in.npz"
    out = tmp_path / "out.npz"
    motion = Motion(60.0, standing(), np.tile([0.0, 0.0, 0.0, 1.0], (60, 22, 1)))
    save_motion(source, motion)
    assert run(source, out, *words) != 0
    errors = capsys.readouterr().err
    assert said in errors
    assert "Traceback" not in errors
    assert not out.exists()


def test_three_frames_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "in.npz"
    out = tmp_path / "out.npz"
    save_motion(source, Motion(60.0, standing(3), np.tile([0.0, 0.0, 0.0, 1.0], (3, 22, 1))))
    assert run(source, out, "--mass", "75") != 0
    assert "3 frames" in capsys.readouterr().err
    assert not out.exists()
