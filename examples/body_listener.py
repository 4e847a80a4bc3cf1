"""A ROS 2 node on `/hpstm/body`: reports the height of each hand once a second.

python examples/body_listener.py            # while `pallas up` runs in another terminal
"""

import rclpy
from pallas.msg import BodyPose
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data


class BodyListener(Node):
    """Subscribes with sensor-data QoS, like all nodes between sensors and arm."""

    def __init__(self) -> None:
        super().__init__("body_listener")
        self._body: BodyPose | None = None
        self.create_subscription(BodyPose, "/hpstm/body", self._on_body, qos_profile_sensor_data)
        self.create_timer(1.0, self._report)

    def _on_body(self, body: BodyPose) -> None:
        self._body = body

    def _report(self) -> None:
        if self._body is None:
            self.get_logger().info("no body yet")
            return
        for name in ("left_wrist", "right_wrist"):
            joint = self._body.joint_names.index(name)
            height = self._body.poses[joint].position.z
            confidence = self._body.confidence[joint]
            self.get_logger().info(f"{name}: {height:.2f} m (confidence {confidence:.2f})")


if __name__ == "__main__":
    with rclpy.init():
        rclpy.spin(BodyListener())
