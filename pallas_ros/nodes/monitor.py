"""Measure the running graph.

Reports the rate of bodies, gaps, the latency from IMU sample to joint command, and the error
against a simulated motion.
"""

from typing import Any

from pallas.msg import BodyPose
from trajectory_msgs.msg import JointTrajectory

from pallas_ros.body.names import (
    TOPIC_HPSTM_BODY,
    TOPIC_JOINT_TRAJECTORY,
    TOPIC_PALLAS_BODY,
    TOPIC_TRUTH_BODY,
)
from pallas_ros.graph.measurement import Run
from pallas_ros.messages.decode import body_from_msg, from_stamp
from pallas_ros.ros.node import Health, PallasNode


class MonitorNode(PallasNode):
    """Adapter around `pallas_ros.graph.measurement.Run`; publishes to `/diagnostics`."""

    def __init__(self, **kwargs: Any) -> None:
        """See `config/parameters/monitor.yaml`."""
        super().__init__("monitor", **kwargs)

    def configure(self) -> None:
        """Subscribe to bodies and commands."""
        self._run = Run()
        self._reported = Run()
        self.subscribe(
            BodyPose,
            TOPIC_PALLAS_BODY,
            lambda message: self._run.body(self.now(), body_from_msg(message)),
        )
        self.subscribe(
            BodyPose, TOPIC_TRUTH_BODY, lambda message: self._run.truth(body_from_msg(message))
        )
        self.subscribe(BodyPose, TOPIC_HPSTM_BODY, self._on_smoothed)
        self.subscribe(
            JointTrajectory,
            TOPIC_JOINT_TRAJECTORY.format(controller=self.settings["controller"]),
            self._on_command,
        )
        self.every(self.settings["window_s"], self._next)

    def health(self) -> Health:
        """Figures of the last complete window."""
        figures = {
            name: value for name, value in self._reported.summary().items() if value is not None
        }
        words = (
            [f"{figures['body_rate_hz']:.1f} Hz"] if "body_rate_hz" in figures else ["no bodies"]
        )
        if "latency_p99_ms" in figures:
            words.append(
                f"latency {figures['latency_p50_ms']:.1f} ms (p99 {figures['latency_p99_ms']:.1f})"
            )
        return Health(0 if "body_rate_hz" in figures else 1, ", ".join(words), figures)

    def _next(self) -> None:
        self._reported = self._run
        self._run = Run()

    def _on_smoothed(self, message: BodyPose) -> None:
        self._run.smoothed(from_stamp(message.header.stamp), from_stamp(message.newest_input))

    def _on_command(self, message: JointTrajectory) -> None:
        self._run.command(self.now(), from_stamp(message.header.stamp))
