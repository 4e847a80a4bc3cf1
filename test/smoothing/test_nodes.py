"""The nodes `pose_adapter` and `hpstm` over real DDS: from an estimator's message and a camera
transform to a smooth body with covariance.
"""

from collections.abc import Callable, Iterator
from itertools import takewhile
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("rclpy", reason="needs ROS 2 (make setup)")
pytest.importorskip("pallas.msg", reason="needs the generated messages (make setup)")

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import Point, Pose, PoseArray, TransformStamped
from pallas.msg import BodyPose
from rclpy.context import Context
from rclpy.parameter import Parameter
from tf2_msgs.msg import TFMessage
from visualization_msgs.msg import Marker, MarkerArray

from hpstm_ros.nodes.hpstm import HpstmNode
from hpstm_ros.nodes.pose_adapter import PoseAdapterNode
from hpstm_ros.smoothing.adapters import AXES, PoseFormat, load_format
from pallas_ros.body import rotations
from pallas_ros.body.errors import PallasError
from pallas_ros.body.frames import BodyFrame
from pallas_ros.body.kinematics import forward_kinematics
from pallas_ros.body.names import JOINT_INDEX
from pallas_ros.body.skeleton import Skeleton
from pallas_ros.messages.decode import body_from_msg
from pallas_ros.messages.encode import body_to_msg, to_stamp
from pallas_ros.ros.matching import knows_publishers
from pallas_ros.ros.qos import ANY_OFFER, LATCHED
from pallas_ros.ros.run import make_executor

F64 = NDArray[np.float64]
pytestmark = [pytest.mark.ros, pytest.mark.timeout(120)]
LIMIT_S = 60.0
CAMERA = np.array([3.0, 0.5, 1.2])
R_odom_camera = np.asarray(rotations.to_matrix(rotations.about_z(np.array(np.pi))))
"""The camera stands before the person and looks back at them."""
FRAME_NS = 1e9 / 60


def seen_by_camera(form: PoseFormat, joints: F64) -> F64:
    """Return the format's points for joints (22, 3) m in odom, in the camera's optical frame;
    points not used for a joint are missing.
    """
    points = np.full((len(form.points), 3), np.nan)
    for joint in np.argsort((form.weights > 0).sum(1))[::-1]:
        points[form.weights[joint] > 0] = joints[joint]
    return np.asarray((points - CAMERA) @ R_odom_camera @ AXES["optical"])


class Graph:
    """Some nodes, a peer that replaces the estimator and receives the output, and an executor."""

    def __init__(self, nodes: list[Any]) -> None:
        self.peer = rclpy.create_node("estimator")
        self.executor = make_executor()
        self.executor.add_node(self.peer)
        self.nodes = nodes
        self.nodes.append(self.peer)
        self.raw: list[BodyFrame] = []
        self.smooth: list[BodyFrame] = []
        self.said: list[str] = []
        self.poses = self.peer.create_publisher(PoseArray, "/pose_estimator/poses", 100)
        self.markers = self.peer.create_publisher(MarkerArray, "/markers", 100)
        self.peer.create_subscription(
            BodyPose, "/pose/body", lambda m: self.raw.append(body_from_msg(m)), 200
        )
        self.peer.create_subscription(
            BodyPose, "/hpstm/body", lambda m: self.smooth.append(body_from_msg(m)), 200
        )
        self.peer.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 50)
        static = self.peer.create_publisher(TFMessage, "/tf_static", LATCHED)
        transform = TransformStamped()
        transform.header.frame_id = "odom"
        transform.child_frame_id = "camera"
        (
            transform.transform.translation.x,
            transform.transform.translation.y,
            transform.transform.translation.z,
        ) = CAMERA
        transform.transform.rotation.z = 1.0
        transform.transform.rotation.w = 0.0
        static.publish(TFMessage(transforms=[transform]))
        self.keep = static

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        self.said += [status.message for status in message.status] + [
            pair.value for status in message.status for pair in status.values
        ]

    def add(self, kind: type[Any], **parameters: Any) -> None:
        node = kind(
            parameter_overrides=[Parameter(name, value=value) for name, value in parameters.items()]
        )
        self.nodes.append(node)
        self.executor.add_node(node)
        node.bring("configure")
        node.bring("activate")

    def until(
        self, what: Callable[[], object], meanwhile: Callable[[], None] = lambda: None
    ) -> None:
        end = monotonic() + LIMIT_S
        while not what():
            assert monotonic() < end, f"it did not come; said: {self.said[-3:]}"
            meanwhile()
            self.executor.spin_once(timeout_sec=0.02)

    def show(self, points: F64, stamp: int) -> None:
        message = PoseArray(
            poses=[Pose(position=Point(x=float(x), y=float(y), z=float(z))) for x, y, z in points]
        )
        message.header.frame_id = "camera"
        message.header.stamp = to_stamp(stamp)
        self.poses.publish(message)


@pytest.fixture
def graph(ros_nodes: list[Any]) -> Graph:
    return Graph(ros_nodes)


def connect(graph: Graph, points: F64) -> int:
    """Publish still bodies until one has passed the whole graph; return the stamp (ns) to continue
    from.
    """
    stamp: int = graph.peer.get_clock().now().nanoseconds

    def again() -> None:
        nonlocal stamp
        stamp += round(FRAME_NS)
        graph.show(points, stamp)

    graph.until(
        lambda: graph.smooth or (graph.raw and HpstmNode not in map(type, graph.nodes)), again
    )
    return stamp


@pytest.mark.parametrize("method", ["hpstm", "kalman"])
def test_an_estimators_poses_become_a_smooth_body_in_odom(
    graph: Graph, walk: F64, noisy: F64, model: Path, method: str
) -> None:
    lookahead = 3
    form = load_format("coco_17")
    graph.add(PoseAdapterNode, axes="optical")
    graph.add(HpstmNode, input_topic="/pose/body", method=method, lookahead=lookahead)
    still = seen_by_camera(form, walk[0])
    start = connect(graph, still)
    count = 80
    for k in range(1, count + 1):  # one by one: what is tested is the graph, not its queues
        before = len(graph.raw)
        stamp = start + round(k * FRAME_NS)
        graph.show(seen_by_camera(form, noisy[k]), stamp)
        graph.until(lambda: len(graph.raw) > before)  # noqa: B023
    last = start + round((count - lookahead) * FRAME_NS)
    graph.until(lambda: any(abs(b.stamp - last) < 1e6 for b in graph.smooth))
    by_frame = {round((b.stamp - start) / FRAME_NS): b for b in graph.smooth}
    errors: dict[str, list[F64]] = {"raw": [], "smooth": []}
    seen = [
        JOINT_INDEX[n]
        for n in (
            "left_hip",
            "right_knee",
            "left_ankle",
            "right_shoulder",
            "left_elbow",
            "right_wrist",
        )
    ]
    for k in range(40, count - lookahead + 1):
        body = by_frame[k]
        if any("extrapolated" in remark for remark in body.remarks):
            continue  # a busy machine brought it late
        assert body.covariance is not None and (np.linalg.eigvalsh(body.covariance) > 0).all()
        assert body.newest_input >= body.stamp
        errors["smooth"].append(np.linalg.norm(body.positions - walk[k], axis=-1)[seen])
        errors["raw"].append(np.linalg.norm(noisy[k] - walk[k], axis=-1)[seen])
    assert len(errors["smooth"]) >= 20
    assert np.mean(errors["smooth"]) < 0.8 * np.mean(errors["raw"])


def test_a_person_four_metres_tall_is_refused_in_words_and_the_next_one_taken(
    graph: Graph, walk: F64
) -> None:
    graph.add(PoseAdapterNode, axes="optical")
    form = load_format("coco_17")
    still = seen_by_camera(form, walk[0])
    start = connect(graph, still)
    graph.show(2.4 * still, start + round(FRAME_NS))
    graph.show(still[:5], start + round(2 * FRAME_NS))
    graph.until(lambda: any("refused" in text for text in graph.said))
    graph.show(still, start + round(3 * FRAME_NS))
    graph.until(lambda: graph.raw[-1].stamp == start + round(3 * FRAME_NS))
    stamps = {body.stamp for body in graph.raw}
    assert not stamps & {start + round(FRAME_NS), start + round(2 * FRAME_NS)}


def test_a_rejected_person_does_not_block_others(graph: Graph, walk: F64) -> None:
    graph.add(PoseAdapterNode, message="marker_array", input_topic="/markers", axes="optical")
    form = load_format("coco_17")

    def both() -> None:
        message = MarkerArray()
        for name, factor in (("giant", 3.0), ("ben", 1.0)):
            for index, (x, y, z) in enumerate(factor * seen_by_camera(form, walk[0])):
                marker = Marker(ns=name, id=index, action=Marker.ADD)
                marker.header.frame_id = "camera"
                marker.header.stamp = graph.peer.get_clock().now().to_msg()
                marker.pose.position = Point(x=float(x), y=float(y), z=float(z))
                message.markers.append(marker)
        graph.markers.publish(message)

    graph.until(lambda: graph.raw and any("'giant' refused" in said for said in graph.said), both)
    assert {body.body_id for body in graph.raw} == {"ben"}


def test_a_best_effort_estimator_is_heard_and_one_of_another_type_is_named(
    graph: Graph, walk: F64
) -> None:
    graph.add(PoseAdapterNode, axes="optical")
    still = seen_by_camera(load_format("coco_17"), walk[0])
    graph.poses = graph.peer.create_publisher(PoseArray, "/pose_estimator/poses", ANY_OFFER)
    connect(graph, still)
    elsewhere = Context()  # in one participant a topic has one type
    elsewhere.init()
    stranger = rclpy.create_node("stranger", context=elsewhere)
    stranger.create_publisher(MarkerArray, "/pose_estimator/poses", 10)
    graph.until(lambda: any("visualization_msgs/msg/MarkerArray" in said for said in graph.said))
    stranger.destroy_node()
    elsewhere.try_shutdown()


def test_a_zed_without_its_messages_is_one_sentence(graph: Graph) -> None:
    with pytest.raises(PallasError, match="zed_msgs is not installed"):
        graph.add(PoseAdapterNode, message="zed_objects")


def test_tracked_ids_of_markers_are_kept_and_each_body_has_its_own_stream(
    graph: Graph, walk: F64
) -> None:
    graph.add(PoseAdapterNode, message="marker_array", input_topic="/markers", axes="optical")
    graph.add(HpstmNode, input_topic="/pose/body", method="kalman")
    form = load_format("coco_17")
    stamp: int = graph.peer.get_clock().now().nanoseconds

    def two_people() -> None:
        nonlocal stamp
        stamp += round(FRAME_NS)
        message = MarkerArray()
        for name, shift in (("anna", 0.0), ("ben", 1.5)):
            for index, (x, y, z) in enumerate(
                seen_by_camera(form, walk[0] + np.array([0.0, shift, 0.0]))
            ):
                marker = Marker(ns=name, id=index, action=Marker.ADD)
                marker.header.frame_id = "camera"
                marker.header.stamp = to_stamp(stamp)
                marker.pose.position = Point(x=float(x), y=float(y), z=float(z))
                message.markers.append(marker)
        graph.markers.publish(message)

    graph.until(
        lambda: (
            sum(b.body_id == "anna" for b in graph.smooth) > 20
            and sum(b.body_id == "ben" for b in graph.smooth) > 20
        ),
        two_people,
    )
    pelvis = {
        name: [b.positions[0] for b in graph.smooth if b.body_id == name][-1]
        for name in ("anna", "ben")
    }
    np.testing.assert_allclose(pelvis["ben"] - pelvis["anna"], [0.0, 1.5, 0.0], atol=0.03)


def is_extrapolated(body: BodyFrame) -> bool:
    return any("extrapolated" in remark for remark in body.remarks)


def test_a_body_that_vanishes_is_bridged_by_the_clock_then_lost(graph: Graph, walk: F64) -> None:
    graph.add(PoseAdapterNode, axes="optical")
    graph.add(HpstmNode, input_topic="/pose/body", method="kalman", bridge_s=0.2)
    connect(graph, seen_by_camera(load_format("coco_17"), walk[0]))
    graph.until(lambda: graph.smooth and not graph.smooth[-1].valid.any())
    valid = [body for body in graph.smooth if body.valid.any()]
    # a busy machine may cause earlier gaps: only the last one ends with the loss of the body
    bridged = list(takewhile(is_extrapolated, reversed(valid)))[::-1]
    assert 0 < len(bridged) <= 13
    assert any("lost" in r for r in graph.smooth[-1].remarks)
    traces = [
        np.trace(b.covariance, axis1=-2, axis2=-1).mean()
        for b in bridged
        if b.covariance is not None
    ]
    assert traces == sorted(traces)


def test_bodies_of_a_second_publisher_of_the_input_are_refused(graph: Graph) -> None:
    """They would leave under the name of this node, which `retarget` trusts."""
    graph.add(HpstmNode, input_topic="/pallas/body", method="bypass")
    node = graph.nodes[-1]
    stranger = rclpy.create_node("stranger")
    graph.nodes.append(stranger)
    ours = graph.peer.create_publisher(BodyPose, "/pallas/body", 100)
    theirs = stranger.create_publisher(BodyPose, "/pallas/body", 100)
    q = np.tile(rotations.IDENTITY, (22, 1))
    p = np.asarray(forward_kinematics(Skeleton.from_height(), q, np.array([0.0, 0.0, 0.95])))

    def publish(*publishers: Any) -> None:
        now = node.now()
        body = BodyFrame(now, q, p, None, np.ones(22, bool), np.ones(22), np.zeros(2), now, "one")
        for publisher in publishers:
            publisher.publish(body_to_msg(body))

    graph.until(lambda: graph.smooth, lambda: publish(ours))
    graph.until(lambda: node._intake.unexpected > 10, lambda: publish(ours, theirs))
    graph.until(
        lambda: any("another publisher" in text for text in graph.said),
        lambda: publish(ours, theirs),
    )


def test_a_second_pose_estimator_is_refused(graph: Graph, walk: F64) -> None:
    """Its bodies would have the same id as those of the first."""
    graph.add(PoseAdapterNode, axes="optical")
    node = graph.nodes[-1]
    still = seen_by_camera(load_format("coco_17"), walk[0])
    elsewhere = still + np.array([0.0, 0.0, 1.0])
    start = connect(graph, still)
    stranger = rclpy.create_node("stranger")
    graph.nodes.append(stranger)
    ours = graph.poses
    theirs = stranger.create_publisher(PoseArray, "/pose_estimator/poses", 100)
    stamp = start

    def both() -> None:
        nonlocal stamp
        stamp += round(FRAME_NS)
        for publisher, points in ((ours, still), (theirs, elsewhere)):
            graph.poses = publisher
            graph.show(points, stamp)

    graph.until(lambda: node._intake.unexpected > 10, both)
    graph.until(lambda: any("another publisher" in text for text in graph.said), both)
    pelvis = np.array([body.positions[0] for body in graph.raw])
    assert np.ptp(pelvis, axis=0).max() < 0.1
    assert {body.body_id for body in graph.raw} == {"operator"}


@pytest.fixture
def abroad(ros_nodes: list[Any]) -> Iterator[Callable[[], Any]]:
    """Create nodes that are participants of their own, as in another process."""
    contexts: list[Context] = []

    def made() -> Any:
        contexts.append(Context())
        contexts[-1].init()
        ros_nodes.append(rclpy.create_node("another", context=contexts[-1]))
        return ros_nodes[-1]

    yield made
    for context in contexts:
        context.try_shutdown()


def silence(graph: Graph) -> None:
    """Wait until another publisher would be accepted."""
    end = monotonic() + 0.6
    graph.until(lambda: monotonic() > end)


@pytest.mark.skipif(not knows_publishers(), reason="the middleware does not name publishers")
def test_another_publisher_of_the_input_after_a_silence_is_another_person(
    graph: Graph, abroad: Callable[[], Any]
) -> None:
    """The arm would follow it without another engage, also after the node was configured again.

    A publisher of the same participant is the same node, rebuilt.
    """
    graph.add(HpstmNode, input_topic="/pallas/body", method="bypass")
    node = graph.nodes[-1]
    q = np.tile(rotations.IDENTITY, (22, 1))
    p = np.asarray(forward_kinematics(Skeleton.from_height(), q, np.array([0.0, 0.0, 0.95])))
    publisher = graph.peer.create_publisher(BodyPose, "/pallas/body", 100)

    def publish() -> None:
        now = node.now()
        body = BodyFrame(now, q, p, None, np.ones(22, bool), np.ones(22), np.zeros(2), now, "one")
        publisher.publish(body_to_msg(body))

    def shown() -> set[str]:
        return {body.body_id for body in graph.smooth}

    graph.until(lambda: graph.smooth, publish)
    silence(graph)
    graph.until(lambda: len(graph.smooth) > 50, publish)
    assert shown() == {"one"}
    owner = graph.peer
    for name, next_owner, configured_again in (
        ("one", owner, False),
        ("one_publisher2", abroad(), False),
        ("one_publisher3", abroad(), True),
    ):
        owner.destroy_publisher(publisher)
        owner = next_owner
        publisher = owner.create_publisher(BodyPose, "/pallas/body", 100)
        silence(graph)
        if configured_again:
            node.set_parameters([Parameter("lookahead", value=1)])
        graph.smooth.clear()
        graph.until(lambda: any(not body.remarks for body in graph.smooth), publish)
        assert {body.body_id for body in graph.smooth if not body.remarks} == {name}


@pytest.mark.skipif(not knows_publishers(), reason="the middleware does not name publishers")
def test_another_pose_estimator_after_a_silence_shows_another_person(
    graph: Graph, walk: F64, abroad: Callable[[], Any]
) -> None:
    graph.add(PoseAdapterNode, axes="optical")
    still = seen_by_camera(load_format("coco_17"), walk[0])
    connect(graph, still)
    graph.peer.destroy_publisher(graph.poses)
    graph.poses = abroad().create_publisher(PoseArray, "/pose_estimator/poses", 100)
    silence(graph)
    assert {body.body_id for body in graph.raw} == {"operator"}
    graph.raw.clear()
    connect(graph, still)
    assert {body.body_id for body in graph.raw} == {"operator_publisher2"}
