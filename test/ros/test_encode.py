"""Records are converted to messages and back without change, through real serialisation."""

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (make setup)")
pytest.importorskip("pallas.msg", reason="needs the generated messages (make setup)")

from pallas.msg import BodyPose
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import Imu

from pallas_ros.body.errors import PallasError
from pallas_ros.body.frames import BodyFrame, ImuFrame
from pallas_ros.body.names import JOINTS
from pallas_ros.imu.sample import ImuSample
from pallas_ros.messages import decode, encode, wire


def body(seed: int, covariance: bool = True) -> BodyFrame:
    rng = np.random.default_rng(seed)
    q = rng.normal(size=(22, 4))
    return BodyFrame(
        stamp=1_234_567_890_123_456_789,
        rotations=q / np.linalg.norm(q, axis=1, keepdims=True),
        positions=rng.normal(size=(22, 3)),
        covariance=rng.normal(size=(22, 3, 3)) if covariance else None,
        valid=rng.random(22) < 0.8,
        confidence=rng.random(22).astype(np.float32).astype(np.float64),
        contacts=np.array([0.25, 0.75]),
        newest_input=1_234_567_890_123_000_001,
        body_id="someone",
        remarks=("left_wrist silent for 0.3 s",),
    )


@pytest.mark.parametrize("covariance", [True, False])
def test_a_body_survives_the_wire(covariance: bool) -> None:
    before = body(1, covariance)
    after = decode.body_from_msg(
        deserialize_message(serialize_message(encode.body_to_msg(before)), BodyPose)
    )
    for name in BodyFrame.__dataclass_fields__:
        a = getattr(before, name)
        b = getattr(after, name)
        assert np.array_equal(a, b) if isinstance(a, np.ndarray) else a == b, name


def test_joints_in_another_order_come_back_in_ours() -> None:
    message = encode.body_to_msg(body(2))
    order = np.random.default_rng(0).permutation(22)
    message.joint_names = [JOINTS[i] for i in order]
    message.poses = [message.poses[i] for i in order]
    message.valid = [message.valid[i] for i in order]
    message.confidence = [float(message.confidence[i]) for i in order]
    message.position_covariance = (
        np.array(message.position_covariance).reshape(22, 9)[order].ravel()
    )
    after = decode.body_from_msg(message)
    assert np.array_equal(after.positions, body(2).positions)
    assert np.array_equal(after.covariance, body(2).covariance)
    assert np.array_equal(after.valid, body(2).valid)


def test_a_joint_that_is_not_finite_or_not_a_rotation_is_invalid_and_the_others_stay() -> None:
    message = encode.body_to_msg(body(3))
    message.valid = [True] * 22
    message.poses[4].position.x = float("nan")
    message.poses[7].orientation.w = 9.0
    assert np.flatnonzero(~decode.body_from_msg(message).valid).tolist() == [4, 7]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("poses", []),
        ("valid", [True]),
        ("position_covariance", [0.0] * 9),
        ("joint_names", ["nose"] * 22),
    ],
)
def test_a_malformed_body_is_refused_in_one_sentence(field: str, value: list[object]) -> None:
    message = encode.body_to_msg(body(4))
    setattr(message, field, value)
    with pytest.raises(PallasError, match="body 'someone'"):
        decode.body_from_msg(message)


def test_imu_samples_keep_what_was_not_measured() -> None:
    sample = ImuSample(5_000_000_001, None, np.array([0.1, 0.2, 9.8]), None)
    after = decode.imu_from_msg(deserialize_message(wire.imu_to_bytes(sample, "imu_neck"), Imu))
    assert after.orientation is None
    assert after.angular_velocity is None
    assert after.stamp == sample.stamp
    assert np.array_equal(after.acceleration, sample.acceleration)


def test_an_imu_frame_survives() -> None:
    rng = np.random.default_rng(5)
    q = rng.normal(size=(4, 4))
    before = ImuFrame(
        7,
        q,
        rng.normal(size=(4, 3)),
        np.array([True, False, True, True]),
        np.full(4, 0.5),
        np.full(4, 0.25),
        9,
    )
    after = decode.imu_frame_from_msg(encode.imu_frame_to_msg(before))
    for name in ImuFrame.__dataclass_fields__:
        assert np.array_equal(getattr(before, name), getattr(after, name)), name
