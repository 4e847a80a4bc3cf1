"""Body topic with a subscriber in a separate process, to measure the cost of publishing."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import rclpy
from pallas.msg import BodyPose

from pallas_ros.body.errors import PallasError
from pallas_ros.ros import middleware
from pallas_ros.ros.qos import STREAM

_TOPIC = "/pallas_bench/body"
_PATIENCE_S = 20.0


@contextmanager
def listened_to() -> Iterator[Callable[[bytes], None]]:
    """Return a function that publishes a serialised body to a subscriber.

    Raises:
        PallasError: the subscriber does not appear.
    """
    middleware.prepare()
    context = rclpy.Context()
    rclpy.init(context=context)
    listener = subprocess.Popen([sys.executable, "-m", __name__], stdin=subprocess.PIPE)
    try:
        node = rclpy.create_node(
            "pallas_bench", context=context, enable_rosout=False, start_parameter_services=False
        )
        publisher = node.create_publisher(BodyPose, _TOPIC, STREAM)
        until = time.monotonic() + _PATIENCE_S
        while not publisher.get_subscription_count():
            if time.monotonic() > until or listener.poll() is not None:
                raise PallasError("publishing was not measured: no subscriber connected in time")
            time.sleep(0.05)
        yield publisher.publish
        node.destroy_node()
    finally:
        assert listener.stdin is not None
        listener.stdin.close()
        listener.wait(timeout=_PATIENCE_S)
        context.try_shutdown()


def _listen() -> None:
    """Receive raw messages until standard input closes."""
    middleware.prepare()
    rclpy.init()
    node = rclpy.create_node(
        "pallas_bench_listener", enable_rosout=False, start_parameter_services=False
    )

    def nothing(_: Any) -> None: ...

    subscription = node.create_subscription(BodyPose, _TOPIC, nothing, STREAM, raw=True)
    sys.stdin.read()
    node.destroy_subscription(subscription)
    node.destroy_node()
    rclpy.try_shutdown()


if __name__ == "__main__":
    _listen()
