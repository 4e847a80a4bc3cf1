"""The running graph over DDS, with driver and `pallas` node as processes and sensors on
pseudo-terminals: an unplugged cable, accepted and rejected calibrations.
"""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pallas_ros.body.errors import PallasError
from pallas_ros.body.motion import Motion
from pallas_ros.body.names import (
    JOINT_INDEX,
    SITES,
    TOPIC_DIAGNOSTICS,
    TOPIC_PALLAS_BODY,
    TOPIC_SENSORS,
)
from pallas_ros.imu import ports as serial_ports
from pallas_ros.imu.calibration import Calibration
from pallas_ros.imu.motions import calibration_motion, demo_motion
from pallas_ros.imu.protocols import PROTOCOLS
from pallas_ros.imu.simulator import SensorSimulator
from pallas_ros.imu.virtual import SensorNoise
from pallas_ros.pipeline import PipelineSettings, read_document

rclpy = pytest.importorskip("rclpy", reason="needs ROS 2 (make setup)")
pytest.importorskip("pallas.msg", reason="needs the generated messages (make setup)")
pytestmark = pytest.mark.ros

PERIOD = 10**9 / 60
DRIVEN = {
    "pelvis": "pelvis",
    "neck": "spine3",
    "left_wrist": "left_elbow",
    "right_wrist": "right_elbow",
}
"""A joint that cannot be known without the site."""


def nanoseconds(stamp: Any) -> int:
    return int(stamp.sec) * 10**9 + int(stamp.nanosec)


class Graph:
    """Sensors in this process, driver and `pallas` node in separate ones, and a listener."""

    def __init__(self, folder: Path, motion: Motion, **pallas_node: Any) -> None:
        from pallas.msg import BodyPose
        from pallas.srv import Calibrate
        from rclpy.executors import SingleThreadedExecutor
        from rclpy.qos import QoSProfile

        links = {site: folder / "ports" / site for site in SITES}
        self.simulator = SensorSimulator(motion, PROTOCOLS["witmotion"], SensorNoise(), links=links)
        self.raw: list[bytes] = []
        self._read: list[Any] = []
        self.arrivals: list[int] = []
        self.listener = rclpy.create_node("listener")
        self.listener.create_subscription(
            BodyPose, TOPIC_PALLAS_BODY, self._heard, QoSProfile(depth=2000), raw=True
        )
        self.calibrate = self.listener.create_client(Calibrate, "/pallas_node/calibrate")
        self.executor = SingleThreadedExecutor()
        self.executor.add_node(self.listener)
        self.log = (folder / "nodes.log").open("w+")
        self.processes = [
            self._node("imu_driver", ports=[str(path) for path in links.values()]),
            self._node("pallas_node", calibration_folder=str(folder), **pallas_node),
        ]

    def _node(self, name: str, **parameters: Any) -> "subprocess.Popen[bytes]":
        words = [word for key, value in parameters.items() for word in ("-p", f"{key}:={value}")]
        command = [sys.executable, "-m", "pallas_ros.nodes", name, "--ros-args", *words]
        return subprocess.Popen(
            command, stdout=self.log, stderr=subprocess.STDOUT, start_new_session=True
        )

    def _heard(self, message: bytes) -> None:
        self.arrivals.append(time.time_ns())
        self.raw.append(message)

    @property
    def bodies(self) -> list[Any]:
        """All received bodies."""
        from pallas.msg import BodyPose
        from rclpy.serialization import deserialize_message

        self._read += [
            deserialize_message(message, BodyPose) for message in self.raw[len(self._read) :]
        ]
        return self._read

    def newest(self) -> Any:
        """The newest body."""
        from pallas.msg import BodyPose
        from rclpy.serialization import deserialize_message

        return deserialize_message(self.raw[-1], BodyPose)

    def wait(self, condition: Callable[[], bool], seconds: float = 80.0) -> None:
        until = time.monotonic() + seconds
        while not condition():
            assert all(process.poll() is None for process in self.processes), self.said()
            assert time.monotonic() < until, self.said()
            self.executor.spin_once(timeout_sec=0.02)

    def ask(self, during: Callable[[], None] = lambda: None, **request: Any) -> Any:
        """Call the calibration service; ``during`` runs after the request."""
        from pallas.srv import Calibrate

        self.wait(self.calibrate.service_is_ready)
        future = self.calibrate.call_async(Calibrate.Request(**request))
        during()
        self.wait(future.done)
        return future.result()

    def interrupt(self, site: str, seconds: float) -> tuple[int, int, int]:
        """Unplug a cable for this time and wait until its site is back.

        Returns when (ns) it was unplugged, and the times just before and after it was plugged in:
        on a busy machine this process may have to wait for a processor between them.
        """
        self.simulator.unplug(site)
        pulled = time.time_ns()
        self.wait(lambda: nanoseconds(self.newest().header.stamp) > pulled + seconds * 1e9)
        plugged = time.time_ns()
        self.simulator.plug(site)
        back_in = time.time_ns()
        self.wait(
            lambda: nanoseconds(self.newest().header.stamp) > plugged and valid(self.newest(), site)
        )
        count = len(self.raw)
        self.wait(lambda: len(self.raw) > count + 30)
        return pulled, plugged, back_in

    def stamps(self) -> np.ndarray:
        return np.array([nanoseconds(body.header.stamp) for body in self.bodies])

    def said(self) -> str:
        self.log.flush()
        return Path(self.log.name).read_text()[-3000:]

    def close(self) -> None:
        self.simulator.stop()
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            try:
                process.wait(5.0)
            except subprocess.TimeoutExpired:
                process.kill()
        self.listener.destroy_node()
        self.log.close()


@pytest.fixture
def make_graph(ros_domain: int, tmp_path: Path) -> Iterator[Callable[..., Graph]]:
    rclpy.init()
    graphs: list[Graph] = []

    def make(motion: Motion, **parameters: Any) -> Graph:
        graphs.append(Graph(tmp_path, motion, **parameters))
        return graphs[-1]

    yield make
    for graph in graphs:
        graph.close()
    rclpy.try_shutdown()


def _rate(stamps: np.ndarray) -> float:
    return 1e9 * (len(stamps) - 1) / float(np.ptp(stamps))


def valid(body: Any, site: str) -> bool:
    return bool(body.valid[JOINT_INDEX[DRIVEN[site]]])


@pytest.mark.timing
@pytest.mark.parametrize(
    "sites", [("right_wrist",), pytest.param(SITES, marks=pytest.mark.slow, id="each_site")]
)
@pytest.mark.parametrize("seconds", [1.5, pytest.param(5.0, marks=pytest.mark.slow)])
def test_a_pulled_cable_costs_only_its_site(
    make_graph: Callable[..., Graph], seconds: float, sites: tuple[str, ...]
) -> None:
    """Bodies continue at 60 Hz with the site marked, and all sites are valid within 1 s of
    reconnection.
    """
    graph = make_graph(demo_motion(20.0))
    graph.wait(graph.calibrate.service_is_ready)
    graph.simulator.start()
    graph.wait(lambda: len(graph.raw) > 60 and all(valid(graph.newest(), site) for site in SITES))
    for site in sites:
        pulled, plugged, back_in = graph.interrupt(site, seconds)
        stamps = graph.stamps()
        # A frame that still waits for the site when it comes back takes its first sample.
        silent = (stamps > pulled + 2.5e8) & (stamps < plugged - 1e9 * PipelineSettings.max_wait_s)
        before = _rate(stamps[stamps < pulled])
        while_silent = _rate(stamps[silent])
        assert while_silent > 0.5 * before  # on a machine that is shared; by hand, alone:
        if seconds > 4:
            worst = int(np.argmax(np.diff(stamps)))
            assert np.diff(stamps)[worst] < 1.5 * PERIOD, (
                f"{site}: bodies left out {(stamps[worst] - pulled) / 1e9:.2f} s after pulling"
            )
        assert not any(
            valid(body, site) for body, then in zip(graph.bodies, silent, strict=True) if then
        )
        assert (
            f"no signal from the {site.replace('_', ' ')} sensor"
            in graph.bodies[int(np.argmax(silent))].remarks
        )
        if site != "pelvis":  # without which nothing is known
            others = [s for s in SITES if s != site]
            assert any(
                all(valid(body, s) for s in others)
                for body, then in zip(graph.bodies, silent, strict=True)
                if then
            )
        back = next(
            k for k, body in enumerate(graph.bodies) if stamps[k] > plugged and valid(body, site)
        )
        first = next(
            k for k, body in enumerate(graph.bodies) if stamps[k] > pulled and not valid(body, site)
        )
        assert stamps[back] - back_in < 10**9
        arrived = np.array(graph.arrivals)[(stamps > pulled) & (stamps < plugged)]
        print(
            f"\n{site} unplugged for {seconds} s: marked after {(stamps[first] - pulled) / 1e9:.2f}"
            f" s, well {(stamps[back] - back_in) / 1e9:.2f} s after plugging in;"
            f" {1e9 * (len(arrived) - 1) / np.ptp(arrived):.1f} bodies/s, largest gap"
            f" {np.diff(arrived).max() / 1e6:.0f} ms on arrival, {np.diff(stamps).max() / 1e6:.1f}"
            " ms in stamps"
        )


def test_the_calibration_service(make_graph: Callable[..., Graph], tmp_path: Path) -> None:
    """Impossible requests get one sentence; the guided procedure responds, publishes, saves and
    takes effect.
    """
    (tmp_path / "damaged.yaml").write_text("format: pallas-calibration/1\nsites: {pelvis: 3}\n")
    graph = make_graph(calibration_motion(False), still_s=1.0)
    for request, words in (
        (
            {"procedure": "dance"},
            "unknown calibration procedure 'dance': known are rest, tpose",
        ),
        ({"procedure": "rest"}, "there is none yet"),
        ({"procedure": "load", "file": str(tmp_path / "none.yaml")}, "no such file"),
        ({"procedure": "load", "file": "/etc/passwd"}, "only in " + str(tmp_path)),
        ({"procedure": "tpose", "file": str(tmp_path / "damaged.yaml")}, "already exists"),
        ({"procedure": "tpose", "file": "~/.bashrc"}, "only in " + str(tmp_path)),
        ({"procedure": "load", "file": str(tmp_path / "damaged.yaml")}, "damaged calibration"),
        (
            {"procedure": "known_pose", "joint_names": ["pelvis"]},
            "1 joint_names but 0 joint_orientations",
        ),
        ({"procedure": "tpose", "timeout": 0.5}, "no calibration in time: "),
    ):
        answer = graph.ask(**request)
        assert not answer.success
        assert words in answer.message
        assert len(answer.message.splitlines()) == 1
    me = tmp_path / "me.yaml"
    answer = graph.ask(
        lambda: graph.simulator.start() and None,
        procedure="npose_tpose",
        file=str(me),
        timeout=60.0,
    )
    assert answer.success, answer.message
    assert answer.message == "calibrated (npose_tpose)"
    assert list(answer.sites) == list(SITES)
    assert np.degrees(answer.residual).max() < 5.0
    saved = Calibration.load(me)
    reported = Calibration.from_yaml(answer.calibration)
    for site in SITES:
        np.testing.assert_allclose(
            saved.sites[site].q_bone_sensor, reported.sites[site].q_bone_sensor, atol=1e-9
        )
        track = graph.simulator.tracks[site]
        assert np.cos(saved.sites[site].heading_offset - track.heading_offset) > np.cos(
            np.radians(8)
        )
    graph.wait(lambda: len(graph.raw) > 30)
    answer = graph.ask(procedure="load", file=str(me))
    assert answer.success, answer.message


def serials(simulator: SensorSimulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the pseudo-terminals USB adapters with serial numbers A0 to A3."""
    found = [
        SimpleNamespace(device=str(Path(path).resolve()), serial_number=f"A{i}", vid=1)
        for i, path in enumerate(simulator.ports.values())
    ]
    monkeypatch.setattr(serial_ports.list_ports, "comports", lambda: found)


def made_with(*numbers: str) -> Calibration:
    calibration = Calibration.identity()
    for site, number in zip(SITES, numbers, strict=True):
        calibration.sites[site].sensor = f"usb:{number}"
    return calibration


def test_a_calibration_is_named_after_the_sensors_and_refused_with_others(
    ros_domain: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A calibration for other sensors is rejected by the driver, the `pallas` node and its service;
    a new calibration stores the sensors; malicious identities have no effect.
    """
    from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
    from pallas.msg import BodyPose
    from pallas.srv import Calibrate
    from rclpy.executors import SingleThreadedExecutor
    from rclpy.parameter import Parameter

    from pallas_ros.nodes.imu_driver import ImuDriverNode
    from pallas_ros.nodes.pallas_node import PallasBodyNode
    from pallas_ros.ros.qos import LATCHED, STREAM

    simulator = SensorSimulator(
        demo_motion(20.0), PROTOCOLS["csv"], links={site: tmp_path / site for site in SITES}
    )
    serials(simulator, monkeypatch)
    rclpy.init()
    executor = SingleThreadedExecutor()
    listener = rclpy.create_node("listener")
    nodes: list[Any] = []
    try:
        made_with("A0", "A1", "A3", "A2").save(tmp_path / "foreign.yaml")
        made_with("A0", "A1", "A2", "A3").save(tmp_path / "mine.yaml")

        def start(kind: type[Any], **settings: Any) -> Any:
            nodes.append(
                kind(
                    parameter_overrides=[
                        Parameter(key, value=value) for key, value in settings.items()
                    ]
                )
            )
            nodes[-1].bring("configure")
            nodes[-1].bring("activate")
            executor.add_node(nodes[-1])
            return nodes[-1]

        ports = {"ports": list(simulator.ports.values()), "protocols": ["csv"]}
        exchanged = (
            r"made with sensor usb:A3 on left_wrist, but usb:A2 is there \(it belongs on"
            r" right_wrist\)"
        )
        with pytest.raises(PallasError, match=exchanged):
            start(ImuDriverNode, calibration=str(tmp_path / "foreign.yaml"), **ports)

        said: dict[str, tuple[str, dict[str, str]]] = {}
        worn: list[dict[str, str]] = []
        bodies: list[Any] = []

        def hear(message: Any) -> None:
            said.update(
                {s.name: (s.message, {v.key: v.value for v in s.values}) for s in message.status}
            )

        listener.create_subscription(DiagnosticArray, TOPIC_DIAGNOSTICS, hear, STREAM)
        listener.create_subscription(
            DiagnosticArray,
            TOPIC_SENSORS,
            lambda m: worn.append({s.name: s.hardware_id for s in m.status}),
            LATCHED,
        )
        listener.create_subscription(BodyPose, TOPIC_PALLAS_BODY, bodies.append, STREAM)
        liar = listener.create_publisher(DiagnosticArray, TOPIC_SENSORS, LATCHED)
        client = listener.create_client(Calibrate, "/pallas_node/calibrate")
        executor.add_node(listener)

        def wait(condition: Callable[[], bool]) -> None:
            until = time.monotonic() + 60.0
            while not condition():
                assert time.monotonic() < until, said
                executor.spin_once(timeout_sec=0.05)

        def ask(**request: Any) -> Any:
            wait(client.service_is_ready)
            future = client.call_async(Calibrate.Request(**request))
            simulator.start() if request["procedure"] == "tpose" else None
            wait(future.done)
            return future.result()

        start(ImuDriverNode, calibration=str(tmp_path / "mine.yaml"), **ports)
        folder = {"calibration_folder": str(tmp_path)}
        start(PallasBodyNode, calibration=str(tmp_path / "foreign.yaml"), **folder)
        wait(
            lambda: (
                "usb:A3 on left_wrist, but usb:A2 is there" in said.get("pallas_node", ("", {}))[0]
            )
        )
        assert worn[0] == dict(zip(SITES, ("usb:A0", "usb:A1", "usb:A2", "usb:A3"), strict=True))

        for count, status in enumerate(
            (
                [DiagnosticStatus(name="tail", hardware_id="usb:A0")],
                [DiagnosticStatus(name="neck", hardware_id=f"usb:A{i}") for i in range(2)],
                [DiagnosticStatus(name="left_wrist", hardware_id="usb:A3\nsites: {}")],
            ),
            start=1,
        ):
            liar.publish(DiagnosticArray(status=status))
            wait(
                lambda count=count: (
                    said["pallas_node"][1].get(f"errors of {TOPIC_SENSORS}") == str(count)
                )
            )

        answer = ask(procedure="rest")
        assert not answer.success
        assert "usb:A3 on left_wrist" in answer.message
        answer = ask(procedure="tpose", file=str(tmp_path / "found.yaml"))
        assert answer.success, answer.message
        assert not [
            body
            for body in bodies
            if nanoseconds(body.header.stamp) <= read_document(answer.calibration)[1]
        ]
        found = Calibration.load(tmp_path / "found.yaml")
        assert [found.sites[site].sensor for site in SITES] == [
            "usb:A0",
            "usb:A1",
            "usb:A2",
            "usb:A3",
        ]
        assert Calibration.from_yaml(answer.calibration).sites["neck"].sensor == "usb:A1"
        wait(lambda: len(bodies) > 30)
        answer = ask(procedure="load", file=str(tmp_path / "foreign.yaml"))
        assert not answer.success
        assert "usb:A3 on left_wrist, but usb:A2 is there" in answer.message
        count = len(bodies)
        wait(lambda: len(bodies) > count + 30)
    finally:
        for node in nodes:
            node.stop()
            node.destroy_node()
        listener.destroy_node()
        simulator.stop()
        rclpy.try_shutdown()
