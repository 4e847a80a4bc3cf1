"""Hostile publishers for `soak_hostile.py`, in a separate process:

    python benchmarks/soak_attacks.py --seed 0

Attacks follow one another, `KIND_S` seconds each, with calm periods in between, in which an
emergency stop is released and reset so that the arm is engaged again. The current kind depends only
on the clock (`attack_at`), so that the judging process knows it too.
"""

import argparse
import struct
import time
from typing import Any

import numpy as np
import rclpy
from geometry_msgs.msg import Quaternion, Vector3
from pallas.action import GenerateMotion
from pallas.msg import BodyPose
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from rclpy.action import ActionClient
from sensor_msgs.msg import Imu, JointState
from std_msgs.msg import Bool
from std_srvs.srv import Trigger

from hpstm_ros.bench.hostile_bodies import WavingBodies
from hpstm_ros.retarget.robots import load_robot
from pallas_ros.body.names import (
    ACTION_GENERATE,
    SITES,
    TOPIC_DEAD_MAN,
    TOPIC_EMERGENCY_STOP,
    TOPIC_GENERATED_BODY,
    TOPIC_HPSTM_BODY,
    TOPIC_IMU,
    TOPIC_JOINT_STATES,
    TOPIC_PALLAS_BODY,
)
from pallas_ros.messages.encode import to_stamp
from pallas_ros.messages.wire import body_to_bytes
from pallas_ros.ros import middleware

KIND_S = 10.0
CALM_S = 8.0
CALM = "calm"
KINDS = (
    "bodies",
    "bodies of a forged node",
    "bodies before smoothing",
    "flood of bodies",
    "joint states",
    "emergency stops",
    "services",
    "storms of goals",
    "dead-man switch",
    "sensors",
    "parameters",
)
_ACTIONS = ("engage", "disengage", "reset", "emergency_stop")
_ODD = (np.nan, np.inf, -np.inf, 1e300, -1.0, 0.0, 1e12)
_STORM = 20
_FLOOD = 40
_NS = 1_000_000_000


def attack_at(seconds: float) -> str:
    """Return the kind of attack at a time since the start, or `CALM`."""
    number, within = divmod(seconds, KIND_S + CALM_S)
    return CALM if within < CALM_S else KINDS[int(number) % len(KINDS)]


class Attacker:
    """Hostile publishers and clients of the graph; `act` is called at about 60 Hz."""

    def __init__(self, seed: int, robot: str) -> None:
        self._random = np.random.default_rng(seed)
        self._robot = load_robot(robot)
        self._frames = 600
        self._bodies = WavingBodies(self._random, self._frames)
        self.node = rclpy.create_node("stranger")
        self.forged = rclpy.create_node("hpstm", namespace="/elsewhere")
        make = self.node.create_publisher
        self._body = {
            topic: make(BodyPose, topic, 10)
            for topic in (TOPIC_HPSTM_BODY, TOPIC_PALLAS_BODY, TOPIC_GENERATED_BODY)
        }
        self._forged = self.forged.create_publisher(BodyPose, TOPIC_HPSTM_BODY, 10)
        self._joints = make(JointState, TOPIC_JOINT_STATES, 10)
        self._dead_man = make(Bool, TOPIC_DEAD_MAN, 10)
        self._stop = make(Bool, TOPIC_EMERGENCY_STOP, 10)
        self._imu = [make(Imu, TOPIC_IMU.format(site=site), 10) for site in SITES]
        self._services = {
            name: self.node.create_client(Trigger, name)
            for name in (
                *(f"/retarget/{action}" for action in _ACTIONS),
                "/motion_generator/take_over",
                "/motion_generator/hand_back",
            )
        }
        self._parameters = [
            self.node.create_client(SetParameters, f"/{node}/set_parameters")
            for node in ("retarget", "hpstm", "pallas_node")
        ]
        self._goals: Any = ActionClient(self.node, GenerateMotion, ACTION_GENERATE)
        self._turn = 0

    def act(self, kind: str) -> None:
        """Run one step of ``kind``."""
        self._turn += 1
        if kind == CALM:
            self._calm()
        elif "bodies" in kind:
            self._send_bodies(kind)
        elif kind == "joint states":
            self._lie()
        elif kind == "dead-man switch":
            self._dead_man.publish(Bool(data=self._chance(0.5)))
        elif kind == "sensors":
            self._sense()
        elif self._turn % 12 == 0:
            {
                "emergency stops": self._press,
                "services": self._call,
                "storms of goals": self._ask,
                "parameters": self._set,
            }[kind]()

    def _chance(self, share: float) -> bool:
        return bool(self._random.random() < share)

    def _calm(self) -> None:
        if self._turn % 30:
            return
        self._stop.publish(Bool(data=False))
        self._request("/retarget/reset")
        self._request("/motion_generator/take_over")

    def _send_bodies(self, kind: str) -> None:
        for _ in range(_FLOOD if kind.startswith("flood") else 1):
            frame = self._bodies.good(int(self._random.integers(self._frames)), time.time_ns())
            if self._chance(0.7):
                frame = self._bodies.spoil(frame)
            if self._chance(0.3):
                frame.body_id = str(self._random.choice(["stranger", "", "x" * 1000]))
            try:
                data = body_to_bytes(frame)
            except (struct.error, OverflowError):  # stamps that no message can represent
                continue
            if self._chance(0.05):
                data = data[: int(self._random.integers(len(data)))]
            if kind == "bodies before smoothing":
                topic = TOPIC_PALLAS_BODY if self._chance(0.5) else TOPIC_GENERATED_BODY
                self._body[topic].publish(data)
            elif "forged" in kind:
                self._forged.publish(data)
            else:
                self._body[TOPIC_HPSTM_BODY].publish(data)

    def _lie(self) -> None:
        q = self._robot.q_ready + self._random.normal(0, 1.0, self._robot.dof)
        if self._chance(0.3):
            q[int(self._random.integers(len(q)))] = self._random.choice(_ODD)
        names = list(self._robot.joint_names)
        message = JointState(name=names[:: -1 if self._chance(0.2) else 1], position=q.tolist())
        if self._chance(0.1):
            message.position = message.position[:-1]
        late = int(self._random.choice([0, 0, 0, 2 * _NS, -3600 * _NS]))
        message.header.stamp = to_stamp(time.time_ns() - late)
        self._joints.publish(message)

    def _press(self) -> None:
        self._stop.publish(Bool(data=self._chance(0.5)))

    def _request(self, name: str) -> None:
        if self._services[name].service_is_ready():
            self._services[name].call_async(Trigger.Request())

    def _call(self) -> None:
        for _ in range(int(self._random.integers(1, 6))):
            self._request(f"/retarget/{self._random.choice(_ACTIONS)}")

    def _ask(self) -> None:
        self._request("/motion_generator/hand_back")
        for number in range(int(self._random.integers(1, _STORM))):
            goal = GenerateMotion.Goal(text="wave with the right hand", duration=2.0, seed=number)
            goal.play = self._chance(0.8)
            if self._chance(0.3):
                goal.duration = float(self._random.choice(_ODD))
            if self._chance(0.2):
                goal.text = "x" * 100_000
            sent = self._goals.send_goal_async(goal)
            if self._chance(0.5):
                sent.add_done_callback(_cancel)

    def _sense(self) -> None:
        for publisher in self._imu:
            odd = float(self._random.choice(_ODD))
            x, y, z, w = self._random.normal(0, 1, 4).tolist()
            message = Imu(orientation=Quaternion(x=x, y=y, z=z, w=odd if self._chance(0.5) else w))
            message.linear_acceleration = Vector3(x=odd, y=0.0, z=9.81)
            ahead = int(self._random.choice([0, 0, 3600 * _NS, -5 * _NS]))
            message.header.stamp = to_stamp(time.time_ns() + ahead)
            publisher.publish(message)

    def _set(self) -> None:
        value = ParameterValue(type=ParameterType.PARAMETER_DOUBLE)
        value.double_value = float(self._random.choice([*_ODD, 0.1, 2.9]))
        names = ("tip_speed", "stop_deviation_m", "scale", "deviation_scale_m", "height_m")
        wanted = [Parameter(name=str(self._random.choice(names)), value=value)]
        for client in self._parameters:
            if client.service_is_ready():
                client.call_async(SetParameters.Request(parameters=wanted))


def _cancel(sent: Any) -> None:
    handle = sent.result()
    if handle is not None and handle.accepted:
        handle.cancel_goal_async()


def main() -> None:
    """Attack until killed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--robot", default="panda")
    parser.add_argument("--since", type=float, required=True, help="time.time() of the start")
    args = parser.parse_args()
    middleware.prepare()
    rclpy.init()
    attacker = Attacker(args.seed, args.robot)
    executor = rclpy.executors.SingleThreadedExecutor()
    executor.add_node(attacker.node)
    executor.add_node(attacker.forged)
    attacker.node.create_timer(1 / 60, lambda: attacker.act(attack_at(time.time() - args.since)))
    executor.spin()


if __name__ == "__main__":
    main()
