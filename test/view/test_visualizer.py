"""The visualizer over real DDS, and the RViz and Foxglove files against its published topics."""

import json
import time
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import yaml

from pallas_ros.body.names import (
    TOPIC_HPSTM_BODY,
    TOPIC_IMU_FRAME,
    TOPIC_PALLAS_BODY,
    TOPIC_PREDICTION,
)
from pallas_ros.body.resources import resource

rclpy = pytest.importorskip("rclpy", reason="needs ROS 2 (make setup)")
pytest.importorskip("yourdfpy", reason="needs the extra [view]")
pytestmark = pytest.mark.ros

ARM = """<robot name="arm"><link name="base"/><link name="hand"/><joint name="j" type="revolute"><parent link="base"/><child link="hand"/>
<origin xyz="0 0 1"/><axis xyz="0 0 1"/><limit lower="-2" upper="2" effort="1" velocity="1"/></joint></robot>"""  # noqa: E501

RVIZ_TYPES = {
    "rviz_default_plugins/RobotModel": "std_msgs/msg/String",
    "rviz_default_plugins/MarkerArray": "visualization_msgs/msg/MarkerArray",
    "rviz_default_plugins/TF": None,
    "rviz_default_plugins/Grid": None,
}


class Graph:
    """The visualizer, and a peer that publishes a body and subscribes."""

    def __init__(self) -> None:
        from geometry_msgs.msg import PoseStamped
        from pallas.msg import BodyPose, BodyPrediction, ImuFrame, SupervisorStatus
        from rclpy.executors import SingleThreadedExecutor
        from sensor_msgs.msg import JointState
        from std_msgs.msg import String
        from test_human import body
        from tf2_msgs.msg import TFMessage
        from visualization_msgs.msg import MarkerArray

        from pallas_ros.body.frames import ImuFrame as Frame
        from pallas_ros.messages.encode import body_to_msg, imu_frame_to_msg
        from pallas_ros.nodes.visualizer import VisualizerNode
        from pallas_ros.ros.qos import LATCHED, STREAM

        self.visualizer = VisualizerNode()
        self.tester = rclpy.create_node("tester")
        self.executor = SingleThreadedExecutor()
        self.heard: dict[str, list[Any]] = defaultdict(list)
        self.types: dict[str, str] = {}
        for topic, kind, qos in (
            ("/tf", TFMessage, STREAM),
            ("/tf_static", TFMessage, LATCHED),
            ("/visualizer/markers", MarkerArray, STREAM),
            ("/human_description_operator", String, LATCHED),
            ("/humans/bodies/operator/joint_states", JointState, STREAM),
        ):
            self.tester.create_subscription(kind, topic, self.heard[topic].append, qos)
        description = self.tester.create_publisher(String, "/robot_description", LATCHED)
        description.publish(String(data=ARM))
        frame = Frame(
            1,
            np.tile([0, 0, 0, 1.0], (4, 1)),
            np.zeros((4, 3)),
            np.ones(4, bool),
            np.zeros(4),
            np.zeros(4),
            1,
        )
        tip = PoseStamped()
        tip.header.frame_id = "base"
        self.publishers = [
            (
                self.tester.create_publisher(BodyPose, TOPIC_PALLAS_BODY, STREAM),
                body_to_msg(body(remarks=("left_wrist silent",))),
            ),
            (
                self.tester.create_publisher(BodyPose, TOPIC_HPSTM_BODY, STREAM),
                body_to_msg(body(remarks=("left_wrist silent",))),
            ),
            (
                self.tester.create_publisher(ImuFrame, TOPIC_IMU_FRAME, STREAM),
                imu_frame_to_msg(frame),
            ),
            (
                self.tester.create_publisher(JointState, "/joint_states", STREAM),
                JointState(name=["j"], position=[0.5]),
            ),
            (
                self.tester.create_publisher(BodyPose, TOPIC_HPSTM_BODY, STREAM),
                body_to_msg(body(body_id="a passer-by")),
            ),
            (
                self.tester.create_publisher(SupervisorStatus, "/retarget/status", STREAM),
                SupervisorStatus(operator_id="operator", state_name="tracking"),
            ),
            (
                self.tester.create_publisher(BodyPrediction, TOPIC_PREDICTION, STREAM),
                BodyPrediction(body_id="operator", bodies=[body_to_msg(body())] * 10),
            ),
            (self.tester.create_publisher(PoseStamped, "/retarget/goal", STREAM), tip),
            (self.tester.create_publisher(PoseStamped, "/retarget/tip", STREAM), tip),
        ]
        for node in (self.visualizer, self.tester):
            self.executor.add_node(node)
        for trigger in ("configure", "activate"):
            self.visualizer.bring(trigger)

    def spin(self, enough: Any) -> None:
        until = time.monotonic() + 30
        while not enough():
            assert time.monotonic() < until, (
                f"heard only {sorted(topic for topic, got in self.heard.items() if got)}"
            )
            for publisher, message in self.publishers:
                publisher.publish(message)
            for _ in range(10):
                self.executor.spin_once(timeout_sec=0.005)

    @property
    def frames(self) -> set[str]:
        return {
            t.child_frame_id
            for topic in ("/tf", "/tf_static")
            for message in self.heard[topic]
            for t in message.transforms
        } | {"odom"}

    @property
    def namespaces(self) -> set[str]:
        return {
            marker.ns for message in self.heard["/visualizer/markers"] for marker in message.markers
        }


@pytest.fixture
def graph(ros_domain: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[Graph]:
    import pathlib

    monkeypatch.syspath_prepend(str(pathlib.Path(__file__).parent))
    rclpy.init()
    graph = Graph()
    yield graph
    graph.visualizer.stop()
    graph.executor.shutdown()
    rclpy.shutdown()


EVERYTHING = {"raw", "body", "uncertainty", "place", "contacts", "remarks", "imus", "goal", "tip"}
EVERYTHING |= {"operator", "people", "prediction", "prediction_uncertainty"}


def test_everything_is_drawn_and_every_display_finds_it(graph: Graph) -> None:
    said_once = ("/human_description_operator", "/humans/bodies/operator/joint_states")
    graph.spin(
        lambda: (
            graph.namespaces >= EVERYTHING
            and {"hand", "base"} <= graph.frames
            and all(graph.heard[topic] for topic in said_once)
        )
    )
    topics = {name: types[0] for name, types in graph.tester.get_topic_names_and_types()}

    transforms = {t.child_frame_id: t for message in graph.heard["/tf"] for t in message.transforms}
    assert transforms["body_operator"].header.frame_id == "odom"
    assert transforms["hand"].transform.translation.z == 1.0
    assert transforms["hand"].transform.rotation.z == pytest.approx(np.sin(0.25))
    for message in graph.heard["/visualizer/markers"]:
        assert {marker.header.frame_id for marker in message.markers} <= graph.frames
    assert len(graph.heard["/humans/bodies/operator/joint_states"][-1].name) == 63

    import xml.etree.ElementTree as ElementTree

    links = {
        link.get("name")
        for link in ElementTree.fromstring(
            graph.heard["/human_description_operator"][-1].data
        ).iter("link")
    }
    assert links <= graph.frames

    rviz = yaml.safe_load(resource("config/pallas.rviz").read_text())
    assert rviz["Visualization Manager"]["Global Options"]["Fixed Frame"] in graph.frames
    seen = set()
    for display in rviz["Visualization Manager"]["Displays"]:
        assert display["Class"] in RVIZ_TYPES, display["Class"]
        topic = display.get("Topic") or display.get("Description Topic")
        if topic:
            seen.add(topic["Value"])
            assert topics[topic["Value"]] == RVIZ_TYPES[display["Class"]]
        if display["Class"] == "rviz_default_plugins/MarkerArray":
            assert set(display["Namespaces"]) == graph.namespaces
    assert seen == {"/visualizer/markers", "/human_description_operator", "/robot_description"}

    layout = json.loads(resource("config/pallas_foxglove.json").read_text())
    for name, panel in layout["configById"].items():
        if name.startswith("3D"):
            assert panel["followTf"] in graph.frames
            for topic in panel["topics"]:
                assert topic in topics
    known = set(topics) | {"/retarget/status", "/joint_states", "/hpstm/body", "/diagnostics"}
    plotted = {
        path["value"].split(".")[0]
        for panel in layout["configById"].values()
        for path in panel.get("paths", [])
    }
    assert plotted <= known
    assert plotted


def test_the_operator_is_labelled_and_others_are_drawn_in_grey(graph: Graph) -> None:
    graph.spin(lambda: graph.namespaces >= EVERYTHING)
    markers = [m for message in graph.heard["/visualizer/markers"] for m in message.markers]
    assert "operator 'operator': tracking" in {m.text for m in markers if m.ns == "operator"}
    other = next(m for m in markers if m.ns == "people")
    assert other.color.r == pytest.approx(other.color.g)
    assert not other.colors


def test_a_body_that_is_not_finite_and_a_hostile_description_do_no_harm(graph: Graph) -> None:
    from std_msgs.msg import String

    graph.spin(lambda: graph.heard["/visualizer/markers"])
    bad = graph.publishers[0][1]
    bad.poses[3].position.x = float("nan")
    graph.publishers[1][1].poses[0].orientation.w = float("nan")
    hostile = graph.tester.create_publisher(String, "/robot_description", 1)
    hostile.publish(String(data="<!DOCTYPE x [<!ENTITY a 'b'>]><robot>&a;</robot>"))
    before = len(graph.heard["/visualizer/markers"])
    graph.spin(lambda: len(graph.heard["/visualizer/markers"]) > before + 5)
    for message in graph.heard["/visualizer/markers"][before + 2 :]:
        for marker in message.markers:
            assert all(np.isfinite([p.x, p.y, p.z]).all() for p in marker.points)
