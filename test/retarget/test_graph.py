"""Retarget node and simulated arm over real DDS: engaging, clutch, dead-man switch, emergency stop,
faults, lost input.
"""

from collections.abc import Callable, Iterator
from time import monotonic
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (make setup)")
pytest.importorskip("pinocchio", reason="needs the extra [robot]")
pytest.importorskip("mujoco", reason="needs the extra [sim]")
pytest.importorskip("pallas.msg", reason="needs the generated messages (make setup)")

import rclpy
from pallas.msg import BodyPose, SupervisorStatus
from rclpy.context import Context
from rclpy.duration import Duration
from rclpy.parameter import Parameter
from rclpy.qos import (
    DurabilityPolicy,
    LivelinessPolicy,
    QoSProfile,
    ReliabilityPolicy,
    qos_profile_sensor_data,
)
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool, Empty
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory

from hpstm_ros.nodes.arm_simulator import ArmSimulatorNode
from hpstm_ros.nodes.operator import OperatorNode
from hpstm_ros.nodes.retarget import RetargetNode
from hpstm_ros.safety.checker import check, executed
from hpstm_ros.teleoperation.teleoperation import limits_of
from pallas_ros.body.errors import PallasError
from pallas_ros.body.frames import BodyFrame
from pallas_ros.imu.motions import demo_motion
from pallas_ros.messages.decode import from_stamp
from pallas_ros.messages.encode import body_to_msg
from pallas_ros.ros.matching import knows_publishers
from pallas_ros.ros.qos import LATCHED
from pallas_ros.ros.run import make_executor

ROBOT = "uarm"
pytestmark = [pytest.mark.ros, pytest.mark.timeout(120)]


class Graph:
    """The two nodes, an operator who publishes bodies and holds the switch, and subscribers to
    their output.
    """

    def __init__(self, **retarget: Any) -> None:
        # One thread runs all of them, on a machine that may do other things too.
        overrides = {"robot": ROBOT, "rate_hz": 60.0, "max_measurement_age_s": 0.3, **retarget}
        self.retarget = RetargetNode(
            parameter_overrides=[Parameter(k, value=v) for k, v in overrides.items()]
        )
        self.arm = ArmSimulatorNode(
            parameter_overrides=[Parameter("robot", value=ROBOT), Parameter("rate_hz", value=60.0)]
        )
        self.operator = rclpy.create_node("operator")
        self.executor = make_executor()
        for node in (self.retarget, self.arm):
            self.executor.add_node(node)
            node.bring("configure")
            node.bring("activate")
        self.executor.add_node(self.operator)
        self._motion = demo_motion(12.0)
        self.frame = 300
        self.moving = False
        self.bodies = True
        self.pressed = True
        self.names = ["operator"]
        self.status = SupervisorStatus()
        self.messages: list[tuple[np.ndarray, np.ndarray]] = []
        self.q = np.zeros(0)
        self._body = self.operator.create_publisher(BodyPose, "/hpstm/body", 10)
        self._switch = self.operator.create_publisher(Bool, "/retarget/dead_man", 10)
        self.emergency_switch = self.operator.create_publisher(Bool, "/emergency_stop", 10)
        self.operator.create_subscription(
            SupervisorStatus, "/retarget/status", lambda m: setattr(self, "status", m), 10
        )
        self.operator.create_subscription(
            JointTrajectory, "/joint_trajectory_controller/joint_trajectory", self._on_command, 1000
        )
        self.operator.create_subscription(
            JointState, "/joint_states", lambda m: setattr(self, "q", np.array(m.position)), 10
        )
        self.operator.create_timer(1 / 60, self._tell)

    def _tell(self) -> None:
        self._switch.publish(Bool(data=self.pressed))
        if not self.bodies:
            return
        self.frame += self.moving
        for name in self.names:
            self._body.publish(self.body(name))

    def body(self, name: str) -> BodyPose:
        k = self.frame % len(self._motion)
        now = self.operator.get_clock().now().nanoseconds
        frame = BodyFrame(
            now,
            self._motion.rotations[k],
            self._motion.positions[k],
            None,
            np.ones(22, bool),
            np.ones(22),
            np.zeros(2),
            now,
            name,
        )
        return body_to_msg(frame)

    def _on_command(self, message: JointTrajectory) -> None:
        start = from_stamp(message.header.stamp)
        times = [
            start + p.time_from_start.sec * 10**9 + p.time_from_start.nanosec
            for p in message.points
        ]
        self.messages.append((np.array(times), np.array([p.positions for p in message.points])))

    def until(self, what: Callable[[], bool], seconds: float = 30.0) -> None:
        end = monotonic() + seconds
        while not what():
            assert monotonic() < end, f"still {self.status.state_name}: {self.status.reason}"
            self.executor.spin_once(timeout_sec=0.05)

    def reaches(self, state: str, reason: str = "") -> None:
        self.until(lambda: self.status.state_name == state and reason in self.status.reason)

    def call(self, service: str) -> Trigger.Response:
        client = self.operator.create_client(Trigger, f"/retarget/{service}")
        self.until(client.service_is_ready)
        future = client.call_async(Trigger.Request())
        self.until(future.done)
        self.operator.destroy_client(client)
        return future.result()

    def emergency(self, pressed: bool) -> None:
        self.until(lambda: self.emergency_switch.get_subscription_count() > 0)
        self.emergency_switch.publish(Bool(data=pressed))

    def judge(self) -> None:
        """Check the commands since the arm was engaged."""
        arm = self.retarget._arm
        if arm is not None and self.messages:
            assert check(*executed(self.messages), limits_of(arm.robot)) == []

    def track(self) -> None:
        self.until(lambda: len(self.q) > 0 and self.status.dead_man)
        self.judge()
        self.messages.clear()  # engaged again, the arm starts from where it is measured to be
        self.until(self.engaged)
        self.reaches("tracking")

    def engaged(self) -> bool:
        """Try to engage the arm until it is accepted; return whether it was.

        At startup, and while the machine stalls, the node may not have received joint states for a
        while.
        """
        answer = self.call("engage")
        assert answer.success or "joint states" in answer.message, answer.message
        return bool(answer.success)

    def stands_still(self) -> None:
        """Wait until the commanded and the simulated arm have stopped."""
        self.until(lambda: self.status.tip_speed < 1e-9)

    def close(self) -> None:
        for node in (self.retarget, self.arm):
            node.stop()
            node.destroy_node()
        self.operator.destroy_node()
        self.executor.shutdown()


@pytest.fixture
def graph(ros_domain: int, request: pytest.FixtureRequest) -> Iterator[Graph]:
    rclpy.init()
    try:
        graph = Graph(**getattr(request, "param", {}))
    except BaseException:
        rclpy.shutdown()
        raise
    try:
        yield graph
        graph.judge()
    finally:
        graph.close()
        rclpy.shutdown()


def test_engage_follow_disengage(graph: Graph) -> None:
    graph.until(lambda: len(graph.q) > 0)
    assert graph.status.state_name in ("", "disengaged")
    assert not graph.messages
    graph.track()
    graph.moving = True
    before = graph.q
    graph.until(
        lambda: float(np.abs(graph.q - before).max()) > 0.1
    )  # the simulated arm really moves
    assert graph.status.tracking_error < 0.1
    assert graph.call("disengage").success
    graph.reaches("disengaged")
    graph.stands_still()


def test_dead_man_released_and_pressed_again(graph: Graph) -> None:
    graph.pressed = False
    graph.until(lambda: len(graph.q) > 0)
    graph.until(graph.engaged)
    graph.reaches("holding", "dead-man")
    graph.pressed = True
    graph.reaches("tracking")
    graph.pressed = False
    graph.reaches("holding", "dead-man")


@pytest.mark.parametrize("graph", [{"mode": "clutched"}], indirect=True)
def test_clutch_takes_hold_anywhere_without_a_jump(graph: Graph) -> None:
    graph.track()
    graph.pressed = False
    graph.reaches("holding")
    graph.stands_still()
    moved = graph.frame + 110
    graph.moving = True  # the operator moves while the switch is released
    graph.until(lambda: graph.frame >= moved)
    graph.moving = False
    held = graph.q
    graph.pressed = True
    graph.reaches("tracking")
    count = len(graph.messages)
    graph.until(lambda: len(graph.messages) > count + 60)
    assert float(np.abs(graph.q - held).max()) < 0.05


def test_emergency_stop_is_latched(graph: Graph) -> None:
    graph.track()
    graph.emergency(True)
    graph.reaches("stopped", "emergency")
    assert not graph.call("engage").success
    assert "pressed" in graph.call("reset").message
    graph.emergency(False)
    graph.until(lambda: not graph.status.emergency_stop)
    graph.until(lambda: graph.call("reset").success)
    graph.reaches("disengaged")
    graph.track()


def test_emergency_stop_by_service(graph: Graph) -> None:
    graph.track()
    assert graph.call("emergency_stop").success
    graph.reaches("stopped")
    graph.until(lambda: graph.call("reset").success)  # refused until the arm is at rest


@pytest.mark.parametrize("graph", [{"deviation_rad": 0.08}], indirect=True)
def test_arm_that_sticks_is_noticed(graph: Graph) -> None:
    graph.track()
    graph.arm.set_parameters([Parameter("fault_stuck_joint", value="base_joint")])
    graph.moving = True
    graph.reaches("holding", "does not follow")
    graph.reaches("stopped", "does not follow")
    graph.arm.set_parameters([Parameter("fault_stuck_joint", value="")])
    graph.until(lambda: graph.call("reset").success)


def test_feedback_lost_and_back(graph: Graph) -> None:
    graph.track()
    graph.arm.set_parameters([Parameter("fault_lost_feedback", value=True)])
    graph.reaches("holding", "joint states")
    graph.arm.set_parameters([Parameter("fault_lost_feedback", value=False)])
    graph.reaches("tracking")


def test_input_lost_and_back(graph: Graph) -> None:
    graph.track()
    graph.bodies = False
    graph.reaches("holding", "no body")
    graph.stands_still()
    graph.bodies = True
    graph.reaches("tracking")


def test_scale_changes_while_running_and_nonsense_is_refused(graph: Graph) -> None:
    graph.track()
    assert graph.retarget.set_parameters([Parameter("scale", value=0.5)])[0].successful
    assert not graph.retarget.set_parameters([Parameter("scale", value=9.0)])[0].successful
    assert not graph.retarget.set_parameters([Parameter("robot", value="ur5")])[0].successful
    count = len(graph.messages)
    graph.until(lambda: len(graph.messages) > count + 20)
    graph.reaches("tracking")  # a change this big is a jump of the goal, and is aligned to slowly


OFFERS = {
    "best effort": qos_profile_sensor_data,
    "best effort, latched": QoSProfile(
        depth=1,
        reliability=ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.TRANSIENT_LOCAL,
    ),
    "deadline": QoSProfile(depth=1, deadline=Duration(nanoseconds=10_000_000)),
    "lifespan": QoSProfile(depth=1, lifespan=Duration(nanoseconds=500_000_000)),
    "manual liveliness": QoSProfile(
        depth=1,
        liveliness=LivelinessPolicy.MANUAL_BY_TOPIC,
        liveliness_lease_duration=Duration(nanoseconds=100_000_000),
    ),
}


@pytest.mark.parametrize("offer", OFFERS)
def test_an_emergency_stop_is_heard_whatever_qos_it_offers(graph: Graph, offer: str) -> None:
    graph.track()
    switch = graph.operator.create_publisher(Bool, "/emergency_stop", OFFERS[offer])
    graph.until(lambda: switch.get_subscription_count() > 0)
    switch.publish(Bool(data=True))
    graph.reaches("stopped", "emergency")


def test_one_press_is_heard_among_thousands_of_messages_during_a_stall(graph: Graph) -> None:
    graph.track()
    switch = graph.operator.create_publisher(Bool, "/emergency_stop", 10)
    flood = graph.operator.create_publisher(Bool, "/emergency_stop", qos_profile_sensor_data)
    for publisher in (switch, flood):
        graph.until(lambda p=publisher: p.get_subscription_count() > 0)
    switch.publish(Bool(data=True))
    for _ in range(2500):
        flood.publish(Bool(data=False))
    graph.reaches("stopped", "emergency")


def test_a_stop_that_is_repeated_costs_no_command_each_time(graph: Graph) -> None:
    graph.track()
    stops: list[None] = []
    graph.retarget._switch_topics._stopped = lambda: stops.append(None)
    for _ in range(90):
        graph.emergency(True)
    graph.until(lambda: graph.retarget._counts["/emergency_stop"] >= 90)
    graph.reaches("stopped", "emergency")
    assert len(stops) == 1


def test_an_arm_is_not_held_by_a_dead_mans_switch_that_floods(graph: Graph) -> None:
    graph.track()
    flood = graph.operator.create_publisher(Bool, "/retarget/dead_man", 10)
    graph.until(lambda: flood.get_subscription_count() > 0)
    for _ in range(2500):
        flood.publish(Bool(data=True))
    graph.reaches("holding", "dead-man")


def test_what_a_reliable_switch_sends_is_requested_again_if_it_is_lost(graph: Graph) -> None:
    """A best-effort subscription matches every switch, but gets no lost message again."""

    def reliable() -> bool:
        there = graph.operator.get_subscriptions_info_by_topic("/emergency_stop")
        return any(info.qos_profile.reliability == ReliabilityPolicy.RELIABLE for info in there)

    graph.until(reliable)


def test_a_stop_that_a_best_effort_switch_may_have_latched_is_trouble(graph: Graph) -> None:
    graph.track()
    graph.operator.create_publisher(Bool, "/emergency_stop", OFFERS["best effort, latched"])
    graph.reaches("holding", "latched messages from")
    assert graph.call("disengage").success
    assert "latched messages from" in graph.call("engage").message


def test_of_two_latched_switches_the_one_that_is_pressed_is_heard(ros_nodes: list[Any]) -> None:
    """Both are there before the node is created."""
    switches = rclpy.create_node("switches")
    ros_nodes.append(switches)
    publishers = [switches.create_publisher(Bool, "/emergency_stop", LATCHED) for _ in range(2)]
    for publisher, pressed in zip(publishers, (True, False)):
        publisher.publish(Bool(data=pressed))
    node = RetargetNode(parameter_overrides=[Parameter("robot", value=ROBOT)])
    ros_nodes.append(node)
    executor = make_executor()
    executor.add_node(node)
    node.bring("configure")
    node.bring("activate")
    end = monotonic() + 20.0
    while not node._arm.supervisor.flags(node.now())[2]:
        assert monotonic() < end
        executor.spin_once(timeout_sec=0.05)
    assert "stopped" in node._arm.supervisor.state.name.lower()
    executor.shutdown()


def test_a_stop_that_was_latched_before_the_node_was_there_is_heard(graph: Graph) -> None:
    switch = graph.operator.create_publisher(Bool, "/emergency_stop", LATCHED)
    graph.retarget.trigger_deactivate()
    switch.publish(Bool(data=True))
    graph.retarget.trigger_activate()
    graph.reaches("stopped", "emergency")
    switch.publish(Bool(data=False))
    graph.until(lambda: graph.call("reset").success)
    graph.track()


@pytest.mark.parametrize("graph", [{"emergency_stop_mode": "heartbeat"}], indirect=True)
def test_without_a_switch_that_is_heard_the_arm_is_not_engaged(graph: Graph) -> None:
    graph.until(lambda: len(graph.q) > 0 and graph.status.dead_man)
    assert "silent" in graph.call("engage").message
    beat = graph.operator.create_timer(
        0.05, lambda: graph.emergency_switch.publish(Bool(data=False))
    )
    graph.until(lambda: graph.call("engage").success)
    graph.reaches("tracking")
    second = graph.operator.create_publisher(Bool, "/emergency_stop", 10)
    other = graph.operator.create_timer(0.05, lambda: second.publish(Bool(data=False)))
    graph.until(lambda: len(graph.retarget._arm.supervisor._switches._known) == 2)
    other.cancel()
    graph.reaches("stopped", "silent")
    graph.until(lambda: "silent" in graph.call("reset").message)
    graph.operator.destroy_publisher(second)
    graph.until(lambda: graph.call("reset").success)
    graph.until(lambda: graph.call("engage").success)
    graph.reaches("tracking")
    beat.cancel()
    graph.reaches("stopped", "silent")


@pytest.mark.parametrize("graph", [{"emergency_stop_mode": "connected"}], indirect=True)
def test_an_arm_is_engaged_only_while_the_switch_is_connected(graph: Graph) -> None:
    graph.until(lambda: bool(graph.retarget._arm.supervisor._switches._connected))
    graph.track()
    graph.operator.destroy_publisher(graph.emergency_switch)
    graph.reaches("stopped", "switch")
    graph.until(lambda: graph.call("reset").success)
    assert "no emergency-stop switch" in graph.call("engage").message
    graph.operator.create_publisher(Bool, "/emergency_stop", 10)
    graph.until(lambda: graph.call("engage").success)
    graph.reaches("tracking")


def test_bodies_whose_qos_does_not_match_are_trouble(graph: Graph) -> None:
    graph.track()
    graph.operator.create_publisher(BodyPose, "/hpstm/body", qos_profile_sensor_data)
    graph.reaches("holding", "QoS")
    assert graph.call("disengage").success
    assert "QoS" in graph.call("engage").message


def test_a_flood_of_bodies_is_cut_and_does_not_stop_the_arm_from_following(graph: Graph) -> None:
    graph.track()
    body = graph.operator.create_publisher(BodyPose, "/hpstm/body", 10)
    graph.until(lambda: body.get_subscription_count() > 0)
    stranger = graph.body("operator")
    figures = graph.retarget._arm.figures
    intake = graph.retarget._intake
    enough = figures.commands + 50

    def flooded() -> bool:
        for _ in range(20):
            body.publish(stranger)
        return intake.unexpected + intake.flooded > 500 and figures.commands > enough

    graph.until(flooded)
    graph.reaches("tracking")


def test_a_publisher_of_the_wrong_type_on_a_safety_input_is_trouble(graph: Graph) -> None:
    graph.track()
    elsewhere = rclpy.Context()  # one process may not offer two types on a topic
    rclpy.init(context=elsewhere)
    switch = rclpy.create_node("switch", context=elsewhere)
    switch.create_publisher(Empty, "/emergency_stop", 10)
    graph.reaches("holding", "std_msgs/msg/Empty")
    switch.destroy_node()
    rclpy.shutdown(context=elsewhere)
    graph.reaches("tracking")


def test_a_second_person_never_takes_over_and_the_status_names_the_operator(graph: Graph) -> None:
    graph.track()
    assert graph.status.operator_id == "operator"
    graph.names = ["operator", "passer-by"]
    graph.until(lambda: len(graph.status.people) == 2)
    assert graph.status.operator_id == "operator"
    graph.reaches("tracking")
    graph.names = ["passer-by"]
    graph.reaches("holding", "'operator'")
    count = graph.status.strangers_refused
    graph.until(lambda: graph.status.strangers_refused > count + 60)
    assert graph.status.state_name == "holding"


def test_a_long_id_is_shortened_in_status_and_diagnostics(graph: Graph) -> None:
    graph.names = ["x" * 10_000]
    graph.track()
    graph.until(lambda: len(graph.status.people) == 1)
    assert len(graph.status.operator_id) <= 80 and len(graph.status.people[0]) <= 80
    figures = graph.retarget.health().values
    assert len(figures["operator"]) <= 80 and len(figures["people in view"]) <= 80


def test_bodies_of_another_publisher_are_refused_unread(graph: Graph) -> None:
    graph.track()
    intruder = rclpy.create_node("intruder")
    graph.executor.add_node(intruder)
    body = intruder.create_publisher(BodyPose, "/hpstm/body", 10)
    graph.until(lambda: body.get_subscription_count() > 0)
    for _ in range(50):
        body.publish(graph.body("operator"))
        graph.executor.spin_once(timeout_sec=0.01)
    graph.until(lambda: graph.retarget._intake.unexpected > 10)
    graph.bodies = False
    graph.reaches("holding", "no body")
    for _ in range(50):
        body.publish(graph.body("operator"))
        graph.executor.spin_once(timeout_sec=0.01)
    assert graph.status.state_name == "holding"
    graph.executor.remove_node(intruder)
    intruder.destroy_node()


@pytest.mark.skipif(not knows_publishers(), reason="the middleware does not name publishers")
@pytest.mark.parametrize("graph", [{"body_publisher": "operator"}], indirect=True)
def test_a_restarted_publisher_of_bodies_moves_the_arm_after_another_engagement(
    graph: Graph,
) -> None:
    """It may give the operator's id to another person."""
    graph.track()
    graph.bodies = False
    graph.reaches("holding", "no body")
    graph.operator.destroy_publisher(graph._body)
    context = Context()
    context.init()
    restarted = rclpy.create_node("operator", context=context)
    try:
        graph._body = restarted.create_publisher(BodyPose, "/hpstm/body", 10)
        graph.bodies = True
        graph.until(lambda: "operator_publisher2" in graph.status.people)
        graph.reaches("holding", "'operator'")
        graph.call("disengage")
        graph.track()
        assert graph.status.operator_id == "operator_publisher2"
    finally:
        graph.bodies = False
        restarted.destroy_node()
        context.try_shutdown()


def test_speed_and_uncertainty_are_bounded_by_what_was_launched(graph: Graph) -> None:
    graph.track()
    for name, more, less in (("tip_speed", 3.0, 0.1), ("stop_deviation_m", 0.5, 0.1)):
        result = graph.retarget.set_parameters([Parameter(name, value=more)])[0]
        assert not result.successful and "at launch" in result.reason
        assert graph.retarget.set_parameters([Parameter(name, value=less)])[0].successful
    assert graph.retarget._arm.supervisor.flags(graph.retarget.now())[0]
    assert graph.retarget._arm.supervisor.tip_speed == 0.1


def test_bounds_set_at_launch_survive_a_cleanup(ros_nodes: list[Any]) -> None:
    node = RetargetNode(parameter_overrides=[Parameter("robot", value=ROBOT)])
    ros_nodes.append(node)
    for name, more, less in (("tip_speed", 3.0, 0.1), ("stop_deviation_m", 0.5, 0.1)):
        node.set_parameters([Parameter(name, value=more)])  # before the first configuration
        with pytest.raises(PallasError, match="at launch"):
            node.bring("configure")
        node.set_parameters([Parameter(name, value=less)])
        node.bring("configure")
        node.trigger_cleanup()
        node.set_parameters([Parameter(name, value=more)])  # and after it
        with pytest.raises(PallasError, match="at launch"):
            node.bring("configure")
        node.set_parameters([Parameter(name, value=less)])


def test_the_operator_node_engages_again_without_a_switch_that_was_left_behind(
    graph: Graph,
) -> None:
    node = OperatorNode()
    graph.executor.add_node(node)
    node.bring("configure")
    node.bring("activate")
    try:
        graph.until(lambda: graph.status.state_name == "tracking", 60.0)
        other = rclpy.create_node("other")
        switch = other.create_publisher(Bool, "/retarget/dead_man", 10)
        graph.until(lambda: switch.get_subscription_count() > 0)
        graph.until(lambda: bool(switch.publish(Bool(data=True))) or graph.status.engaged)
        graph.reaches("holding", "silent")
        graph.reaches("tracking")
        other.destroy_node()
    finally:
        graph.executor.remove_node(node)
        node.stop()
        node.destroy_node()


def test_the_operator_node_releases_the_switch_when_it_leaves(ros_nodes: list[Any]) -> None:
    node = OperatorNode()
    listener = rclpy.create_node("listener")
    ros_nodes += [node, listener]
    heard: list[bool] = []
    listener.create_subscription(Bool, "/retarget/dead_man", lambda m: heard.append(m.data), 10)
    executor = make_executor()
    for each in (node, listener):
        executor.add_node(each)
    node.bring("configure")
    node.bring("activate")
    end = monotonic() + 20.0
    while True not in heard:
        assert monotonic() < end
        executor.spin_once(timeout_sec=0.05)
    node.trigger_deactivate()
    while False not in heard:
        assert monotonic() < end
        executor.spin_once(timeout_sec=0.05)
    executor.shutdown()


@pytest.mark.parametrize("graph", [{"tip_speed": 0.2, "tip_speed_limit": 0.5}], indirect=True)
def test_a_limit_given_at_launch_leaves_room(graph: Graph) -> None:
    assert graph.retarget.set_parameters([Parameter("tip_speed", value=0.5)])[0].successful
    assert not graph.retarget.set_parameters([Parameter("tip_speed", value=0.6)])[0].successful
    assert not graph.retarget.set_parameters([Parameter("tip_speed_limit", value=2.0)])[
        0
    ].successful
