"""The driver and simulator nodes on real rclpy: bytes through pseudo-terminals, messages through
DDS.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pallas_ros.body.names import SITES, TOPIC_DIAGNOSTICS, TOPIC_IMU, TOPIC_TRUTH_BODY

rclpy = pytest.importorskip("rclpy", reason="needs ROS 2 (make setup)")
pytestmark = pytest.mark.ros

GRAVITY = 9.80665


class Graph:
    """The two nodes and a listener, spun by the waiting test."""

    def __init__(self, folder: Path, **simulator: Any) -> None:
        from diagnostic_msgs.msg import DiagnosticArray
        from pallas.msg import BodyPose
        from rclpy.executors import SingleThreadedExecutor
        from rclpy.parameter import Parameter
        from sensor_msgs.msg import Imu

        from pallas_ros.nodes.imu_driver import ImuDriverNode
        from pallas_ros.nodes.imu_simulator import ImuSimulatorNode
        from pallas_ros.ros.qos import SENSOR, STREAM

        self.received: dict[str, list[Any]] = defaultdict(list)
        settings = {"port_folder": str(folder), "duration_s": 10.0, **simulator}
        self.simulator = ImuSimulatorNode(
            parameter_overrides=[Parameter(name, value=value) for name, value in settings.items()]
        )
        ports = [str(folder / site) for site in SITES]
        self.driver = ImuDriverNode(parameter_overrides=[Parameter("ports", value=ports)])
        self.listener = rclpy.create_node("listener")
        for site in SITES:
            self.listener.create_subscription(
                Imu, TOPIC_IMU.format(site=site), self.received[site].append, SENSOR
            )
        self.listener.create_subscription(
            BodyPose, TOPIC_TRUTH_BODY, self.received["truth"].append, STREAM
        )
        self.listener.create_subscription(
            DiagnosticArray, TOPIC_DIAGNOSTICS, self.received["diagnostics"].append, STREAM
        )
        self.executor = SingleThreadedExecutor()
        for node in (self.simulator, self.driver, self.listener):
            self.executor.add_node(node)
        for node in (self.simulator, self.driver):
            node.bring("configure")
            node.bring("activate")

    def wait(self, condition: Callable[[], bool], seconds: float = 60.0) -> None:
        until = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < until, "it did not happen"
            self.executor.spin_once(timeout_sec=0.05)

    def health(self, name: str) -> tuple[str, dict[str, str]]:
        said = [
            s
            for message in self.received["diagnostics"]
            for s in message.status
            if s.name.endswith(name)
        ]
        return (said[-1].message, {v.key: v.value for v in said[-1].values}) if said else ("", {})

    def close(self) -> None:
        for node in (self.driver, self.simulator):
            node.stop()
            node.destroy_node()
        self.listener.destroy_node()


@pytest.fixture
def make_graph(ros_domain: int, tmp_path: Path) -> Iterator[Callable[..., Graph]]:
    rclpy.init()
    graphs: list[Graph] = []

    def make(**simulator: Any) -> Graph:
        graphs.append(Graph(tmp_path / "ports", **simulator))
        return graphs[-1]

    yield make
    for graph in graphs:
        graph.close()
    rclpy.try_shutdown()


def stamp_of(message: Any) -> int:
    return int(message.header.stamp.sec) * 10**9 + int(message.header.stamp.nanosec)


def test_samples_truth_and_diagnostics_arrive(make_graph: Callable[..., Graph]) -> None:
    graph = make_graph(noise=False, mounting_error_deg=0.0, heading_offset_deg=0.0)
    graph.wait(
        lambda: (
            all(len(graph.received[site]) >= 150 for site in SITES)
            and len(graph.received["truth"]) >= 60
        )
    )
    for site in SITES:
        messages = graph.received[site]
        periods = np.diff([stamp_of(m) for m in messages[50:]]) / 1e9
        assert np.median(periods) == pytest.approx(0.01, rel=0.02)
        # the demo begins with a still T-pose
        still = [m for m in messages if stamp_of(m) < stamp_of(messages[0]) + 10**9]
        a = still[-1].linear_acceleration
        assert np.linalg.norm([a.x, a.y, a.z]) == pytest.approx(GRAVITY, abs=0.05)
        assert still[-1].orientation.w == pytest.approx(1.0, abs=1e-3)
        assert messages[-1].header.frame_id == f"imu_{site}"
    stamps = [stamp_of(m) for m in graph.received["truth"]]
    assert all(round(round(s * 60 / 1e9) * 1e9 / 60) == s for s in stamps)
    graph.wait(lambda: "Hz" in graph.health("imu_driver")[1].get("neck", ""))
    assert graph.health("imu_driver")[0] == "all sensors are streaming"


def test_an_unplugged_cable_is_reported_and_reconnected(make_graph: Callable[..., Graph]) -> None:
    graph = make_graph()
    graph.wait(lambda: all(len(graph.received[site]) >= 20 for site in SITES))
    simulator = graph.simulator._simulator
    assert simulator is not None
    simulator.unplug("left_wrist")
    pulled = graph.simulator.now()
    graph.wait(
        lambda: (
            "left_wrist: " in graph.health("imu_driver")[0]
            and "plugged" in graph.health("imu_driver")[0]
        )
    )
    graph.wait(lambda: stamp_of(graph.received["neck"][-1]) > pulled + 10**9)
    assert stamp_of(graph.received["left_wrist"][-1]) < pulled + 10**8
    seen = len(graph.received["left_wrist"])
    simulator.plug("left_wrist")
    graph.wait(lambda: len(graph.received["left_wrist"]) > seen + 50)
    graph.wait(lambda: graph.health("imu_driver")[0] == "all sensors are streaming")


def test_missing_and_taken_ports_are_refused_in_one_sentence(
    make_graph: Callable[..., Graph], tmp_path: Path
) -> None:
    from rclpy.parameter import Parameter

    from pallas_ros.body.errors import PallasError
    from pallas_ros.nodes.imu_driver import ImuDriverNode
    from pallas_ros.nodes.imu_simulator import ImuSimulatorNode

    graph = make_graph()
    nodes = [
        ImuDriverNode(
            parameter_overrides=[
                Parameter("ports", value=list(graph.simulator._simulator.ports.values()))
            ]
        ),
        ImuDriverNode(
            parameter_overrides=[
                Parameter("ports", value=[f"/nowhere/{s}" for s in SITES]),
                Parameter("port_wait_s", value=0.0),
            ]
        ),
        ImuSimulatorNode(
            parameter_overrides=[Parameter("port_folder", value=str(tmp_path / "ports"))]
        ),
        ImuSimulatorNode(parameter_overrides=[Parameter("motion", value=str(tmp_path / "no.npz"))]),
    ]
    wanted = [
        "another program is using it",
        "is not plugged in",
        "belongs to a running simulator",
        "no such file",
    ]
    graph.wait(lambda: all(len(graph.received[site]) >= 5 for site in SITES))
    for node, words in zip(nodes, wanted, strict=True):
        with pytest.raises(PallasError, match=words):
            node.bring("configure")
        node.stop()
        node.destroy_node()
