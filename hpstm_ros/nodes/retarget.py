"""Drives a robot arm with the operator's: bodies in, supervised commands out."""

from array import array
from typing import Any

import numpy as np
from geometry_msgs.msg import PoseStamped
from numpy.typing import NDArray
from pallas.msg import BodyPose, SupervisorStatus
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool, Float64MultiArray
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from hpstm_ros.retarget.retargeter import RetargetSettings
from hpstm_ros.retarget.robots import load_robot
from hpstm_ros.safety.limits import SupervisorSettings
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
from pallas_ros.messages.decode import from_stamp
from pallas_ros.messages.encode import pose_to_msg, to_stamp
from pallas_ros.messages.wire import body_from_bytes
from pallas_ros.ros.node import Health, PallasNode
from pallas_ros.ros.qos import NEWEST

_NS = 1_000_000_000
_STATUS_NS = _NS // 20
_MAPPING = ("mode", "mapping", "scale", "orientation_from", "deviation_scale_m", "stop_deviation_m")
_LIVE = {*_MAPPING, "tip_speed"}


class RetargetNode(PallasNode):
    """Adapter around `hpstm_ros.teleoperation.Teleoperation`."""

    def __init__(self, **kwargs: Any) -> None:
        """See `config/parameters/retarget.yaml`."""
        self._arm: Teleoperation | None = None
        super().__init__("retarget", **kwargs)

    def configure(self) -> None:
        """Load the robot, subscribe, advertise, serve."""
        s = self.settings
        robot = load_robot(s["robot"])
        safety = SupervisorSettings(
            period=1 / s["rate_hz"],
            lead=s["lead_s"],
            body_timeout=s["body_timeout_s"],
            max_body_age=s["max_body_age_s"],
            feedback_timeout=s["feedback_timeout_s"],
            require_feedback=s["require_feedback"],
            require_dead_man=s["require_dead_man"],
            dead_man_timeout=s["dead_man_timeout_s"],
            deviation=s["deviation_rad"],
        )
        side = s["side"] if s["side"] in ("left", "right") else None
        self._arm = Teleoperation(
            robot, side, self._retarget_settings(), safety, s["tip_speed"] or None
        )
        self._joint_names = list(robot.joint_names)
        self._base = str(robot.full.frames[1].name) if robot.full.nframes > 1 else "base_link"
        self._status_due, self._last_state = 0, -1
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
        self.subscribe(BodyPose, TOPIC_HPSTM_BODY, self._on_body, NEWEST, raw=True, newest=True)
        self.subscribe(JointState, TOPIC_JOINT_STATES, self._on_joints, NEWEST, newest=True)
        self.subscribe(Bool, TOPIC_DEAD_MAN, self._on_dead_man)
        self.subscribe(Bool, TOPIC_EMERGENCY_STOP, self._on_emergency_stop)
        for name, call in (
            ("engage", self._engage),
            ("disengage", self._disengage),
            ("reset", self._reset),
            ("emergency_stop", self._stop),
        ):
            self.serve(Trigger, f"/retarget/{name}", call)
        self.every(1 / s["rate_hz"], self._tick)

    def reconfigure(self, changed: set[str]) -> None:
        """What may change while the arm moves takes effect with the next body; the rest is read-only."""
        if self._arm is None or not changed <= _LIVE:
            super().reconfigure(changed)
            return
        self._arm.retargeter.settings = self._retarget_settings()
        self._arm.supervisor.tip_speed = (
            self.settings["tip_speed"] or limits_of(self._arm.robot).tip_speed
        )

    def deactivate(self) -> None:
        """Let go of the arm; the way to its standstill has been sent with the last command."""
        if self._arm is not None:
            self._arm.supervisor.disengage(self.now())
            self._publish(self._arm.tick(self.now()))

    def cleanup(self) -> None:
        """Forget the arm."""
        self._arm = None

    def health(self) -> Health:
        """The supervisor's state and counts."""
        if self._arm is None or not self.active:
            return Health()
        supervisor, figures = self._arm.supervisor, self._arm.figures
        level = {"STOPPED": 2, "HOLDING": 1}.get(supervisor.state.name, 0)
        return Health(
            level,
            f"{supervisor.state.name.lower()}: {supervisor.reason}",
            {
                "commands": figures.commands,
                "held back by a limit": figures.limited,
                "inputs refused": figures.refused,
            },
        )

    def _retarget_settings(self) -> RetargetSettings:
        return RetargetSettings(**{name: self.settings[name] for name in _MAPPING})

    def _on_body(self, data: bytes) -> None:
        assert self._arm is not None
        if self._arm.body(self.now(), body_from_bytes(data)):
            self._tick()  # at once: a body that waits for the timer is late by half a period
            self._publish_poses()
            self._arm.retargeter.look_around()  # for the next body: the command is out, and this one has time

    def _on_joints(self, message: JointState) -> None:
        assert self._arm is not None
        self._arm.joints(
            self.now(),
            from_stamp(message.header.stamp),
            tuple(message.name),
            np.array(message.position),
        )

    def _on_dead_man(self, message: Bool) -> None:
        assert self._arm is not None
        self._arm.supervisor.dead_man(self.now(), message.data)

    def _on_emergency_stop(self, message: Bool) -> None:
        assert self._arm is not None
        if message.data:
            self._arm.supervisor.emergency_stop(self.now(), TOPIC_EMERGENCY_STOP)
            self._tick()
        else:
            self._arm.supervisor.emergency_released(self.now())

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
        if self._arm is None or not self.active:
            response.success, response.message = False, "the node is not active"
            return response
        refusal = call(self._arm) or ""
        response.success, response.message = not refusal, refusal or done
        self._tick()
        return response

    def _tick(self) -> None:
        if self._arm is not None:
            self._publish(self._arm.tick(self.now()))

    def _publish(self, command: Command) -> None:
        arm, now = self._arm, self.now()
        assert arm is not None
        if command.send:
            if self._positions:
                self._commands.publish(Float64MultiArray(data=command.q.tolist()))
            else:
                # The body's stamp, so that a command can be traced to the sample it came from; the points' times lead from there.
                stamp = arm.body_stamp if 0 <= now - arm.body_stamp < _NS else now
                self._commands.publish(_trajectory(stamp, self._joint_names, command))
        if (
            int(command.state) != self._last_state
            or now >= self._status_due
            or now < self._status_due - _NS
        ):
            self._last_state, self._status_due = int(command.state), now + _STATUS_NS
            self._status.publish(self._status_message(now, command))

    def _publish_poses(self) -> None:
        arm = self._arm
        assert arm is not None
        goal = arm.goal
        if goal is None:
            return
        for publisher, p, q in zip(self._goals, goal.p_base_tip, goal.q_base_tip, strict=True):
            publisher.publish(pose_to_msg(arm.body_stamp, self._base, p, q))
        for publisher, (p, q) in zip(self._tips, arm.tip_poses(), strict=True):
            publisher.publish(pose_to_msg(arm.body_stamp, self._base, p, q))

    def _status_message(self, now: int, command: Command) -> SupervisorStatus:
        arm, message = self._arm, SupervisorStatus()
        assert arm is not None
        message.header.stamp, message.header.frame_id = to_stamp(now), self._base
        message.state, message.state_name, message.reason = (
            int(command.state),
            command.state.name.lower(),
            command.reason,
        )
        message.engaged, message.dead_man, message.emergency_stop = arm.supervisor.flags(now)
        message.joint_names, message.limited_by = self._joint_names, list(command.limited_by)
        message.speed_scale, message.tip_speed, message.tracking_error = (
            command.speed_scale,
            command.tip_speed,
            command.deviation,
        )
        message.target_error = arm.target_error(command)
        message.commands, message.commands_limited = arm.figures.commands, arm.figures.limited
        message.inputs_refused = arm.figures.refused
        return message


def _trajectory(stamp: int, joint_names: list[str], command: Command) -> JointTrajectory:
    """The command's points, timed from ``stamp`` ns."""
    message = JointTrajectory()
    message.header.stamp, message.joint_names = to_stamp(stamp), joint_names
    message.points = [
        _point(int(time) - stamp, state)
        for time, state in zip(command.times, command.points, strict=True)
    ]
    return message


def _point(time_from_start: int, state: tuple[NDArray[np.float64], ...]) -> JointTrajectoryPoint:
    point = JointTrajectoryPoint()
    point.positions, point.velocities, point.accelerations = (
        array("d", part.tobytes()) for part in state
    )
    point.time_from_start.sec, point.time_from_start.nanosec = divmod(time_from_start, _NS)
    return point
