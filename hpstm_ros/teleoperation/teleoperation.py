"""From bodies and joint states to commands; used by the `retarget` node and `pallas retarget`."""

from dataclasses import dataclass

import numpy as np
import pinocchio as pin
from numpy.typing import NDArray

from hpstm_ros.retarget.collision import MARGIN_M
from hpstm_ros.retarget.retargeter import Goal, Retargeter
from hpstm_ros.retarget.robots import RobotDescription
from hpstm_ros.retarget.settings import RetargetSettings
from hpstm_ros.safety.guard import Guard, PinocchioGuard
from hpstm_ros.safety.limits import REDUCED_SPEED, Limits, SupervisorSettings
from hpstm_ros.safety.people import OperatorSettings, People
from hpstm_ros.safety.supervisor import Command, Supervisor, SupervisorState
from hpstm_ros.teleoperation.grippers import GripperMotion, grippers_of
from hpstm_ros.teleoperation.joint_states import JointStates
from pallas_ros.body.errors import PallasError
from pallas_ros.body.frames import BodyFrame

F64 = NDArray[np.float64]

_LED = (SupervisorState.ALIGNING, SupervisorState.TRACKING)


def limits_of(robot: RobotDescription, tip_speed: float | None = None) -> Limits:
    """The limits of a robot; ``tip_speed`` in m/s overrides its configuration."""
    given = (tip_speed, robot.tip_speed, REDUCED_SPEED)
    speed = next(value for value in given if value is not None)
    return Limits(
        robot.joint_names,
        robot.lower,
        robot.upper,
        robot.velocity,
        robot.acceleration,
        robot.jerk,
        speed,
        robot.box_min,
        robot.box_max,
        robot.continuous,
    )


def guard_of(robot: RobotDescription) -> PinocchioGuard:
    """The guard of a robot's workspace and self-collision."""
    tips = [robot.frame(arm.tip) for arm in robot.arms]
    return PinocchioGuard(robot.model, robot.geometry, MARGIN_M, tips, robot.box_min, robot.box_max)


@dataclass(frozen=True)
class Bounds:
    """Upper bounds of settings that may change at run time; fixed at launch.

    Attributes:
        tip_speed: m/s.
        stop_deviation_m: m, see `RetargetSettings`.
    """

    tip_speed: float
    stop_deviation_m: float

    def check(self, tip_speed: float, stop_deviation_m: float) -> None:
        """Check settings in m/s and m.

        Raises:
            PallasError: a bound is exceeded.
        """
        given = {"tip_speed": tip_speed, "stop_deviation_m": stop_deviation_m}
        for name, value in given.items():
            if not value <= getattr(self, name):
                raise PallasError(
                    f"{name} is {value:g}, but at most {getattr(self, name):g} was allowed at"
                    " launch; launch with a higher limit to go beyond"
                )


@dataclass(slots=True)
class Figures:
    """Counts since the start; `strangers` are bodies of people other than the operator."""

    commands: int = 0
    limited: int = 0
    refused: int = 0
    strangers: int = 0


class Teleoperation:
    """A retargeter and a supervisor; the supervisor's state determines the start posture of the
    retargeter.
    """

    def __init__(
        self,
        robot: RobotDescription,
        side: str | None = None,
        retarget: RetargetSettings | None = None,
        safety: SupervisorSettings | None = None,
        tip_speed: float | None = None,
        operator: OperatorSettings | None = None,
        guard: Guard | None = None,
    ) -> None:
        """``side`` is the human arm that a one-armed robot follows (default: as configured),
        ``operator`` how the operator is chosen, ``guard`` an alternative to `guard_of` the robot.
        """
        self.robot = robot
        self.guard = guard or guard_of(robot)
        # a separate guard, since it caches postures
        self.retargeter = Retargeter(robot, side, retarget, guard_of(robot).near_pairs)
        self.supervisor = Supervisor(limits_of(robot, tip_speed), safety, self.guard)
        self.grippers = grippers_of(robot, self.supervisor.settings)
        self.gripper_motions: list[GripperMotion | None] = [None] * len(self.grippers)
        self.people = People(operator)
        self.figures = Figures()
        self.refusal = ""
        self.goal: Goal | None = None
        self.body_stamp = 0
        self._followed = ""
        self._states = JointStates(robot.joint_names, self.supervisor.settings.feedback_timeout)
        self._before = self.supervisor.state
        self._data = robot.model.createData()

    def body(self, now: int, body: BodyFrame) -> bool:
        """Take a body; False if it is rejected (see `refusal`)."""
        supervisor = self.supervisor
        locked = supervisor.operator
        self.refusal = self.people.refuses(now, body, locked, supervisor.engagement)
        if self.refusal:
            self.figures.strangers += 1
            return False
        if body.body_id != self._followed:
            self._followed = body.body_id
            self.retargeter.new_operator()
        goal = self.retargeter.step(body, supervisor.posture(), supervisor.tip_speed)
        taken = goal is not None and supervisor.goal(
            now, body.stamp, goal.q, goal.confidence, body.newest_input, body.body_id
        )
        if not taken:
            self.refusal = "its arm cannot be used" if goal is None else "its stamps or its goal"
            self.figures.refused += 1
            return False
        self.people.accepted(now, body, supervisor.engagement)
        self.goal = goal
        self.body_stamp = body.stamp
        return True

    def joints(self, now: int, stamp: int, names: tuple[str, ...], q: F64) -> bool:
        """Take joint states of any of the arm's joints, in any order, and of other joints; False if
        they are rejected.
        """
        taken = self._states.add(now, stamp, names, q)
        whole = self._states.newest()
        if whole is not None:
            taken &= self.supervisor.measured(now, *whole)
        for gripper in self.grippers:
            gripper.joints(now, stamp, names, q)
        self._watch_states(now)
        self.figures.refused += not taken
        return taken

    def open_gripper(self, opening: float, number: int | None = None) -> bool:
        """Request an opening, from 0 (closed) to 1 (open), of one of the `grippers` or all; False
        if it is not finite.
        """
        chosen = self.grippers if number is None else self.grippers[number : number + 1]
        taken = [gripper.supervisor.open(opening) for gripper in chosen]
        self.figures.refused += not all(taken)
        return all(taken)

    def _watch_states(self, now: int) -> None:
        """Report unusable joint states as a fault with its own reason; the supervisor detects
        missing ones.
        """
        required = self.supervisor.settings.require_feedback
        self.supervisor.fault("joint states", self._states.trouble(now) if required else "")

    def simulate_rest(self, now: int, q: F64) -> None:
        """Simulate 0.1 s of joint states at ``q`` (n,) rad, as required for engaging, for use
        without an arm.
        """
        for ago in range(100_000_000, 0, -10_000_000):
            self.joints(now - ago, now - ago, self.robot.joint_names, q)

    def sent(self, now: int) -> None:
        """Report that the last command was handed to the middleware."""
        self.supervisor.sent(now)

    def tick(self, now: int) -> Command:
        """The next command."""
        self._watch_states(now)
        command = self.supervisor.tick(now)
        self._restart(command)
        led = command.state in _LED
        self.gripper_motions = [gripper.tick(now, led) for gripper in self.grippers]
        self.figures.commands += command.send
        self.figures.limited += command.send and bool(command.limited_by)
        return command

    def tips(self, q: F64) -> F64:
        """Positions (A, 3) m of the tips."""
        return self.guard.tips(q)

    def tip_poses(self) -> list[tuple[F64, F64]]:
        """Commanded position (3,) m and orientation (4,) xyzw of each tip; empty while unknown."""
        q = self.supervisor.posture()
        if q is None:
            return [(np.full(3, np.nan), np.array([0.0, 0.0, 0.0, 1.0]))] * len(self.robot.arms)
        pin.forwardKinematics(self.robot.model, self._data, q)
        poses = (
            pin.updateFramePlacement(self.robot.model, self._data, self.robot.frame(arm.tip))
            for arm in self.robot.arms
        )
        return [
            (np.array(pose.translation), np.array(pin.Quaternion(pose.rotation).coeffs()))
            for pose in poses
        ]

    def target_error(self, command: Command) -> float:
        """Largest distance in m of a commanded tip from its target; NaN without a goal."""
        if self.goal is None or not np.isfinite(command.q).all():
            return float("nan")
        return float(np.linalg.norm(self.tips(command.q) - self.goal.p_base_tip, axis=1).max())

    def _restart(self, command: Command) -> None:
        """Restart the inverse kinematics at the arm's posture while the arm does not follow it."""
        if (command.state not in _LED or self._before not in _LED) and np.isfinite(command.q).all():
            self.retargeter.restart(command.q)
        self._before = command.state
