"""Reports and exported motion: complete, self-contained, whole or not at all, and readable by others."""

import csv
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pallas_ros.bags import BagWriter
from pallas_ros.bags.types import _known_types, message_definition
from pallas_ros.body import rotations
from pallas_ros.body.errors import PallasError
from pallas_ros.body.motion import Motion, save_motion
from pallas_ros.body.names import JOINTS, PARENTS
from pallas_ros.imu.motions import demo_motion
from pallas_ros.view.export import Z_UP_TO_Y_UP, write_bvh, write_csv
from pallas_ros.view.measure import KEEP, Curve, measure
from pallas_ros.view.report import write_index, write_report


def make_bag(path: Path, motion: Motion, delay_ns: int = 7_000_000) -> Path:
    """A bag of bodies, each received ``delay_ns`` after its newest sample, with a gap of 0.5 s and a supervisor that stops."""
    store = _known_types()
    message_definition("pallas/msg/BodyPose")
    message_definition("pallas/msg/SupervisorStatus")
    types = store.types
    time, header = types["builtin_interfaces/msg/Time"], types["std_msgs/msg/Header"]
    pose, point, quaternion = (types[f"geometry_msgs/msg/{name}"] for name in ("Pose", "Point", "Quaternion"))
    with BagWriter(path) as bag:
        bag.add_topic("/hpstm/body", "pallas/msg/BodyPose")
        bag.add_topic("/retarget/status", "pallas/msg/SupervisorStatus")
        for index in range(len(motion)):
            stamp = 10**12 + round(index / motion.fps * 1e9) + (500_000_000 if index > 60 else 0)
            at = time(sec=stamp // 10**9, nanosec=stamp % 10**9)
            body = types["pallas/msg/BodyPose"](
                header=header(stamp=at, frame_id="odom"),
                body_id="operator",
                joint_names=list(JOINTS),
                poses=[
                    pose(position=point(*map(float, p)), orientation=quaternion(*map(float, q)))
                    for p, q in zip(motion.positions[index], motion.rotations[index])
                ],
                position_covariance=np.zeros(0),
                valid=np.ones(22, dtype=bool),
                confidence=np.full(22, 0.8, dtype=np.float32),
                foot_contact=np.ones(2, dtype=np.float32),
                newest_input=at,
                remarks=["left_wrist <b>silent</b>"] if index == 50 else [],
            )
            bag.write("/hpstm/body", stamp + delay_ns, bytes(store.serialize_cdr(body, "pallas/msg/BodyPose")))
        fields = dict.fromkeys(("state_name", "reason"), "")
        fields |= {"state": 4, "state_name": "stopped", "reason": "emergency stop", "header": header(stamp=at, frame_id="base")}
        fields |= dict.fromkeys(("engaged", "dead_man", "emergency_stop"), False) | {"joint_names": [], "limited_by": ["velocity:j1"]}
        fields |= dict.fromkeys(("speed_scale", "tip_speed", "tracking_error", "target_error"), 0.0)
        fields |= {"commands": 10, "commands_limited": 3, "inputs_refused": 0}
        status = types["pallas/msg/SupervisorStatus"](**fields)
        bag.write("/retarget/status", stamp + delay_ns, bytes(store.serialize_cdr(status, "pallas/msg/SupervisorStatus")))
    return path


@pytest.fixture(scope="module")
def motion() -> Motion:
    return demo_motion(2.0)


@pytest.fixture(scope="module")
def bag(tmp_path_factory: pytest.TempPathFactory, motion: Motion) -> Path:
    return make_bag(tmp_path_factory.mktemp("session") / "walk", motion)


def test_the_figures_are_those_of_the_bag(bag: Path) -> None:
    session = measure(bag)
    figures = session.figures()
    assert figures["latency_smoothed_p50_ms"] == pytest.approx(7.0)
    assert figures["max_gap_ms"] == pytest.approx(500 + 1000 / 60, abs=0.1)
    assert figures["commands_limited"] == 3
    assert session.limited_by == {"velocity:j1": 1}
    said = [what for _, what in session.events]
    assert "supervisor: stopped, emergency stop" in said
    assert "/hpstm/body: left_wrist <b>silent</b>" in said
    assert "/hpstm/body: well again" in said


def test_the_page_stands_alone_and_escapes_what_it_was_told(bag: Path, tmp_path: Path) -> None:
    written = write_report(bag, tmp_path / "page.html")
    html = written.page.read_text()
    assert written.page.stat().st_size < 15e6
    assert not re.search(r"""(src|href)=["'](?!data:)""", html)
    assert "<script" not in html
    assert "left_wrist &lt;b&gt;silent" in html
    assert "data:video/mp4;base64," in html
    assert "data:image/png;base64," in html
    write_index({"walk": written, "bad": "no such bag"}, tmp_path / "index.html")
    index = (tmp_path / "index.html").read_text()
    assert 'href="page.html"' in index
    assert "no such bag" in index


def test_many_bags_become_a_table_and_a_broken_one_a_sentence(bag: Path, tmp_path: Path) -> None:
    folder = tmp_path / "all"
    (folder / "good").mkdir(parents=True)
    (folder / "good" / "good_0.mcap").write_bytes(next(bag.glob("*.mcap")).read_bytes())
    (folder / "bad").mkdir()
    (folder / "bad" / "bad_0.mcap").write_text("nothing")
    command = [sys.executable, "-m", "pallas_ros.cli", "report", str(folder), "-o", str(tmp_path / "out"), "--no-film"]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout.endswith("1 bags, 1 not readable\n")
    assert "not an MCAP file" in (tmp_path / "out" / "index.html").read_text()
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["good.html", "index.html"]


def test_curves_stay_short_however_long_the_session() -> None:
    curve = Curve()
    for index in range(20 * KEEP):
        curve.add(float(index), index)
    times, values = curve.arrays()
    assert KEEP <= len(times) <= 2 * KEEP
    assert set(np.diff(times)) == {times[1] - times[0]}
    np.testing.assert_array_equal(times, values)


def read_bvh(path: Path) -> tuple[list[str], np.ndarray]:
    """Joint names and world positions (T, J, 3) in cm by the `bvh` library's parsing and plain forward kinematics."""
    bvh = pytest.importorskip("bvh", reason="needs the test package bvh")
    tree = bvh.Bvh(path.read_text())
    names = tree.get_joints_names()
    out = np.zeros((tree.nframes, len(names), 3))
    for frame in range(tree.nframes):
        world: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        for number, name in enumerate(names):
            z, x, y = np.radians(tree.frame_joint_channels(frame, name, ["Zrotation", "Xrotation", "Yrotation"]))
            local = _axis(2, z) @ _axis(0, x) @ _axis(1, y)
            parent = tree.joint_parent(name)
            if parent is None:
                place = np.array(tree.frame_joint_channels(frame, name, ["Xposition", "Yposition", "Zposition"]))
                world[name] = (local, place)
            else:
                turn, place = world[parent.name]
                world[name] = (turn @ local, place + turn @ np.array(tree.joint_offset(name)))
            out[frame, number] = world[name][1]
    return names, out


def _axis(axis: int, angle: float) -> np.ndarray:
    rotvec = np.zeros(3)
    rotvec[axis] = angle
    return np.asarray(rotations.to_matrix(rotations.from_rotvec(rotvec)))


def test_another_library_reads_the_bvh_back(motion: Motion, tmp_path: Path) -> None:
    write_bvh(tmp_path / "m.bvh", motion)
    names, seen = read_bvh(tmp_path / "m.bvh")
    assert sorted(names) == sorted(JOINTS)
    expected = motion.positions @ Z_UP_TO_Y_UP.T * 100
    for number, name in enumerate(names):
        np.testing.assert_allclose(seen[:, number], expected[:, JOINTS.index(name)], atol=0.01)
    assert PARENTS[JOINTS.index("left_wrist")] == JOINTS.index("left_elbow")


def test_csv_is_what_went_in(motion: Motion, tmp_path: Path) -> None:
    write_csv(tmp_path / "m.csv", motion)
    with (tmp_path / "m.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(motion)
    np.testing.assert_allclose([float(row["left_wrist_z"]) for row in rows], motion.positions[:, 20, 2], atol=1e-6)
    np.testing.assert_allclose([float(row["head_qw"]) for row in rows], motion.rotations[:, 15, 3], atol=1e-6)
    assert float(rows[60]["time"]) == pytest.approx(1.0)


def test_frames_that_are_not_finite_repeat_the_one_before(motion: Motion, tmp_path: Path) -> None:
    positions = motion.positions.copy()
    positions[5:8] = np.nan
    write_bvh(tmp_path / "m.bvh", Motion(motion.fps, positions, motion.rotations))
    lines = (tmp_path / "m.bvh").read_text().splitlines()
    frames = lines[-len(motion) :]
    assert frames[5] == frames[6] == frames[7] == frames[4]
    with pytest.raises(PallasError, match="no frame of this motion is finite"):
        write_bvh(tmp_path / "n.bvh", Motion(motion.fps, positions * np.nan, motion.rotations))
    assert not (tmp_path / "n.bvh").exists()


@pytest.mark.parametrize("kind", ["bvh", "csv"])
def test_bag_and_motion_file_through_the_command(bag: Path, motion: Motion, tmp_path: Path, kind: str) -> None:
    save_motion(tmp_path / "m.npz", motion)
    for source, frames in ((bag, len(motion) + 30), (tmp_path / "m.npz", len(motion))):
        command = [sys.executable, "-m", "pallas_ros.cli", "export-motion", str(source), str(tmp_path / f"out.{kind}")]
        run = subprocess.run(command, capture_output=True, text=True)
        assert run.returncode == 0, run.stderr
        assert f"{frames} frames at 60 Hz" in run.stdout
