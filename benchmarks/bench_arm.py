"""Tracking error and delay of the simulated arm in the running graph.

    python benchmarks/bench_arm.py --robot panda --json arm.json

The nodes `retarget` and `arm_simulator` (MuJoCo) run as separate processes; this one simulates the
operator: bodies of a calm motion at 60 Hz, the dead-man switch, the call to engage. It
subscribes to goals, commands and joint states, and compares the tip of the moving arm with

- the commanded tip at the same instant: tracking error and delay of the arm;
- the target at the stamp of its body: end to end, from the body to the moving arm.

The delay is the shift in time at which the mean distance is smallest.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")

import numpy as np
import rclpy
from geometry_msgs.msg import PoseStamped
from numpy.typing import NDArray
from pallas.msg import BodyPose, SupervisorStatus
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory

from hpstm_ros.bench.rows import reaching
from hpstm_ros.retarget.robots import load_robot
from hpstm_ros.safety.checker import check, executed
from hpstm_ros.teleoperation.teleoperation import guard_of, limits_of
from pallas_ros.body.frames import BodyFrame
from pallas_ros.messages.decode import from_stamp
from pallas_ros.messages.encode import body_to_msg
from pallas_ros.ros.run import make_executor

F64 = NDArray[np.float64]
_NS = 1_000_000_000
_DELAYS_MS = range(-20, 121, 2)


class Operator:
    """Publishes bodies and the dead-man switch, and stores received messages."""

    def __init__(self, robot: str) -> None:
        """``robot`` as for `load_robot`."""
        self.robot = load_robot(robot)
        self._tips = guard_of(self.robot).tips
        self._motion = reaching(60.0)
        self._frame = 0
        self.moving = False
        self.state = ""
        self.reason = ""
        self.commands: list[tuple[NDArray[np.int64], F64]] = []
        self.measured: list[tuple[int, F64]] = []
        self.goals: list[list[tuple[int, F64]]] = [[] for _ in self.robot.arms]
        self.node = rclpy.create_node("bench_operator")
        self._body = self.node.create_publisher(BodyPose, "/hpstm/body", 10)
        self._switch = self.node.create_publisher(Bool, "/retarget/dead_man", 10)
        self.engage = self.node.create_client(Trigger, "/retarget/engage")
        subscribe = self.node.create_subscription
        subscribe(
            JointTrajectory, "/joint_trajectory_controller/joint_trajectory", self._on_command, 1000
        )
        subscribe(JointState, "/joint_states", self._on_joints, 1000)
        subscribe(SupervisorStatus, "/retarget/status", self._on_status, 10)
        for number, arm in enumerate(self.robot.arms):
            topic = "/retarget/goal" + ("" if number == 0 else f"/{arm.name}")
            subscribe(PoseStamped, topic, lambda m, number=number: self._on_goal(number, m), 1000)
        self.node.create_timer(1 / 60, self._publish)

    def _publish(self) -> None:
        self._switch.publish(Bool(data=True))
        self._frame += self.moving
        k = self._frame % len(self._motion)
        now = self.node.get_clock().now().nanoseconds
        body = BodyFrame(
            now,
            self._motion.rotations[k],
            self._motion.positions[k],
            None,
            np.ones(22, bool),
            np.ones(22),
            np.zeros(2),
            now,
        )
        self._body.publish(body_to_msg(body))

    def _on_command(self, message: JointTrajectory) -> None:
        start = from_stamp(message.header.stamp)
        times = [
            start + p.time_from_start.sec * _NS + p.time_from_start.nanosec for p in message.points
        ]
        self.commands.append((np.array(times), np.array([p.positions for p in message.points])))

    def _on_joints(self, message: JointState) -> None:
        self.measured.append((from_stamp(message.header.stamp), np.array(message.position)))

    def _on_status(self, message: SupervisorStatus) -> None:
        self.state = message.state_name
        self.reason = message.reason

    def _on_goal(self, number: int, message: PoseStamped) -> None:
        p = message.pose.position
        self.goals[number].append((from_stamp(message.header.stamp), np.array([p.x, p.y, p.z])))

    def figures(self, since: int) -> dict[str, float]:
        """Compute the metrics of all messages received since ``since`` ns."""
        times, q = executed(self.commands)
        violations = check(times, q, limits_of(self.robot, 3.0))
        measured = [
            (stamp, posture)
            for stamp, posture in self.measured
            if since <= stamp <= times[-1] - _NS // 5
        ]
        at = np.array([stamp for stamp, _ in measured])
        arm = np.array([self._tips(posture) for _, posture in measured])
        commanded = (times, np.array([self._tips(posture) for posture in q]))
        stamps = np.array([stamp for stamp, _ in self.goals[0]])
        count = min(len(goals) for goals in self.goals)
        asked = (
            stamps[:count],
            np.stack([[p for _, p in goals[:count]] for goals in self.goals], axis=1),
        )
        out = {
            "seconds": float(np.ptp(at) / _NS),
            "commands": len(self.commands),
            "limit_violations": len(violations),
        }
        for name, (when, where) in (("command", commanded), ("target", asked)):
            errors = [_distance(at, arm, when + delay * 1_000_000, where) for delay in _DELAYS_MS]
            best = int(np.argmin(errors))
            out |= {
                f"{name}_mm": _distance(at, arm, when, where),
                f"{name}_delay_ms": _DELAYS_MS[best],
                f"{name}_after_delay_mm": errors[best],
            }
        return out


def _distance(at: NDArray[np.int64], tips: F64, when: NDArray[np.int64], where: F64) -> float:
    """Return the mean distance in mm of tips (N, A, 3) at times (N,) from points (M, A, 3) at times
    (M,), for the worse arm.
    """
    wanted = np.empty_like(tips)
    for arm, axis in np.ndindex(tips.shape[1:]):
        wanted[:, arm, axis] = np.interp(at, when, where[:, arm, axis])
    return float(np.linalg.norm(tips - wanted, axis=2).max(1).mean() * 1e3)


def main() -> int:
    """Measure one robot and print the results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--robot", default="panda")
    parser.add_argument("--seconds", type=float, default=12.0, help="of motion (default: 12)")
    parser.add_argument(
        "--tip-speed", type=float, default=3.0, help="m/s (default: 3, effectively unlimited)"
    )
    parser.add_argument("--json", type=Path, help="also append the figures to this file")
    args = parser.parse_args()
    parameters = ["-p", f"robot:={args.robot}"]
    start = [sys.executable, "-m", "pallas_ros.nodes"]
    nodes = [
        subprocess.Popen(
            [*start, "arm_simulator", "--ros-args", *parameters], stdout=subprocess.DEVNULL
        ),
        subprocess.Popen(
            [*start, "retarget", "--ros-args", *parameters, "-p", f"tip_speed:={args.tip_speed}"],
            stdout=subprocess.DEVNULL,
        ),
    ]
    rclpy.init()
    try:
        operator = Operator(args.robot)
        executor = make_executor()
        executor.add_node(operator.node)

        def listen(seconds: float, state: str = "") -> bool:
            end = time.monotonic() + seconds
            while time.monotonic() < end and (not state or operator.state != state):
                executor.spin_once(timeout_sec=0.05)
            return not state or operator.state == state

        if not operator.engage.wait_for_service(timeout_sec=30) or not listen(15, "disengaged"):
            print("the nodes do not answer")
            return 1
        operator.commands.clear()
        said = "no answer to the service"
        for _ in range(10):  # rejected until enough joint states have arrived
            answer = operator.engage.call_async(Trigger.Request())
            executor.spin_until_future_complete(answer, timeout_sec=5)
            if answer.done():
                said = answer.result().message
                if answer.result().success:
                    break
            listen(0.2)
        if not listen(15, "tracking"):
            print(f"the arm does not track: {operator.state}, {operator.reason or said}")
            return 1
        listen(2.0)
        operator.moving, since = True, operator.node.get_clock().now().nanoseconds + _NS
        listen(args.seconds)
        figures = {"robot": args.robot, **operator.figures(since), "state": operator.state}
    finally:
        for node in nodes:
            node.send_signal(signal.SIGINT)
        for node in nodes:
            node.wait(timeout=20)
        rclpy.shutdown()
    print(
        json.dumps(
            {
                key: round(value, 2) if isinstance(value, float) else value
                for key, value in figures.items()
            }
        )
    )
    if args.json:
        rows = json.loads(args.json.read_text()) if args.json.exists() else []
        args.json.write_text(json.dumps([*rows, figures], indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
