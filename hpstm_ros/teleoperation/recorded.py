"""Runs a whole motion through retargeting and supervisor on a simulated clock, for `pallas
retarget` and the benchmarks.
"""

from dataclasses import replace
from time import perf_counter
from typing import Any

import numpy as np
import pinocchio as pin
import yaml
from numpy.typing import NDArray
from tqdm import tqdm

from hpstm_ros.retarget.demand import Demand
from hpstm_ros.retarget.robots import Gripper, RobotDescription
from hpstm_ros.retarget.settings import RetargetSettings
from hpstm_ros.safety import checker
from hpstm_ros.safety.limits import Limits, SupervisorSettings
from hpstm_ros.safety.supervisor import Command, SupervisorState
from hpstm_ros.teleoperation.joint_motion import JointMotion
from hpstm_ros.teleoperation.teleoperation import Teleoperation
from pallas_ros.body.errors import PallasError
from pallas_ros.body.frames import BodyFrame
from pallas_ros.body.motion import Motion
from pallas_ros.body.names import MODEL_RATE_HZ

F64 = NDArray[np.float64]

_NS = 1_000_000_000
_START = 10 * _NS
# maximum duration of the approach to the start of the motion, which is not in the joint file
_APPROACH_S = 8.0
_ARRIVED_RAD = 0.01


def _approach(arm: Teleoperation, bodies: list[BodyFrame], period: int) -> tuple[int, F64]:
    """Engage in the ready posture and move to the start of the motion; returns the time and the
    posture (n,) rad on arrival.
    """
    if not bodies:
        raise PallasError("the motion has no valid frame")
    robot = arm.robot
    supervisor = arm.supervisor
    now = _START
    q = arm.robot.q_ready
    arm.simulate_rest(now, q)
    if refusal := supervisor.engage(now):
        raise PallasError(f"robot '{robot.name}' in its ready posture: {refusal}")
    for _ in range(round(_APPROACH_S * _NS / period)):
        now += period
        arm.joints(now, now, robot.joint_names, q)
        arm.body(now, replace(bodies[0], stamp=now, newest_input=now))
        command = arm.tick(now)
        q = command.points[0][0]
        if (
            arm.goal is not None
            and supervisor.state is SupervisorState.TRACKING
            and np.abs(arm.goal.q - command.q).max() < _ARRIVED_RAD
        ):
            break
    return now, q


def frames(motion: Motion, start: int = _START) -> list[BodyFrame]:
    """The motion's valid frames as bodies, stamped from ``start`` ns on."""
    out = []
    for k in range(len(motion)):
        if motion.valid is not None and not motion.valid[k]:
            continue
        stamp = start + round(k * _NS / motion.fps)
        covariance = None if motion.position_covariance is None else motion.position_covariance[k]
        out.append(
            BodyFrame(
                stamp,
                motion.rotations[k],
                motion.positions[k],
                covariance,
                np.ones(22, bool),
                np.ones(22),
                np.zeros(2),
                stamp,
            )
        )
    return out


def retarget_motion(
    motion: Motion,
    robot: RobotDescription,
    side: str | None = None,
    settings: RetargetSettings | None = None,
    tip_speed: float | None = None,
    rate: float = 125.0,
    progress: bool = True,
) -> JointMotion:
    """Drive ``robot`` with ``motion`` as the node would, with an ideal arm that first moves to the
    start of the motion.

    Raises:
        PallasError: the motion has no usable frame, or its frame rate is too low.
    """
    if motion.fps < 0.5 * MODEL_RATE_HZ:
        raise PallasError(
            f"the motion has {motion.fps:g} frames per second, but the supervisor needs at least"
            " 15: resample it to 60"
        )
    safety = SupervisorSettings(period=1 / rate, require_dead_man=False)
    arm = Teleoperation(robot, side, settings, safety, tip_speed)
    period = round(_NS / rate)
    now, q = _approach(arm, frames(motion), period)
    start = now
    index = 0
    bodies = frames(motion, start)
    record = _Record(arm, side)
    for _ in tqdm(
        range(int((bodies[-1].stamp - start) / period) + 1),
        desc=robot.name,
        unit="command",
        leave=False,
        mininterval=0.5,
        disable=None if progress else True,
    ):
        now += period
        arm.joints(now, now, robot.joint_names, q)
        while index < len(bodies) and bodies[index].stamp <= now:
            began = perf_counter()
            taken = arm.body(now, bodies[index])
            record.step_s.append(perf_counter() - began)
            if taken:
                record.body(bodies[index])
            index += 1
        command = arm.tick(now)
        record.add(command)
        q = command.points[0][0]
    return record.result(start, arm.supervisor.limits, tip_speed)


class _Record:
    """Collects commands."""

    def __init__(self, arm: Teleoperation, side: str | None) -> None:
        guard = arm.guard
        still = np.zeros(arm.robot.dof)

        def allowed(q: F64) -> bool:
            _, outside, pair = guard.look(q, still)
            return outside <= 0.0 and not pair

        self._arm = arm
        self._demand = Demand(
            arm.robot, side, arm.retargeter.settings, arm.supervisor.tip_speed, arm.tips, allowed
        )
        self.step_s: list[float] = []
        self._rows: list[tuple[Any, ...]] = []
        self._targets: list[tuple[int, F64]] = []
        self._messages: list[tuple[NDArray[np.int64], F64]] = []

    def body(self, body: BodyFrame) -> None:
        assert self._arm.goal is not None
        self._targets.append((body.stamp, self._arm.goal.p_base_tip))
        self._demand.body(body)

    def add(self, command: Command) -> None:
        goal = self._arm.goal
        elbow = float("nan") if goal is None else float(np.max(goal.elbow_error))
        left = float("nan") if goal is None else float(goal.error_m.max())
        self._rows.append(
            (
                command.time,
                command.q,
                command.dq,
                command.ddq,
                self._arm.tips(command.q),
                elbow,
                left,
                command.state is SupervisorState.TRACKING,
                " ".join(name.replace(" ", "_") for name in command.limited_by),
            )
        )
        self._messages.append((command.times, np.array(command.points)))

    def result(self, start: int, limits: Limits, tip_speed: float | None) -> JointMotion:
        robot = self._arm.robot
        instants, q, dq, ddq, tips, elbow, left, tracking, limited = zip(*self._rows, strict=True)
        sent = np.array(instants, dtype=np.int64)
        times, states = checker.executed(self._messages)
        points = states[:, 0]
        violations = checker.check(times, points, limits) + checker.check_states(
            times, states, limits
        )
        violations += checker.check_tips(
            times,
            points,
            robot.model,
            [robot.frame(arm.tip) for arm in robot.arms],
            limits,
            tip_speed,
        )
        violations += checker.check_collisions(times, points, robot.model, robot.geometry)
        return JointMotion(
            robot.joint_names,
            (sent - start) / _NS,
            np.array(q),
            np.array(dq),
            np.array(ddq),
            self._hand_error(sent, np.array(tips)),
            np.array(elbow),
            np.array(left),
            self._demand.classes(sent),
            np.array(tracking, dtype=bool),
            list(limited),
            np.array(self.step_s),
            [str(v) for v in violations],
        )

    def _hand_error(self, times: NDArray[np.int64], tips: F64) -> F64:
        """(N, A) m from tips (N, A, 3) to the targets, interpolated linearly between bodies."""
        if not self._targets:
            return np.full(tips.shape[:2], np.nan)
        stamps = np.array([stamp for stamp, _ in self._targets])
        targets = np.array([target for _, target in self._targets])
        wanted = np.empty_like(tips)
        for arm, axis in np.ndindex(tips.shape[1:]):
            wanted[:, arm, axis] = np.interp(
                times, stamps, targets[:, arm, axis], left=np.nan, right=np.nan
            )
        return np.asarray(np.linalg.norm(tips - wanted, axis=2))


def describe(robot: RobotDescription) -> str:
    """The robot's configuration as YAML for editing, including all values derived from the URDF."""

    def short(values: Any) -> Any:
        return np.round(np.asarray(values, dtype=float), 3).tolist()

    arms = [
        {
            "name": arm.name,
            "side": arm.side,
            "tip": arm.tip,
            **({"elbow": arm.elbow} if arm.elbow else {}),
            "shoulder": short(arm.p_base_shoulder),
            "operator_rpy": _degrees(arm.R_base_operator),
            "hand_rpy": _degrees(arm.R_hand_tip),
            "reach": short(arm.reach),
            "reach_min": short(arm.reach_min),
            "weights": {key: float(value) for key, value in arm.weights.items()},
            "gripper": _gripper(arm.gripper),
        }
        for arm in robot.arms
    ]
    document = {
        "urdf": str(robot.path.resolve()),
        "arms": arms,
        "ready": {name: short(q) for name, q in zip(robot.joint_names, robot.q_ready, strict=True)},
        "locked": {name: short(q) for name, q in robot.locked_at.items()},
        "limits": {
            name: short(getattr(robot, name))
            for name in ("lower", "upper", "velocity", "acceleration", "jerk")
        },
        "workspace": {"min": short(robot.box_min), "max": short(robot.box_max)},
    }
    remarks = "".join(f"# {remark}\n" for remark in robot.remarks)
    return (
        "# Made by `pallas retarget --describe` from the URDF; docs/guide/robots.md explains each"
        " line.\n"
        + remarks
        + yaml.safe_dump(document, sort_keys=False, default_flow_style=None, width=140)
    )


def _degrees(R: F64) -> list[float]:
    """Roll, pitch, yaw of a rotation matrix."""
    return [float(angle) + 0.0 for angle in np.round(np.degrees(pin.rpy.matrixToRpy(R)), 2)]


def _gripper(gripper: Gripper | None) -> dict[str, Any] | bool:
    """The configuration entry of a gripper; false if there is none."""
    if gripper is None:
        return False
    return {
        "open": dict(zip(gripper.joint_names, np.round(gripper.open, 4).tolist(), strict=True)),
        "closed": dict(zip(gripper.joint_names, np.round(gripper.closed, 4).tolist(), strict=True)),
        "velocity": float(np.round(gripper.velocity.max(), 4)),
    }
