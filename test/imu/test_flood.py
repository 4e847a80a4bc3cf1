"""The `pallas` node, with publishers of `/imu/*` that flood or publish another type."""

from collections.abc import Callable
from time import monotonic
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (make setup)")
pytest.importorskip("pallas.msg", reason="needs the generated messages (make setup)")

import rclpy
from rclpy.context import Context
from rclpy.parameter import Parameter
from sensor_msgs.msg import Imu, MagneticField

from pallas_ros.nodes.pallas_node import PallasBodyNode
from pallas_ros.ros.qos import SENSOR, STREAM
from pallas_ros.ros.run import make_executor

pytestmark = [pytest.mark.ros, pytest.mark.timeout(120)]


def test_a_flood_is_cut_and_a_sensor_of_another_type_is_named(ros_nodes: list[Any]) -> None:
    node = PallasBodyNode(parameter_overrides=[Parameter("imu_rate_limit_hz", value=50.0)])
    peer = rclpy.create_node("drivers")
    elsewhere = Context()  # in one participant a topic has one type
    elsewhere.init()
    stranger = rclpy.create_node("stranger", context=elsewhere)
    ros_nodes += [node, peer, stranger]
    executor = make_executor()
    for each in (node, peer):
        executor.add_node(each)
    node.bring("configure")
    node.bring("activate")
    flood = peer.create_publisher(Imu, "/imu/pelvis", SENSOR)
    steady = peer.create_publisher(Imu, "/imu/neck", SENSOR)
    stranger.create_publisher(MagneticField, "/imu/left_wrist", STREAM)
    sample = Imu()
    sample.orientation.w = 1.0
    sample.linear_acceleration.z = 9.81

    def until(what: Callable[[], bool], meanwhile: Callable[[], None]) -> None:
        end = monotonic() + 60
        while not what():
            assert monotonic() < end, node.health()
            meanwhile()
            executor.spin_once(timeout_sec=0.02)

    def publish() -> None:
        for count, publisher in ((8, flood), (1, steady)):
            for _ in range(count):
                sample.header.stamp = peer.get_clock().now().to_msg()
                publisher.publish(sample)

    def figures() -> dict[str, Any]:
        return node.health().values

    until(lambda: figures()["/imu/pelvis: over the rate limit"] > 100, publish)
    taken = figures()["/imu/neck: over the rate limit"]
    assert taken < figures()["/imu/pelvis: over the rate limit"]
    until(lambda: "sensor_msgs/msg/MagneticField" in node.health().summary, publish)
    assert "sensor_msgs/msg/Imu is expected" in node.health().summary
    elsewhere.try_shutdown()


def test_a_second_publisher_of_a_sensor_is_refused(ros_nodes: list[Any]) -> None:
    node = PallasBodyNode()
    driver = rclpy.create_node("driver")
    stranger = rclpy.create_node("stranger")
    ros_nodes += [node, driver, stranger]
    executor = make_executor()
    for each in (node, driver, stranger):
        executor.add_node(each)
    node.bring("configure")
    node.bring("activate")
    intake = node._intakes["/imu/neck"]
    ours = driver.create_publisher(Imu, "/imu/neck", SENSOR)
    theirs = stranger.create_publisher(Imu, "/imu/neck", SENSOR)
    other_site = stranger.create_publisher(Imu, "/imu/pelvis", SENSOR)
    sample = Imu()
    sample.orientation.w = 1.0
    end = monotonic() + 60
    said = ""
    # each remark is made once, and the node's own timer may be the one that takes it
    while intake.unexpected <= 10 or "another publisher of /imu/neck" not in said:
        said = node.health().summary
        assert monotonic() < end, node.health()
        sample.header.stamp = driver.get_clock().now().to_msg()
        for publisher in (ours, theirs, other_site):
            publisher.publish(sample)
        executor.spin_once(timeout_sec=0.02)
    health = node.health()
    assert health.values["/imu/neck: of other publishers"] > 10
    assert health.values["/imu/pelvis: of other publishers"] == 0
