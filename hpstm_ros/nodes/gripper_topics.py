"""Topics of the grippers: controllers, openings and joystick triggers."""

from functools import partial
from typing import Any

from sensor_msgs.msg import Joy
from std_msgs.msg import Float64, Float64MultiArray
from trajectory_msgs.msg import JointTrajectory

from hpstm_ros.nodes.retarget_messages import gripper_trajectory
from hpstm_ros.teleoperation.teleoperation import Teleoperation
from hpstm_ros.teleoperation.trigger import GripperTrigger
from pallas_ros.body.errors import PallasError
from pallas_ros.body.names import TOPIC_GRIPPER, TOPIC_JOINT_TRAJECTORY
from pallas_ros.messages.wire import deserialized
from pallas_ros.ros.intake import Intake, RateLimit
from pallas_ros.ros.node import PallasNode
from pallas_ros.ros.qos import NEWEST

_MOST_HZ = 1000.0
"""Openings and joystick messages of one publisher above this rate are discarded."""


class GripperTopics:
    """Adapter between a node's topics and the grippers of its arm."""

    def __init__(self, node: PallasNode, arm: Teleoperation) -> None:
        """Create publishers and subscriptions of ``node`` according to its settings."""
        s = node.settings
        self._arm = arm
        self._positions = s["gripper_interface"] == "position"
        self._outputs: list[Any] = []
        grippers = arm.grippers
        for gripper in grippers if s["gripper_interface"] != "none" else []:
            several = f"{gripper.arm}_" if len(grippers) > 1 else ""
            controller = several + s["gripper_controller"]
            if self._positions:
                output = node.advertise(Float64MultiArray, f"/{controller}/commands")
            else:
                output = node.advertise(
                    JointTrajectory, TOPIC_JOINT_TRAJECTORY.format(controller=controller)
                )
            self._outputs.append(output)
        self._listen(node, TOPIC_GRIPPER, None)
        for number, gripper in enumerate(grippers if len(grippers) > 1 else []):
            self._listen(node, f"{TOPIC_GRIPPER}/{gripper.arm}", number)
        ends = s["gripper_trigger_released"], s["gripper_trigger_pressed"]
        self._triggers = [GripperTrigger(text, *ends) for text in s["gripper_triggers"]]
        if self._triggers:
            joy = Intake(RateLimit(_MOST_HZ))
            topic = s["joy_topic"]
            node.subscribe(Joy, topic, self._on_joy, NEWEST, raw=True, newest=True, intake=joy)

    def _listen(self, node: PallasNode, topic: str, number: int | None) -> None:
        opening = partial(self._on_opening, number)
        node.subscribe(Float64, topic, opening, intake=Intake(RateLimit(_MOST_HZ)))

    def publish(self, now: int) -> None:
        """Publish the grippers' commands at ``now`` ns."""
        for output, gripper, motion in zip(
            self._outputs, self._arm.grippers, self._arm.gripper_motions, strict=False
        ):
            if motion is None:
                continue
            if self._positions:
                output.publish(Float64MultiArray(data=motion.q[0].tolist()))
            else:
                output.publish(gripper_trajectory(now, gripper.gripper.joint_names, motion))

    def _on_opening(self, number: int | None, message: Float64) -> None:
        self._open(message.data, number)

    def _open(self, opening: float, number: int | None = None) -> None:
        if not self._arm.open_gripper(opening, number):
            raise PallasError(
                "a gripper's opening is not a number; it must be from 0 (closed) to 1 (open)"
            )

    def _on_joy(self, data: bytes) -> None:
        """Apply one trigger to all grippers, or one trigger to each."""
        message = deserialized(data, Joy)
        for number, trigger in enumerate(self._triggers):
            opening = trigger.opening(message.axes, message.buttons)
            if opening is not None:
                self._open(opening, number if len(self._triggers) > 1 else None)
