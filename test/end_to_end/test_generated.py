"""Generated motion through the real nodes to the simulated Panda: it waves on request, and no
command violates a limit during cancellation, preemption, takeover by the operator and emergency
stop.
"""

import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (make setup)")
pytest.importorskip("pinocchio", reason="needs the extra [robot]")
pytest.importorskip("mujoco", reason="needs the extra [sim]")
pytest.importorskip("onnxruntime", reason="needs the extra [language]")
pytest.importorskip("pallas.action", reason="needs the generated messages (make setup)")

import rclpy
from graph_process import Up
from pallas.action import GenerateMotion
from pallas.msg import BodyPose, SupervisorStatus
from rclpy.action import ActionClient
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.serialization import deserialize_message
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory

from hpstm_ros.generation.takeover import LEADS
from hpstm_ros.retarget.robots import load_robot
from hpstm_ros.safety.checker import check, check_states, check_tips
from hpstm_ros.safety.limits import SupervisorSettings
from hpstm_ros.teleoperation.teleoperation import limits_of
from pallas_ros.bags import Bag
from pallas_ros.bags.bodies import read_bodies
from pallas_ros.body.frames import BodyFrame
from pallas_ros.body.names import (
    ACTION_GENERATE,
    DEFAULT_CONTROLLER,
    TOPIC_GENERATED_BODY,
    TOPIC_JOINT_TRAJECTORY,
    TOPIC_PALLAS_BODY,
    TOPIC_SUPERVISOR,
)
from pallas_ros.imu.motions import demo_motion
from pallas_ros.messages.decode import from_stamp
from pallas_ros.messages.wire import body_from_bytes, body_to_bytes

pytestmark = [pytest.mark.ros, pytest.mark.timeout(400)]
ROBOT = "panda"
LIMIT_S = 60.0
LONG_S = 10.0
"""Of a motion that is ended before its end."""
DEPTH = 10_000
"""Messages that wait for this process at most, so that none is lost while the machine is busy."""


class Audience:
    """Sends goals and records all messages, in a separate thread."""

    def __init__(self) -> None:
        self.node = rclpy.create_node("audience")
        self.status = SupervisorStatus()
        self.shown: list[bytes] = []
        self.commands: list[bytes] = []
        self.stages: list[str] = []
        commands = TOPIC_JOINT_TRAJECTORY.format(controller=DEFAULT_CONTROLLER)
        # bytes, and of the status only the newest: a busy machine leaves little time for hearing
        self.node.create_subscription(
            BodyPose, TOPIC_GENERATED_BODY, self.shown.append, DEPTH, raw=True
        )
        self.node.create_subscription(
            JointTrajectory, commands, self.commands.append, DEPTH, raw=True
        )
        self.node.create_subscription(
            SupervisorStatus, TOPIC_SUPERVISOR, lambda m: setattr(self, "status", m), 1
        )
        self.client = ActionClient(self.node, GenerateMotion, ACTION_GENERATE)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        try:
            self._executor.spin()
        except ExternalShutdownException:
            return

    def until(self, condition: Callable[[], Any]) -> None:
        end = time.monotonic() + LIMIT_S
        while not condition():
            assert time.monotonic() < end, f"{self.status.state_name}: {self.status.reason}"
            time.sleep(0.05)

    def ask(self, text: str, seconds: float) -> Any:
        """Send a goal and wait until it is played; return the future of its result."""
        self.stages.clear()
        sent = self.client.send_goal_async(
            GenerateMotion.Goal(text=text, duration=seconds, seed=3, play=True),
            feedback_callback=lambda m: self.stages.append(m.feedback.stage),
        )
        self.until(sent.done)
        self.handle = sent.result()
        result = self.handle.get_result_async()
        self.until(lambda: "playing" in self.stages or result.done())
        return result

    def result(self, future: Any) -> GenerateMotion.Result:
        self.until(future.done)
        return future.result().result

    def call(self, service: str) -> bool:
        client = self.node.create_client(Trigger, service)
        self.until(client.service_is_ready)
        answer = client.call_async(Trigger.Request())
        self.until(answer.done)
        return bool(answer.result().success)

    def tracks(self) -> bool:
        return self.status.state_name == "tracking"

    def remarks(self) -> tuple[str, ...]:
        return body_from_bytes(self.shown[-1]).remarks if self.shown else ()

    def rests(self) -> bool:
        return self.remarks() == ("generated", "at rest")

    def operator_comes(self) -> None:
        """Publish an operator with sensors, at another position than the generated body."""
        bodies = self.node.create_publisher(BodyPose, TOPIC_PALLAS_BODY, 10)
        posture = demo_motion(8.0)

        def publish() -> None:
            now = self.node.get_clock().now().nanoseconds
            q = posture.rotations[300]
            p = posture.positions[300] - posture.positions[300, 0] * [1, 1, 0] + [0.3, 0.1, 0.0]
            seen = np.ones(len(p), dtype=bool)
            frame = BodyFrame(now, q, p, None, seen, np.ones(len(p)), np.ones(2), now)
            bodies.publish(body_to_bytes(frame))

        self.node.create_timer(1 / 60, publish)

    def swing(self, since: int) -> float:
        """Largest joint displacement in rad commanded to the arm since that command."""
        some = self.commands[since::10]
        q = np.array([decoded(command).points[0].positions for command in some])
        return float(np.ptp(q, axis=0).max()) if len(q) else 0.0

    def close(self) -> None:
        if not self._thread.is_alive():
            return
        self._executor.shutdown()
        self._thread.join()
        self.node.destroy_node()


@pytest.fixture
def audience(ros_domain: int) -> Iterator[Audience]:
    rclpy.init(domain_id=ros_domain)
    made = Audience()
    try:
        yield made
    finally:
        made.close()
        rclpy.try_shutdown()


def decoded(command: bytes) -> JointTrajectory:
    return deserialize_message(command, JointTrajectory)


def streams(commands: list[bytes]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the commands as executed by a controller, (times, states).

    Each command replaces earlier ones from its first time on. The stream is split where the arm
    came to rest: there it may be engaged again and then starts from its measured position.
    """
    found: list[tuple[list[int], list[Any]]] = []
    newest: list[tuple[int, Any]] = []
    for command in [*map(decoded, commands), None]:
        start = 0 if command is None else from_stamp(command.header.stamp)
        follows = command is not None and bool(newest) and start < newest[-1][0]
        kept = [(t, p) for t, p in newest if t < start] if follows else newest
        for t, p in kept:
            found[-1][0].append(t)
            found[-1][1].append([p.positions, p.velocities, p.accelerations])
        if command is None:
            break
        if not follows:
            found.append(([], []))
        after = [p.time_from_start for p in command.points]
        times = [start + t.sec * 10**9 + t.nanosec for t in after]
        newest = list(zip(times, command.points, strict=True))
    return [(np.array(times), np.array(states, dtype=float)) for times, states in found]


def violations(commands: list[bytes]) -> list[str]:
    """Return the violations found by the independent checker."""
    robot = load_robot(ROBOT)
    limits = limits_of(robot)
    tips = [robot.frame(arm.tip) for arm in robot.arms]
    found = []
    last = None
    for times, states in streams(commands):
        q = states[:, 0]
        found += check(times, q, limits) + check_states(times, states, limits)
        found += check_tips(times, q, robot.model, tips, limits)
        # a stalled arm may be as far from its last command as the supervisor tolerates
        if last is not None and np.abs(q[0] - last).max() > SupervisorSettings().deviation:
            found.append("engaged where the arm is not")
        last = q[-1]
    return [str(violation) for violation in found]


def largest_step(bodies: list[BodyFrame]) -> float:
    """Largest displacement of a joint in 1/60 s, in m; a busy machine drops bodies."""
    p = np.stack([body.positions for body in bodies])
    frames = np.maximum(np.diff([body.stamp for body in bodies]) * 60 / 1e9, 1.0)
    return float((np.linalg.norm(np.diff(p, axis=0), axis=-1).max(-1) / frames).max())


def test_the_panda_waves_on_request_through_all_that_may_happen(
    start: Callable[..., Up], audience: Audience, tmp_path: Path
) -> None:
    # fewer commands and fewer steps: the machine may be busy
    (tmp_path / "retarget.yaml").write_text("retarget:\n  ros__parameters: {rate_hz: 60.0}\n")
    (tmp_path / "generator.yaml").write_text("motion_generator:\n  ros__parameters: {steps: 4}\n")
    (tmp_path / "calm.yaml").write_text(
        "parameter_files: {retarget: retarget.yaml, motion_generator: generator.yaml}\n"
    )
    up = start(
        "--single-process",  # starts with the least work
        "--config",
        str(tmp_path / "calm.yaml"),
        "imu_source:=none",
        "body:=generated",
        f"robot:={ROBOT}",
        "operator:=auto",
        "--record",
        str(tmp_path / "bag"),
    )
    up.until(lambda: audience.tracks() and audience.client.server_is_ready())

    begun = len(audience.commands)
    end = time.monotonic() + LIMIT_S
    while audience.swing(begun) < 0.2:  # the arm goes along, unless the machine stalls meanwhile
        assert time.monotonic() < end, f"{audience.status.state_name}: {audience.status.reason}"
        wave = audience.result(audience.ask("wave with the right hand", 2.0))
        assert wave.success, wave.message

    cancelled = audience.ask("wave with the right hand", LONG_S)
    audience.handle.cancel_goal_async()
    assert audience.result(cancelled).message == "cancelled"
    audience.until(audience.rests)

    preempted = audience.ask("raise both hands", LONG_S)
    newer = audience.ask("wave with the right hand", LONG_S)
    assert "preempted" in audience.result(preempted).message

    audience.operator_comes()
    audience.until(lambda: audience.call("/motion_generator/take_over"))
    assert audience.result(newer).message == "the operator took over"
    audience.until(lambda: audience.remarks() == (LEADS,))  # the blend is over
    assert audience.call("/motion_generator/hand_back")
    audience.until(audience.rests)

    newer = audience.ask("wave with the right hand", LONG_S)
    audience.until(audience.tracks)
    assert audience.call("/retarget/emergency_stop")
    audience.until(lambda: audience.status.state_name == "stopped")
    audience.handle.cancel_goal_async()
    assert not audience.result(newer).success
    # a reset is refused until the arm stands still
    audience.until(lambda: audience.call("/retarget/reset"))
    audience.until(audience.tracks)  # the operator has engaged it again

    up.process.send_signal(signal.SIGINT)
    assert up.end() == 0, up.said()
    audience.close()
    assert violations(audience.commands) == []
    shown = [body_from_bytes(data) for data in audience.shown]
    # half a turn of an arm within the blend has 0.18 m at its peak, beside the motion's own speed
    assert largest_step(shown) < 0.35
    recorded = [body for _, body in read_bodies(Bag(tmp_path / "bag"), TOPIC_GENERATED_BODY)]
    remarks = {remark for body in recorded for remark in body.remarks}
    of_requests = {remark for remark in remarks if re.match(r"request: |\w+, seed ", remark)}
    assert "request: wave with the right hand" in of_requests
    assert remarks - of_requests == {"generated", "at rest", "blending", LEADS}
