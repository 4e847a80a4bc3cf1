"""Drives a robot arm with the operator's arm: from bodies to supervised commands."""

from functools import partial
from typing import Any, Final

from geometry_msgs.msg import PoseStamped
from pallas.msg import BodyPose, SupervisorStatus
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory

from hpstm_ros.nodes.gripper_topics import GripperTopics
from hpstm_ros.nodes.retarget_messages import status_message
from hpstm_ros.nodes.retarget_settings import (
    bounds,
    operator_settings,
    retarget_settings,
    supervisor_settings,
)
from hpstm_ros.nodes.switch_topics import BOOL, SwitchTopics
from hpstm_ros.retarget.robots import load_robot
from hpstm_ros.retarget.settings import MAPPING
from hpstm_ros.safety.supervisor import Command
from hpstm_ros.teleoperation.teleoperation import Teleoperation, limits_of
from pallas_ros.body.names import (
    TOPIC_DEAD_MAN,
    TOPIC_EMERGENCY_STOP,
    TOPIC_GOAL,
    TOPIC_HPSTM_BODY,
    TOPIC_JOINT_STATES,
    TOPIC_JOINT_TRAJECTORY,
    TOPIC_SUPERVISOR,
    TOPIC_TIP,
)
from pallas_ros.core.errors import echoed
from pallas_ros.messages.encode import pose_to_msg
from pallas_ros.messages.wire import body_from_bytes, body_id_of
from pallas_ros.messages.wire_joints import JointStateReader, TrajectoryCodec
from pallas_ros.ros.body_intake import BodyIntake
from pallas_ros.ros.intake import Intake, OnePublisher, RateLimit, named
from pallas_ros.ros.matching import full_name, publisher_mismatch, publisher_names
from pallas_ros.ros.node import Health, PallasNode
from pallas_ros.ros.qos import ANY_OFFER, NEWEST, SWITCH

_NS = 1_000_000_000
_STATUS_NS = _NS // 20
_LIVE = {*MAPPING, "tip_speed", "operator_id", "operator_choice", "operator_place"}
_CONNECTIONS_S = 0.2
_EVERY_CHECK = 10
"""Every n-th check of connections queries the publishers even if their number is unchanged."""
_JOINT_STATES_HZ = 2000.0
"""Joint states of a publisher above this rate are discarded unread; fast drives publish at 1000
Hz.
"""
_SAFETY_INPUTS: Final = {
    TOPIC_HPSTM_BODY: ("pallas/msg/BodyPose", (NEWEST,)),
    TOPIC_JOINT_STATES: ("sensor_msgs/msg/JointState", (ANY_OFFER,)),
    TOPIC_DEAD_MAN: (BOOL, (SWITCH,)),
    TOPIC_EMERGENCY_STOP: (BOOL, (SWITCH,)),
}
"""Message type and subscriptions of the safety-relevant topics."""


class RetargetNode(PallasNode):
    """Adapter around `hpstm_ros.teleoperation.Teleoperation`."""

    def __init__(self, **kwargs: Any) -> None:
        """See `config/parameters/retarget.yaml`."""
        self._built: Teleoperation | None = None
        super().__init__("retarget", **kwargs)
        self._launched = dict(self.settings)

    @property
    def _arm(self) -> Teleoperation:
        """The object built by `configure`."""
        return self.built(self._built)

    def configure(self) -> None:
        """Load the robot, and create subscriptions, publishers and services."""
        s = self.settings
        robot = load_robot(s["robot"])
        side = s["side"] if s["side"] in ("left", "right") else None
        self._built = Teleoperation(
            robot,
            side,
            retarget_settings(self.settings),
            supervisor_settings(self.settings),
            s["tip_speed"] or None,
            operator_settings(self.settings),
        )
        self._bounds = bounds(self._launched, limits_of(robot).tip_speed)
        self.check()
        for remark in robot.remarks:
            self.say(f"{robot.name}: {remark}")
        self._joint_names = list(robot.joint_names)
        self._trajectories = TrajectoryCodec(robot.joint_names)
        self._joint_states = JointStateReader()
        self._base = str(robot.full.frames[1].name) if robot.full.nframes > 1 else "base_link"
        self._status_due = 0
        self._last_state = -1
        self._last_command: Command | None = None
        self._foreign = 0
        self._positions = s["command_interface"] == "position"
        if self._positions:
            self._commands = self.advertise(Float64MultiArray, f"/{s['controller']}/commands")
        else:
            self._commands = self.advertise(
                JointTrajectory, TOPIC_JOINT_TRAJECTORY.format(controller=s["controller"])
            )
        self._status = self.advertise(SupervisorStatus, TOPIC_SUPERVISOR)
        names = ["" if number == 0 else f"/{arm.name}" for number, arm in enumerate(robot.arms)]
        self._goals = [self.advertise(PoseStamped, TOPIC_GOAL + name) for name in names]
        self._tips = [self.advertise(PoseStamped, TOPIC_TIP + name) for name in names]
        self._listen()
        for name, call in (
            ("engage", self._engage),
            ("disengage", self._disengage),
            ("reset", self._reset),
            ("emergency_stop", self._stop),
        ):
            self.serve(Trigger, f"/retarget/{name}", call)
        self._gripper_topics = GripperTopics(self, self._arm)
        self.every(1 / s["rate_hz"], self._tick)
        self.every(_CONNECTIONS_S, self._check_connections)

    def _listen(self) -> None:
        """Subscribe to bodies and safety topics, the latter with a QoS compatible with any
        publisher.
        """
        self._publisher_counts: dict[str, int] = {}
        self._checks = 0
        names = partial(publisher_names, self, TOPIC_HPSTM_BODY)
        publisher = OnePublisher(names, self._is_engaged, self.settings["body_publisher"])
        self._intake = BodyIntake(publisher, self.settings["body_rate_limit_hz"])
        joints = Intake(RateLimit(_JOINT_STATES_HZ))
        self.subscribe(
            BodyPose,
            TOPIC_HPSTM_BODY,
            self._on_body,
            NEWEST,
            raw=True,
            newest=True,
            subject=body_id_of,
            intake=self._intake,
        )
        self.subscribe(
            JointState,
            TOPIC_JOINT_STATES,
            self._on_joints,
            ANY_OFFER,
            raw=True,  # and every message: several publishers may each report some of the joints
            intake=joints,
        )
        self._switch_topics = SwitchTopics(self, self._arm.supervisor, self._tick_if_active)

    def activate(self) -> None:
        """Check the connections before the arm can be engaged."""
        self._check_connections()

    def check(self) -> None:
        """Check that tip speed and allowed uncertainty stay below their launch values."""
        if self._built is not None:
            self._bounds.check(self._tip_speed(self._arm), self.settings["stop_deviation_m"])

    def reconfigure(self, changed: set[str]) -> None:
        """Apply parameters that may change at run time, from the next body on; the others are
        read-only.
        """
        if self._built is None or not changed <= _LIVE:
            super().reconfigure(changed)
            return
        self._arm.retargeter.settings = retarget_settings(self.settings)
        self._arm.supervisor.tip_speed = self._tip_speed(self._arm)
        self._arm.people.settings = operator_settings(self.settings)

    def deactivate(self) -> None:
        """Release the arm; the last command included its braking trajectory."""
        if self._built is not None:
            self._arm.supervisor.disengage(self.now())
            self._publish(self._arm.tick(self.now()))

    def cleanup(self) -> None:
        """Release the arm object."""
        self._built = None

    def health(self) -> Health:
        """Report the supervisor's state and counts."""
        if self._built is None or not self.active:
            return Health()
        supervisor = self._arm.supervisor
        level = {"STOPPED": 2, "HOLDING": 1}.get(supervisor.state.name, 0)
        foreign = self._intake.flooded + self._intake.unexpected
        summary = f"{supervisor.state.name.lower()}: {supervisor.status_text(self.now())}"
        if foreign > self._foreign:
            level = max(level, 1)
            summary += (
                f"; {foreign - self._foreign} bodies from unexpected publishers or over the limit"
            )
        self._foreign = foreign
        return Health(level, summary, self._figures(self._arm))

    def _figures(self, arm: Teleoperation) -> dict[str, Any]:
        command = self._last_command
        ages = (
            {}
            if command is None
            else {
                "age of the newest measurement, s": round(command.measurement_age, 3),
                "delivery lag, s": round(command.delivery_lag, 3),
            }
        )
        return {
            "operator": echoed(arm.supervisor.operator or ""),
            "people in view": ", ".join(map(echoed, arm.people.in_view(self.now()))),
            "commands": arm.figures.commands,
            "limited by": arm.figures.limited,
            "inputs refused": arm.figures.refused,
            "last refusal": arm.refusal,
            "bodies of others": arm.figures.strangers,
            "bodies from unexpected publishers": self._intake.unexpected,
            "bodies over the rate limit": self._intake.flooded,
            **ages,
        }

    def _tip_speed(self, arm: Teleoperation) -> float:
        return float(self.settings["tip_speed"] or limits_of(arm.robot).tip_speed)

    def _is_engaged(self) -> bool:
        return self._built is not None and self._arm.supervisor.flags(self.now())[0]

    def _check_connections(self) -> None:
        """Report incompatible safety publishers and the connected emergency-stop switches to the
        supervisor.
        """
        self._checks += 1
        for topic, (kind, profiles) in _SAFETY_INPUTS.items():
            count = self.count_publishers(topic)
            known = self._publisher_counts.get(topic) == count and topic != TOPIC_EMERGENCY_STOP
            if known and self._checks % _EVERY_CHECK:
                continue
            self._publisher_counts[topic] = count
            publishers = self.get_publishers_info_by_topic(topic)
            wrong = ""
            if topic == TOPIC_EMERGENCY_STOP:
                wrong = self._switch_topics.connected(publishers)
            if topic == TOPIC_HPSTM_BODY:
                expected = self.settings["body_publisher"]
                publishers = [p for p in publishers if named(full_name(p), expected)]
            wrong = publisher_mismatch(topic, publishers, kind, profiles) or wrong
            self._arm.supervisor.fault(topic, wrong)
            if wrong:
                self.say(wrong)

    def _on_body(self, data: bytes) -> None:
        if self._arm.body(self.now(), self._intake.renamed(body_from_bytes(data))):
            self._tick()  # at once: the timer would add half a period of latency on average
            self._publish_poses()
            # for the next body, after the command was sent
            self._arm.retargeter.look_around()

    def _on_joints(self, data: bytes) -> None:
        self._arm.joints(self.now(), *self._joint_states.read(data))

    def _engage(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        return self._answer(response, "engaged", lambda arm: arm.supervisor.engage(self.now()))

    def _disengage(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        return self._answer(
            response, "disengaged", lambda arm: arm.supervisor.disengage(self.now())
        )

    def _reset(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        return self._answer(response, "reset", lambda arm: arm.supervisor.reset(self.now()))

    def _stop(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        return self._answer(
            response,
            "stopped",
            lambda arm: arm.supervisor.emergency_stop(self.now(), "service", held=False),
        )

    def _answer(self, response: Trigger.Response, done: str, call: Any) -> Trigger.Response:
        if self._built is None or not self.active:
            response.success = False
            response.message = "the node is not active"
            return response
        refusal = call(self._arm) or ""
        response.success = not refusal
        response.message = refusal or done
        self._tick()
        return response

    def _tick_if_active(self) -> None:
        if self.active:
            self._tick()

    def _tick(self) -> None:
        if self._built is not None:
            self._publish(self._arm.tick(self.now()))

    def _publish(self, command: Command) -> None:
        arm = self._arm
        now = self.now()
        if command.send:
            if self._positions:
                self._commands.publish(Float64MultiArray(data=command.q.tolist()))
            else:
                # The body's stamp, so that a command can be traced to its sample; the times of the
                # points are relative to it.
                stamp = arm.body_stamp if 0 <= now - arm.body_stamp < _NS else now
                self._commands.publish(
                    self._trajectories.to_bytes(stamp, command.times, command.points)
                )
            arm.sent(self.now())
        self._last_command = command
        self._gripper_topics.publish(now)
        if (
            int(command.state) != self._last_state
            or now >= self._status_due
            or now < self._status_due - _NS
        ):
            self._last_state = int(command.state)
            self._status_due = now + _STATUS_NS
            status = status_message(now, self._base, self._joint_names, arm, command)
            self._status.publish(status)

    def _publish_poses(self) -> None:
        arm = self._arm
        goal = arm.goal
        if goal is None:
            return
        poses = [*zip(goal.p_base_tip, goal.q_base_tip, strict=True), *arm.tip_poses()]
        for publisher, (p, q) in zip((*self._goals, *self._tips), poses, strict=True):
            if publisher.get_subscription_count():
                publisher.publish(pose_to_msg(arm.body_stamp, self._base, p, q))
