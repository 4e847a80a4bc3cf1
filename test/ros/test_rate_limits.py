"""Every input of the nodes that lead to an arm is limited per publisher, over real DDS."""

from time import monotonic
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (make setup)")
pytest.importorskip("pinocchio", reason="needs the extra [robot]")
pytest.importorskip("pallas.msg", reason="needs the generated messages (make setup)")

import rclpy
from geometry_msgs.msg import PoseArray, TransformStamped
from rclpy.parameter import Parameter
from sensor_msgs.msg import Joy
from tf2_msgs.msg import TFMessage

from hpstm_ros.nodes.dynamics import DynamicsNode
from hpstm_ros.nodes.hpstm import HpstmNode
from hpstm_ros.nodes.operator import OperatorNode
from hpstm_ros.nodes.pose_adapter import PoseAdapterNode
from hpstm_ros.nodes.retarget import RetargetNode
from hpstm_ros.smoothing.transforms import MOST_FRAMES, Placement, TransformTree
from pallas_ros.body.errors import PallasError
from pallas_ros.body.names import TOPIC_DEAD_MAN, TOPIC_EMERGENCY_STOP
from pallas_ros.ros.entities import EntityNode
from pallas_ros.ros.node import PallasNode
from pallas_ros.ros.qos import LATCHED
from pallas_ros.ros.run import make_executor

pytestmark = [pytest.mark.ros, pytest.mark.timeout(120)]
UNLIMITED = {TOPIC_EMERGENCY_STOP, TOPIC_DEAD_MAN}
"""No message of a switch is discarded; too many stop the arm (test/retarget/test_graph.py)."""


def until(executor: Any, what: Any) -> None:
    end = monotonic() + 30.0
    while not what():
        assert monotonic() < end
        executor.spin_once(timeout_sec=0.02)


def node_of(
    ros_nodes: list[Any], kind: type[PallasNode], **settings: Any
) -> tuple[PallasNode, Any]:
    node = kind(parameter_overrides=[Parameter(k, value=v) for k, v in settings.items()])
    ros_nodes.append(node)
    executor = make_executor()
    executor.add_node(node)
    node.bring("configure")
    node.bring("activate")
    return node, executor


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (RetargetNode, {"robot": "uarm", "gripper_triggers": ["axis:0"]}),
        (PoseAdapterNode, {"message": "pose_array"}),
        (PoseAdapterNode, {"message": "marker_array"}),
        (PoseAdapterNode, {"message": "body_pose"}),
        (HpstmNode, {"method": "kalman"}),
        (DynamicsNode, {}),
        (OperatorNode, {}),
    ],
)
def test_every_input_has_a_limit(
    ros_nodes: list[Any],
    monkeypatch: pytest.MonkeyPatch,
    kind: type[PallasNode],
    settings: dict[str, Any],
) -> None:
    limits: dict[str, Any] = {}
    subscribe = EntityNode.subscribe

    def noted(self: EntityNode, message: Any, topic: str, *rest: Any, **options: Any) -> Any:
        limits[topic] = options.get("intake")
        return subscribe(self, message, topic, *rest, **options)

    monkeypatch.setattr(EntityNode, "subscribe", noted)
    node_of(ros_nodes, kind, **settings)
    assert {topic for topic, limit in limits.items() if limit is None} <= UNLIMITED
    assert limits.keys() - UNLIMITED


def test_a_flood_of_an_estimator_is_cut(ros_nodes: list[Any]) -> None:
    node, executor = node_of(ros_nodes, PoseAdapterNode, message="pose_array")
    peer = rclpy.create_node("peer")
    ros_nodes.append(peer)
    flood = peer.create_publisher(PoseArray, "/pose_estimator/poses", 100)
    until(executor, lambda: flood.get_subscription_count() > 0)

    def cut() -> bool:
        for _ in range(100):
            flood.publish(PoseArray())
        return int(node.health().values["messages over the rate limit"]) > 100

    until(executor, cut)


def test_a_flood_of_a_joystick_is_cut_and_a_press_is_taken(ros_nodes: list[Any]) -> None:
    node, executor = node_of(ros_nodes, RetargetNode, robot="panda", gripper_triggers=["axis:0"])
    peer = rclpy.create_node("peer")
    ros_nodes.append(peer)
    joy = peer.create_publisher(Joy, "/joy", 100)
    until(executor, lambda: joy.get_subscription_count() > 0)
    released = node._arm.grippers[0].supervisor._goal

    def taken() -> bool:
        joy.publish(Joy(axes=[0.2]))
        return node._arm.grippers[0].supervisor._goal != released

    until(executor, taken)


def test_static_transforms_of_several_publishers_are_all_received(ros_nodes: list[Any]) -> None:
    peer = rclpy.create_node("peer")
    ros_nodes.append(peer)
    names = [f"camera_{k}" for k in range(8)]
    publishers = [peer.create_publisher(TFMessage, "/tf_static", LATCHED) for _ in names]
    for name, publisher in zip(names, publishers):
        transform = TransformStamped()
        transform.header.frame_id = "odom"
        transform.child_frame_id = name
        transform.transform.rotation.w = 1.0
        publisher.publish(TFMessage(transforms=[transform]))
    node, executor = node_of(ros_nodes, PoseAdapterNode, message="pose_array")
    until(executor, lambda: node._tree._parents.keys() >= set(names))


def test_new_frames_without_end_do_not_fill_the_memory() -> None:
    tree = TransformTree()
    here = Placement.from_xyz_rpy([0.0] * 6)
    for k in range(MOST_FRAMES + 100):
        tree.set(f"frame_{k}", "odom", here)
    assert len(tree._parents) == MOST_FRAMES
    tree.set("frame_0", "map", here)
    tree.find("frame_0", "map")
    with pytest.raises(PallasError):
        tree.find("frame_0", "odom")
