"""Reports and exported motion: complete, self-contained, written completely or not at all, and
readable by other tools.
"""

import csv
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pallas_ros.bags import Bag, BagWriter
from pallas_ros.bags.types import _known_types, message_definition
from pallas_ros.body import rotations
from pallas_ros.body.errors import PallasError
from pallas_ros.body.frames import BodyFrame
from pallas_ros.body.motion import Motion, save_motion
from pallas_ros.body.names import JOINTS, PARENTS, SITES
from pallas_ros.body.origin import GENERATED, Origin, request_in
from pallas_ros.commands.export_motion import from_bag
from pallas_ros.commands.report import find_bags, page_names
from pallas_ros.imu.calibration import Calibration, SiteCalibration
from pallas_ros.imu.motions import demo_motion
from pallas_ros.messages.decode import header_stamp
from pallas_ros.view.curve import KEEP, Curve, Distribution
from pallas_ros.view.export import Z_UP_TO_Y_UP, write_bvh, write_csv
from pallas_ros.view.measure import JOINTS as JOINTS_SHOWN
from pallas_ros.view.measure import Session, _Reader, measure
from pallas_ros.view.moments import BagFile
from pallas_ros.view.page import Written, write_index
from pallas_ros.view.report import _arm, write_report

ARM_TOPICS = {
    "/joint_states": "sensor_msgs/msg/JointState",
    "/arm/joint_trajectory": "trajectory_msgs/msg/JointTrajectory",
    "/robot_description": "std_msgs/msg/String",
    "/pallas/calibration": "std_msgs/msg/String",
}
ROBOT = """<robot name="arm"><link name="base"/><link name="hand"/><joint name="j1" type="revolute"><parent link="base"/><child link="hand"/>
<axis xyz="0 0 1"/><limit lower="-1.25" upper="2.5" effort="1" velocity="1"/></joint></robot>"""  # noqa: E501
CALIBRATION = Calibration(
    {
        site: SiteCalibration(np.array([0, 0, 0, 1.0]), residual=np.radians(k + 0.5))
        for k, site in enumerate(SITES)
    }
).to_yaml()


def add_arm(bag: BagWriter, store: Any, stamp: int, angle: float) -> None:
    """Add a measured joint angle, and a commanded one 0.25 rad away."""
    types = store.types
    header = types["std_msgs/msg/Header"](
        stamp=types["builtin_interfaces/msg/Time"](0, 0), frame_id=""
    )
    none = np.zeros(0)
    state = types["sensor_msgs/msg/JointState"](
        header=header, name=["j1"], position=np.array([angle]), velocity=none, effort=none
    )
    duration = types["builtin_interfaces/msg/Duration"](0, 0)
    point = types["trajectory_msgs/msg/JointTrajectoryPoint"](
        positions=np.array([angle + 0.25]),
        velocities=none,
        accelerations=none,
        effort=none,
        time_from_start=duration,
    )
    command = types["trajectory_msgs/msg/JointTrajectory"](
        header=header, joint_names=["j1"], points=[point]
    )
    for topic, message in (("/joint_states", state), ("/arm/joint_trajectory", command)):
        bag.write(topic, stamp, bytes(store.serialize_cdr(message, ARM_TOPICS[topic])))


def make_bag(
    path: Path, motion: Motion, delay_ns: int = 7_000_000, remarks: tuple[str, ...] = ()
) -> Path:
    """A bag of bodies, each received ``delay_ns`` after its newest sample, with a gap of 0.5 s and
    a supervisor stop.
    """
    store = _known_types()
    message_definition("pallas/msg/BodyPose")
    message_definition("pallas/msg/SupervisorStatus")
    types = store.types
    time = types["builtin_interfaces/msg/Time"]
    header = types["std_msgs/msg/Header"]
    pose, point, quaternion = (
        types[f"geometry_msgs/msg/{name}"] for name in ("Pose", "Point", "Quaternion")
    )
    with BagWriter(path) as bag:
        bag.add_topic("/hpstm/body", "pallas/msg/BodyPose")
        bag.add_topic("/retarget/status", "pallas/msg/SupervisorStatus")
        for topic, msgtype in ARM_TOPICS.items():
            bag.add_topic(topic, msgtype)
        text = types["std_msgs/msg/String"]
        for topic, said in (("/robot_description", ROBOT), ("/pallas/calibration", CALIBRATION)):
            bag.write(
                topic, 10**12, bytes(store.serialize_cdr(text(data=said), "std_msgs/msg/String"))
            )
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
                remarks=[*remarks, *(["left_wrist <b>silent</b>"] if index == 50 else [])],
            )
            bag.write(
                "/hpstm/body",
                stamp + delay_ns,
                bytes(store.serialize_cdr(body, "pallas/msg/BodyPose")),
            )
            if index % 2:
                add_arm(bag, store, stamp + delay_ns, index / len(motion))
        fields = dict.fromkeys(("state_name", "reason"), "")
        fields |= {
            "state": 4,
            "state_name": "stopped",
            "reason": "emergency stop",
            "header": header(stamp=at, frame_id="base"),
        }
        fields |= dict.fromkeys(("engaged", "dead_man", "emergency_stop"), False) | {
            "joint_names": [],
            "limited_by": ["velocity:j1"],
        }
        fields |= dict.fromkeys(("speed_scale", "tip_speed", "tracking_error", "target_error"), 0.0)
        fields |= {"operator_id": "operator", "people": ["operator"], "strangers_refused": 0}
        fields |= dict.fromkeys(("measurement_age", "delivery_lag"), 0.0)
        fields |= {"commands": 10, "commands_limited": 3, "inputs_refused": 0}
        status = types["pallas/msg/SupervisorStatus"](**fields)
        bag.write(
            "/retarget/status",
            stamp + delay_ns,
            bytes(store.serialize_cdr(status, "pallas/msg/SupervisorStatus")),
        )
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
    assert "/hpstm/body: ok again" in said


def test_the_page_is_self_contained_and_escapes_its_input(bag: Path, tmp_path: Path) -> None:
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


def test_the_page_draws_residuals_limits_and_the_supervisors_states(
    bag: Path, tmp_path: Path
) -> None:
    session = measure(bag)
    assert session.states == [(pytest.approx(session.duration), "stopped")]
    times, sent = session.commanded.arrays()
    np.testing.assert_allclose(sent - session.joints.arrays()[1], 0.25)
    assert len(times) == len(session.joints.times) > 50
    html = write_report(bag, tmp_path / "page.html", film=False).page.read_text()
    for site, degrees in zip(SITES, ("0.5", "1.5", "2.5", "3.5")):
        assert f">{site}</text>" in html
        assert f">{degrees} deg</text>" in html
    assert "j1, with its limits" in html
    assert html.count("stroke-dasharray") == 2
    assert "<title>stopped," in html


def test_the_page_lists_generated_motions(motion: Motion, tmp_path: Path) -> None:
    lines = Origin("wave <b>now</b>", "flow", 3, 91.2, (91.2, 80.1)).lines()
    bag = make_bag(tmp_path / "generated", motion, remarks=(GENERATED, *lines))
    assert [row[1:] for row in measure(bag).generated] == [request_in(lines)]
    write_report(bag, tmp_path / "generated.html", film=False)
    html = (tmp_path / "generated.html").read_text()
    assert "Generated motion" in html
    assert "wave &lt;b&gt;now&lt;/b&gt;" in html
    assert "best of 2 (91, 80)" in html


def test_a_bag_is_looked_at_where_one_asks(bag: Path, motion: Motion) -> None:
    recording = BagFile(bag)
    first, last = recording.body_span() or (0, 0)
    assert first == pytest.approx(0.007)
    for index in (
        100,
        30,
        59,
        61,
        len(motion) - 1,
    ):
        # forth and back; a gap of 0.5 s follows the frame 60
        time = first + index / motion.fps + (0.5 if index > 60 else 0.0) + 1e-4
        shown = recording.at(time)
        assert shown.body is not None
        np.testing.assert_allclose(shown.body[:, :3], motion.positions[index], atol=1e-6)
        assert shown.plots["latency, ms"] == pytest.approx(7.0)
        assert shown.commanded["j1"] - shown.joints["j1"] == pytest.approx(0.25)
    assert recording.at(last).state == "stopped"
    assert "emergency stop" in recording.at(last).words
    assert recording.at(last + 5).body is None  # what is old is not shown


def test_many_bags_become_a_table_and_a_broken_one_a_sentence(bag: Path, tmp_path: Path) -> None:
    folder = tmp_path / "all"
    (folder / "good").mkdir(parents=True)
    (folder / "good" / "good_0.mcap").write_bytes(next(bag.glob("*.mcap")).read_bytes())
    (folder / "bad").mkdir()
    (folder / "bad" / "bad_0.mcap").write_text("nothing")
    command = [
        sys.executable,
        "-m",
        "pallas_ros.cli",
        "report",
        str(folder),
        "-o",
        str(tmp_path / "out"),
        "--no-film",
    ]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout.endswith("1 bags, 1 unreadable\n")
    assert "not an MCAP file" in (tmp_path / "out" / "index.html").read_text()
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["good.html", "index.html"]


def test_every_bag_has_its_page_and_no_name_is_a_link_to_elsewhere(
    bag: Path, tmp_path: Path
) -> None:
    data = next(bag.glob("*.mcap")).read_bytes()
    folder = tmp_path / "all"
    names = [
        "a/walk",
        "b/walk",
        "index",
        "javascript:alert(1)",
        "data:text,<b>",
        'x" onmouseover=alert(1) y="',
        "<script>alert(1)<script>",
        "50% &amp; #1?q",
    ]
    for name in names:
        (folder / name).mkdir(parents=True)
        (folder / name / "data_0.mcap").write_bytes(data)
    # what `pallas repair` keeps is not a bag of its own
    (folder / "a" / "walk" / "original").mkdir()
    (folder / "a" / "walk" / "original" / "data_0.mcap").write_bytes(data)
    bags = find_bags(folder)
    assert bags == sorted(folder / name.removesuffix("/") for name in names)
    pages = page_names(bags, folder, tmp_path / "out")
    assert len(set(pages.values())) == len(names)
    assert tmp_path / "out" / "index.html" not in pages.values()
    index = tmp_path / "out" / "index.html"
    rows = {}
    for place, page in pages.items():
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(place.name)
        rows[str(place.relative_to(folder))] = Written(page, {})
    write_index(rows, index)
    html = index.read_text()
    links = re.findall(r'href="([^"]*)"', html)
    assert len(links) == len(names)
    assert {urljoin("http://here/out/", link).split("/")[2] for link in links} == {"here"}
    for link in links:
        parts = urlsplit(urljoin("http://here/", link))
        assert parts.scheme == "http"
        assert not parts.query
        assert (tmp_path / "out" / unquote(parts.path).lstrip("/")).is_file()
    assert "<script" not in html
    assert not re.search(r"<[^>]*onmouseover=", html)


def test_curves_stay_short_and_keep_every_peak_however_long_the_session() -> None:
    rng = np.random.default_rng(0)
    count = 23 * KEEP + 7
    values = np.column_stack((rng.normal(size=count), np.arange(count, dtype=float)))
    values[[5, 4321, count - 1], 0] = (99.0, -77.0, 55.0)
    curve = Curve()
    for index, value in enumerate(values):
        curve.add(float(index), value)
    times, kept = curve.arrays()
    assert 2 * KEEP <= len(times) <= 4 * KEEP
    assert (np.diff(times) >= 0).all()
    for peak, near in ((99.0, 5), (-77.0, 4321), (55.0, count - 1)):
        (where,) = np.flatnonzero(kept[:, 0] == peak)
        assert near - 32 < times[where] <= near
    np.testing.assert_array_equal(
        (kept.min(axis=0), kept.max(axis=0)), (values.min(axis=0), values.max(axis=0))
    )


def test_a_short_curve_is_unchanged() -> None:
    curve = Curve()
    for index in range(2 * KEEP):
        curve.add(float(index), index)
    times, values = curve.arrays()
    np.testing.assert_array_equal(times, np.arange(2 * KEEP))
    np.testing.assert_array_equal(values[:, 0], times)


def test_a_distribution_has_percentiles_and_a_maximum() -> None:
    values = np.random.default_rng(0).gamma(2.0, 5.0, 20_000)
    values[17] = 812.3
    distribution = Distribution()
    for value in values.tolist():
        distribution.add(value)
    percents = (1, 50, 99, 99.9)
    np.testing.assert_allclose(
        distribution.percentiles(*percents),
        np.percentile(values, percents, method="inverted_cdf"),
        atol=Distribution.STEP,
    )
    seen, counts = distribution.arrays()
    assert counts.sum() == len(values)
    assert seen[-1] == pytest.approx(812.3, abs=Distribution.STEP)


@settings(max_examples=30)
@given(data=st.binary(max_size=40))
def test_a_stamp_is_read_from_the_first_bytes(data: bytes) -> None:
    if len(data) < 12:
        with pytest.raises(ValueError, match="too short"):
            header_stamp(data)
    else:
        assert isinstance(header_stamp(data), int)
    assert (
        header_stamp(b"\0\1\0\0" + (7).to_bytes(4, "little") + (5).to_bytes(4, "little"))
        == 7_000_000_005
    )
    assert (
        header_stamp(b"\0\0\0\0" + (7).to_bytes(4, "big") + (5).to_bytes(4, "big")) == 7_000_000_005
    )


def read_bvh(path: Path) -> tuple[list[str], np.ndarray]:
    """Return joint names and world positions (T, J, 3) in cm, using the `bvh` library and plain
    forward kinematics.
    """
    bvh = pytest.importorskip("bvh", reason="needs the test package bvh")
    tree = bvh.Bvh(path.read_text())
    names = tree.get_joints_names()
    out = np.zeros((tree.nframes, len(names), 3))
    for frame in range(tree.nframes):
        world: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        for number, name in enumerate(names):
            z, x, y = np.radians(
                tree.frame_joint_channels(frame, name, ["Zrotation", "Xrotation", "Yrotation"])
            )
            local = _axis(2, z) @ _axis(0, x) @ _axis(1, y)
            parent = tree.joint_parent(name)
            if parent is None:
                place = np.array(
                    tree.frame_joint_channels(frame, name, ["Xposition", "Yposition", "Zposition"])
                )
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
    np.testing.assert_allclose(
        [float(row["left_wrist_z"]) for row in rows], motion.positions[:, 20, 2], atol=1e-6
    )
    np.testing.assert_allclose(
        [float(row["head_qw"]) for row in rows], motion.rotations[:, 15, 3], atol=1e-6
    )
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
def test_bag_and_motion_file_through_the_command(
    bag: Path, motion: Motion, tmp_path: Path, kind: str
) -> None:
    save_motion(tmp_path / "m.npz", motion)
    for source, frames in ((bag, len(motion) + 30), (tmp_path / "m.npz", len(motion))):
        command = [
            sys.executable,
            "-m",
            "pallas_ros.cli",
            "export-motion",
            str(source),
            str(tmp_path / f"out.{kind}"),
        ]
        run = subprocess.run(command, capture_output=True, text=True)
        assert run.returncode == 0, run.stderr
        assert f"{frames} frames at 60 Hz" in run.stdout


def test_one_of_several_people_is_exported(
    motion: Motion, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Regression: the bodies of all people on a topic were mixed into one motion."""
    wire = pytest.importorskip("pallas_ros.messages.wire", reason="needs ROS 2 (make setup)")
    with BagWriter(tmp_path / "bag") as bag:
        bag.add_topic("/hpstm/body", "pallas/msg/BodyPose")
        for index in range(40):
            stamp = 10**12 + round(index / 60 * 1e9)
            for name, shift in (("near", 0.0), ("far", 3.0))[: 1 + (index < 30)]:
                body = BodyFrame(
                    stamp=stamp,
                    rotations=motion.rotations[index],
                    positions=motion.positions[index] + [shift, 0.0, 0.0],
                    covariance=None,
                    valid=np.ones(22, dtype=bool),
                    confidence=np.ones(22),
                    contacts=np.ones(2),
                    newest_input=stamp,
                    body_id=name,
                )
                bag.write("/hpstm/body", stamp, wire.body_to_bytes(body))
    near = from_bag(tmp_path / "bag", None)
    np.testing.assert_allclose(near.positions, motion.positions[:40])
    assert "near (40 bodies), far (30 bodies)" in capsys.readouterr().err
    far = from_bag(tmp_path / "bag", None, "far")
    np.testing.assert_allclose(far.positions, motion.positions[:30] + [3.0, 0.0, 0.0])
    assert not capsys.readouterr().err
    with pytest.raises(PallasError, match="no body 'nobody'; it contains near"):
        from_bag(tmp_path / "bag", None, "nobody")


def test_of_many_joints_a_few_are_shown(bag: Path) -> None:
    """Regression: each joint had a plot, without a limit."""
    session = Session(bag, 1.0, "")
    reader = _Reader(Bag(bag), session)
    names = [f"joint{i}" for i in range(5000)]
    for time in (0.0, 1.0):
        reader._add_joints(session.joints, time, names, np.zeros(5000))
    assert len(session.joint_names) == JOINTS_SHOWN
    html = _arm(session, None)
    assert html.count("<svg") == JOINTS_SHOWN
    assert f"{5000 - JOINTS_SHOWN} more joints are not shown" in html
