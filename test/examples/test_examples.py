"""Every file in `examples/` runs as described in its docstring."""

import importlib
import json
import os
import re
import subprocess
import sys
import threading
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest

from hpstm_ros import Smoother, SmootherSettings, smooth_motion
from hpstm_ros.generation.representation import FEATURES
from hpstm_ros.generation.request import Request
from hpstm_ros.retarget.urdf import find
from hpstm_ros.teleoperation.recorded import frames
from pallas_ros import SITES, BagWriter, Reading, demo_motion, load_motion
from pallas_ros.bags import Qos
from pallas_ros.imu.protocols import PROTOCOLS
from pallas_ros.imu.simulator import SensorSimulator
from pallas_ros.imu.virtual import SensorNoise

tomllib = pytest.importorskip("tomllib")

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
pytestmark = pytest.mark.timeout(300)


def run(*arguments: object, timeout: float = 240.0) -> str:
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=EXAMPLES.parent,
        env={**os.environ, "MPLBACKEND": "agg"},
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_body_from_recording(recording: Path, tmp_path: Path) -> None:
    printed = run(EXAMPLES / "body_from_recording.py", recording, tmp_path / "motion.npz")
    motion = load_motion(tmp_path / "motion.npz")
    assert f"{len(motion)} frames" in printed
    assert motion.duration > 2.0


def test_live_from_serial() -> None:
    simulator = SensorSimulator(demo_motion(8.0), PROTOCOLS["witmotion"], SensorNoise.none())
    try:
        simulator.start()
        ports = [simulator.ports[site] for site in SITES]
        printed = run(EXAMPLES / "live_from_serial.py", *ports, 30)
    finally:
        simulator.stop()
    assert printed.count("right wrist at") == 30


def test_simulated_sensors_feed_what_reads_real_ones() -> None:
    simulator = subprocess.Popen(
        [sys.executable, EXAMPLES / "simulated_sensors.py"],
        cwd=EXAMPLES.parent,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert simulator.stdout is not None
        printed = run(EXAMPLES / "live_from_serial.py", *simulator.stdout.readline().split(), 5)
    finally:
        simulator.terminate()
        simulator.wait(30)
    assert printed.count("right wrist at") == 5


def test_smooth_camera_joints() -> None:
    printed = run(EXAMPLES / "smooth_camera_joints.py")
    before, after = re.search(r"error: (\d+) mm before, (\d+) mm after", printed).groups()
    seen, hidden = re.findall(r"wrist: (\d+) mm", printed)
    assert int(after) < int(before)
    assert int(hidden) > int(seen)


def test_retarget_and_plot(tmp_path: Path) -> None:
    printed = run(EXAMPLES / "retarget_and_plot.py", "ur5", tmp_path / "joints.png")
    assert "0 limit violations" in printed
    assert re.search(r"median tip error \d+ mm while tracking", printed)
    assert (tmp_path / "joints.png").stat().st_size > 10_000


def test_own_robot() -> None:
    urdf = find("example-robot-data:ur_description/urdf/ur5_robot.urdf")
    printed = run(EXAMPLES / "own_robot.py", urdf)
    assert "tracking; tip at" in printed


def test_own_protocol(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES / "own_protocol"))
    spec = importlib.import_module("my_board").SPEC
    reading = Reading(acceleration=(0.0, 0.0, 9.81), angular_velocity=(0.1, -0.2, 0.3))
    data = b"noise\n" + spec.encoder().encode(reading)
    decoder = spec.decoder()
    assert decoder.feed(data[:9]) + decoder.feed(data[9:]) == [reading]
    declared = tomllib.loads((EXAMPLES / "own_protocol" / "pyproject.toml").read_text())
    groups = declared["project"]["entry-points"]
    assert groups == {"pallas.protocols": {"my_board": "my_board:SPEC"}}


def test_own_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES / "own_plugins"))
    declared = tomllib.loads((EXAMPLES / "own_plugins" / "pyproject.toml").read_text())
    named = {
        group: EntryPoint(name, value, group).load()
        for group, entries in declared["project"]["entry-points"].items()
        for name, value in entries.items()
    }
    assert set(named) == {"pallas.generators", "pallas.adapters", "pallas.smoothers"}
    request = Request(text="anything", seconds=2.0, candidates=2)
    drawn = named["pallas.generators"]().generate(request, lambda stage, part: None)
    assert drawn.shape == (2, request.frames, FEATURES)
    joints = named["pallas.adapters"]().joints(np.ones((6, 3)))
    assert np.isfinite(joints).all(axis=1).sum() == 6
    settings = SmootherSettings("bypass")
    smoother = Smoother(settings, named["pallas.smoothers"](settings))
    assert len(smooth_motion(demo_motion(1.0), smoother)) > 50


def test_own_smoother() -> None:
    assert "frames" in run(EXAMPLES / "own_smoother.py")


def test_bag_to_pandas(tmp_path: Path) -> None:
    body_to_bytes = pytest.importorskip("pallas_ros.messages.wire").body_to_bytes
    motion = demo_motion(1.0)
    with BagWriter(tmp_path / "bag") as bag:
        bag.add_topic("/hpstm/body", "pallas/msg/BodyPose", Qos(reliable=False))
        for body in frames(motion, start=10**9):
            bag.write("/hpstm/body", body.stamp + 2_000_000, body_to_bytes(body))
    printed = run(EXAMPLES / "bag_to_pandas.py", tmp_path / "bag", tmp_path / "bodies.csv")
    assert "median delay of a body: 2.0 ms" in printed
    assert len((tmp_path / "bodies.csv").read_text().splitlines()) == 1 + 22 * len(motion)


def test_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MPLBACKEND", "agg")
    notebook = json.loads((EXAMPLES / "explore_motion.ipynb").read_text())
    names: dict[str, object] = {}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            assert not cell["outputs"]
            exec("".join(cell["source"]), names)
    assert "smooth" in names


@pytest.mark.ros
def test_body_listener(ros_domain: int) -> None:
    rclpy = pytest.importorskip("rclpy")
    from pallas.msg import BodyPose

    from pallas_ros.messages.wire import body_to_bytes

    process = subprocess.Popen(
        [sys.executable, str(EXAMPLES / "body_listener.py")],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        with rclpy.init():
            node = rclpy.create_node("body_source")
            publisher = node.create_publisher(BodyPose, "/hpstm/body", 10)
            (body, *_) = frames(demo_motion(0.1))
            node.create_timer(0.05, lambda: publisher.publish(body_to_bytes(body)))
            reported = []
            reader = threading.Thread(target=lambda: reported.extend(_lines(process, "confidence")))
            reader.start()
            while reader.is_alive():
                rclpy.spin_once(node, timeout_sec=0.1)
    finally:
        process.terminate()
        process.wait(10)
    assert "left_wrist" in reported[-1] or "right_wrist" in reported[-1]


def _lines(process: "subprocess.Popen[str]", until: str) -> list[str]:
    """Return the lines printed by a process, up to the first that contains a word."""
    lines = []
    for line in process.stdout:
        lines.append(line)
        if until in line:
            break
    return lines


def test_each_example_is_short_and_listed() -> None:
    readme = (EXAMPLES / "README.md").read_text()
    files = [*EXAMPLES.glob("*.py"), *EXAMPLES.glob("own_protocol/my_board/*.py")]
    assert {path.name for path in files if len(path.read_text().splitlines()) > 40} == set()
    assert [path.name for path in EXAMPLES.glob("*.py") if path.name not in readme] == []
