"""The calibration action of the running node: feedback, cancellation, one goal at a time."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (make setup)")
pytest.importorskip("pallas.action", reason="needs the generated messages (make setup)")

import rclpy
from action_msgs.msg import GoalStatus
from geometry_msgs.msg import Quaternion, Vector3
from pallas.action import Calibrate
from rclpy.action import ActionClient
from rclpy.executors import SingleThreadedExecutor
from sensor_msgs.msg import Imu

from pallas_ros.body.names import SITES, TOPIC_IMU
from pallas_ros.imu.calibration import Calibration
from pallas_ros.ros.node import ACTIVE
from pallas_ros.ros.qos import SENSOR


class Client:
    """An action client, four simulated sensors in a still T-pose, and the node's process."""

    def __init__(self, node: Any, log: list[str]) -> None:
        self.node = node
        self.log = log
        self.feedback: list[Any] = []
        self.action = ActionClient(node, Calibrate, "/pallas_node/calibrate")
        self.executor = SingleThreadedExecutor()
        self.executor.add_node(node)
        self.sensors = [
            node.create_publisher(Imu, TOPIC_IMU.format(site=site), SENSOR) for site in SITES
        ]

    def wait(self, condition: Callable[[], bool], seconds: float = 60.0) -> None:
        until = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < until, self.log
            self.executor.spin_once(timeout_sec=0.02)

    def start(self, **goal: Any) -> Any:
        """Send a goal; return its handle once accepted."""
        self.wait(self.action.server_is_ready)
        sent = self.action.send_goal_async(
            Calibrate.Goal(**goal), feedback_callback=lambda m: self.feedback.append(m.feedback)
        )
        self.wait(sent.done)
        assert sent.result().accepted
        return sent.result()

    def end(self, handle: Any) -> Any:
        """Return status and result of a goal."""
        future = handle.get_result_async()
        self.wait(future.done)
        return future.result()

    def stand_still(self) -> None:
        """Publish one sample of each sensor."""
        message = Imu(
            orientation=Quaternion(w=1.0, x=1e-4),
            linear_acceleration=Vector3(z=9.81),
        )
        message.header.stamp = self.node.get_clock().now().to_msg()
        for sensor in self.sensors:
            sensor.publish(message)


@pytest.fixture
def client(ros_domain: int, ros_nodes: list[Any], tmp_path: Path) -> Iterator[Client]:
    node = rclpy.create_node("client")
    ros_nodes.append(node)
    command = [sys.executable, "-m", "pallas_ros.nodes", "pallas_node", "--ros-args"]
    command += ["-p", f"calibration_folder:={tmp_path}"]
    log: list[str] = []
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            log.append(line)
            if line.rstrip().endswith(ACTIVE):
                break
        try:
            yield Client(node, log)
        finally:
            process.kill()


def test_a_goal_reports_what_hinders_and_can_be_cancelled(client: Client) -> None:
    first = client.start(procedure="tpose", timeout=60.0)
    client.wait(lambda: bool(client.feedback))
    assert client.feedback[-1].message == "no samples yet"
    assert client.feedback[-1].timeout == 60.0

    second = client.end(client.start(procedure="tpose"))
    assert second.status == GoalStatus.STATUS_ABORTED
    assert "already running" in second.result.message

    cancelled = first.cancel_goal_async()
    client.wait(cancelled.done)
    ended = client.end(first)
    assert ended.status == GoalStatus.STATUS_CANCELED
    assert not ended.result.success

    late = client.end(client.start(procedure="tpose", timeout=0.3))
    assert late.status == GoalStatus.STATUS_ABORTED
    assert "no calibration in time" in late.result.message


def test_a_goal_ends_with_the_calibration(client: Client, tmp_path: Path) -> None:
    handle = client.start(procedure="tpose", file=str(tmp_path / "me.yaml"), timeout=60.0)
    future = handle.get_result_async()
    until = time.monotonic() + 60.0
    while not future.done():
        assert time.monotonic() < until, client.feedback[-1:]
        client.stand_still()
        client.executor.spin_once(timeout_sec=0.0)
        time.sleep(0.01)
    ended = future.result()
    assert ended.status == GoalStatus.STATUS_SUCCEEDED, ended.result.message
    assert list(ended.result.sites) == list(SITES)
    saved = Calibration.load(tmp_path / "me.yaml")
    assert saved.date == Calibration.from_yaml(ended.result.calibration).date
