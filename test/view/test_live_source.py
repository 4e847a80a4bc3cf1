"""The live viewer with publishers that send invalid bytes."""

from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (make setup)")
pytest.importorskip("pallas.msg", reason="needs the generated messages (make setup)")

from pallas_ros.bags import BagMessage
from pallas_ros.body.frames import BodyFrame
from pallas_ros.body.names import TOPIC_HPSTM_BODY, TOPIC_POSE_BODY, TOPIC_SUPERVISOR
from pallas_ros.imu.motions import demo_motion
from pallas_ros.messages.wire import body_to_bytes
from pallas_ros.nodes import live


class Taps:
    """Delivers prepared messages."""

    came: tuple[BagMessage, ...] = ()

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def open(self, *_: Any) -> None:
        pass

    def discover(self) -> dict[str, str]:
        return {}

    def take(self) -> list[BagMessage]:
        return list(self.came)


def body(stamp: int, topic: str = TOPIC_HPSTM_BODY) -> BagMessage:
    motion = demo_motion(0.1)
    seen = np.ones(22, dtype=bool)
    frame = BodyFrame(
        stamp,
        motion.rotations[0],
        motion.positions[0],
        None,
        seen,
        np.ones(22),
        np.ones(2),
        stamp,
    )
    data = body_to_bytes(frame)
    return BagMessage(topic, "pallas/msg/BodyPose", stamp, data)


def damaged(message: BagMessage) -> BagMessage:
    return message._replace(data=message.data[:40])


def shown(monkeypatch: pytest.MonkeyPatch, *came: BagMessage) -> Any:
    monkeypatch.setattr(live, "Taps", Taps)
    monkeypatch.setattr(Taps, "came", came)
    return live.Live(None).newest()


def test_the_newest_body_that_can_be_read_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    moment = shown(monkeypatch, body(10**9), damaged(body(2 * 10**9)))
    assert moment is not None
    assert np.isfinite(moment.body).all()


def test_bytes_that_are_no_message_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    status = BagMessage(TOPIC_SUPERVISOR, "pallas/msg/SupervisorStatus", 3, b"\0\1\0\0x")
    assert shown(monkeypatch, damaged(body(10**9)), status) is None
    assert shown(monkeypatch, status, body(10**9)) is not None


def test_the_body_of_a_camera_is_shown_before_smoothing(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = [body(number * 10**8, TOPIC_POSE_BODY) for number in range(1, 11)]
    moment = shown(monkeypatch, *raw, body(10**9))
    assert moment.raw is not None
    assert moment.plots["rate, Hz"] == pytest.approx(10.0)
