"""The node `dynamics` over real DDS: from bodies to efforts, wrenches and loads."""

from time import monotonic
from typing import Any

import numpy as np
import pytest
import standing_bodies as bodies

pytest.importorskip("rclpy", reason="needs ROS 2 (make setup)")
pytest.importorskip("pallas.msg", reason="needs the generated messages (make setup)")
pytest.importorskip("pinocchio", reason="needs the extra [robot]")

import rclpy
from geometry_msgs.msg import WrenchStamped
from pallas.msg import BodyLoad, BodyPose
from rclpy.parameter import Parameter
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray
from test_live import frames

from hpstm_ros.nodes.dynamics import DynamicsNode
from pallas_ros.messages.encode import body_to_msg
from pallas_ros.ros.run import make_executor
from pallas_ros.view.human import urdf_joint_names

pytestmark = [pytest.mark.ros, pytest.mark.timeout(120)]
LIMIT_S = 60.0


def test_a_body_in_forces_out(ros_nodes: list[Any]) -> None:
    peer = rclpy.create_node("peer")
    node = DynamicsNode(parameter_overrides=[Parameter("mass_kg", value=80.0)])
    ros_nodes += [peer, node]
    executor = make_executor()
    executor.add_node(peer)
    executor.add_node(node)
    node.bring("configure")
    node.bring("activate")
    loads: list[BodyLoad] = []
    efforts: list[JointState] = []
    wrenches: list[WrenchStamped] = []
    peer.create_subscription(BodyLoad, "/dynamics/load", loads.append, 200)
    peer.create_subscription(JointState, "/dynamics/joint_efforts", efforts.append, 200)
    peer.create_subscription(WrenchStamped, "/dynamics/ground_reaction/left", wrenches.append, 200)
    out = peer.create_publisher(BodyPose, "/hpstm/body", 200)
    carried = peer.create_publisher(Float64MultiArray, "/dynamics/carried", 10)

    def until(done: Any) -> None:
        end = monotonic() + LIMIT_S
        while not done():
            assert monotonic() < end, "nothing came"
            executor.spin_once(timeout_sec=0.05)

    until(lambda: out.get_subscription_count() and carried.get_subscription_count())
    stream = frames(bodies.still(bodies.arms_down(), 4.0))
    sent = iter(stream)

    def feed(done: Any) -> None:
        end = monotonic() + LIMIT_S
        while not done():
            assert monotonic() < end, "nothing came"
            body = next(sent, None)
            assert body is not None, "the stream ended"
            out.publish(body_to_msg(body))
            for _ in range(3):
                executor.spin_once(timeout_sec=0.005)

    feed(lambda: len(loads) > 3 and efforts and wrenches)
    assert loads[-1].known
    assert loads[-1].standing
    assert loads[-1].names[0] == "lumbar"
    assert efforts[-1].name == list(urdf_joint_names("operator"))
    assert np.isfinite(efforts[-1].effort).all()
    assert wrenches[-1].wrench.force.z == pytest.approx(40 * 9.81, rel=0.02)
    assert wrenches[-1].header.frame_id == "left_pressure_operator"
    carried.publish(Float64MultiArray(data=[10.0, 10.0]))
    feed(lambda: loads[-1].load_left == 10.0)
    carried.publish(Float64MultiArray(data=[float("nan"), 10.0, 3.0]))  # refused, and said
    feed(lambda: len(loads) > 60)
    assert wrenches[-1].wrench.force.z == pytest.approx(50 * 9.81, rel=0.02)
    assert loads[-1].load_left == 10.0


def test_the_method_changes_while_the_node_runs(ros_nodes: list[Any]) -> None:
    node = DynamicsNode()
    ros_nodes.append(node)
    node.bring("configure")
    node.bring("activate")

    def put(name: str, value: Any) -> Any:
        return node.set_parameters([Parameter(name, value=value)])[0]

    assert put("method", "hdys").successful
    refused = put("load_left_kg", 5.0)
    assert not refused.successful
    assert "carried loads" in refused.reason
    assert put("method", "rigid_body").successful
    assert put("load_left_kg", 5.0).successful
    assert not put("method", "hdys").successful
    assert node.settings["method"] == "rigid_body"
    assert not put("method", "guess").successful

    def put_together(**values: Any) -> Any:
        return node.set_parameters_atomically([Parameter(n, value=v) for n, v in values.items()])

    assert put_together(method="hdys", load_left_kg=0.0).successful
    assert put_together(method="rigid_body", load_right_kg=4.0).successful
    assert not put_together(method="hdys", load_right_kg=3.0).successful
    assert node._dynamics.carried == (0.0, 4.0)
    node._on_carried(Float64MultiArray(data=[2.0, 4.0]))
    assert put("load_right_kg", 1.0).successful
    assert node._dynamics.carried == (2.0, 1.0)
