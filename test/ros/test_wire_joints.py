"""Joint states and trajectories are the same bytes, and read the same, as with rclpy."""

from array import array
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (make setup)")

from hypothesis import given
from hypothesis import strategies as st
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import JointState
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from pallas_ros.body.errors import PallasError
from pallas_ros.messages import wire_joints
from pallas_ros.messages.decode import from_stamp
from pallas_ros.messages.encode import to_stamp
from pallas_ros.messages.wire_joints import JointStateReader, TrajectoryCodec

NS = 1_000_000_000
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=9)
NAMES = st.lists(TEXT, min_size=1, max_size=4, unique=True)
STAMPS = st.integers(0, 2**31 * NS - 1)


def trajectory(stamp: int, names: list[str], times: Any, states: Any) -> JointTrajectory:
    """The message, built field by field."""
    message = JointTrajectory(joint_names=names)
    message.header.stamp = to_stamp(stamp)
    for time, state in zip(times, states, strict=True):
        point = JointTrajectoryPoint()
        point.positions, point.velocities, point.accelerations = (
            array("d", part.tobytes()) for part in state
        )
        since = point.time_from_start
        since.sec, since.nanosec = divmod(int(time) - stamp, NS)
        message.points.append(point)
    return message


@given(NAMES, STAMPS, st.integers(1, 5), st.integers(-2 * NS, 2 * NS))
def test_bytes_of_a_trajectory_are_those_of_the_message(
    names: list[str], stamp: int, count: int, first: int
) -> None:
    codec = TrajectoryCodec(names)
    times = stamp + first + 8_000_000 * np.arange(count)
    states = np.random.default_rng(0).normal(size=(count, 3, len(names)))
    data = codec.to_bytes(stamp, times, states)
    message = trajectory(stamp, names, times, states)
    assert deserialize_message(data, JointTrajectory) == message
    for serialised in (data, bytes(serialize_message(message))):  # which differ in the padding
        read = codec.from_bytes(serialised)
        assert read is not None  # by the short way
        assert read[0] == stamp
        np.testing.assert_array_equal(read[1], times - stamp)
        np.testing.assert_array_equal(read[2], states)


def test_other_trajectories_are_left_to_rclpy() -> None:
    codec = TrajectoryCodec(["a", "b"])
    times = np.array([5 * NS, 6 * NS])
    states = np.ones((2, 3, 2))
    whole = codec.to_bytes(5 * NS, times, states)
    assert codec.from_bytes(whole) is not None
    for other in (["b", "a"], ["a"], ["a", "b", "c"]):
        assert TrajectoryCodec(other).from_bytes(whole) is None
    message = trajectory(5 * NS, ["a", "b"], times, states)
    message.points[1].effort = array("d", [1.0, 2.0])
    assert codec.from_bytes(serialize_message(message)) is None
    message = trajectory(5 * NS, ["a", "b"], times, states)
    message.points[0].accelerations = array("d")
    assert codec.from_bytes(serialize_message(message)) is None
    message.points = []
    assert codec.from_bytes(serialize_message(message)) is None
    message = trajectory(5 * NS, ["a", "b"], times, states)
    message.header.frame_id = "base"
    assert codec.from_bytes(serialize_message(message)) is None
    for length in range(len(whole)):
        assert codec.from_bytes(whole[:length]) is None


@given(st.lists(st.tuples(NAMES, TEXT, STAMPS, st.booleans()), min_size=1, max_size=5))
def test_joint_states_are_read_as_the_message_is(states: list[Any]) -> None:
    reader = JointStateReader()
    for names, frame_id, stamp, whole in states:
        message = JointState(name=names, position=array("d", np.arange(len(names) + 0.0)))
        message.header.stamp = to_stamp(stamp)
        message.header.frame_id = frame_id
        if whole:
            message.velocity = array("d", [1.0] * len(names))
            message.effort = array("d", [2.0])
        data = bytes(serialize_message(message))
        for _ in range(2):  # the second time by the short way
            given_stamp, given_names, q = reader.read(data)
            assert given_stamp == from_stamp(message.header.stamp)
            assert given_names == tuple(names)
            np.testing.assert_array_equal(q, message.position)


def test_known_joint_names_are_not_decoded_again(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = JointStateReader()
    messages = [
        bytes(serialize_message(JointState(name=names, position=[float(len(names))] * len(names))))
        for names in (["a"], ["a", "b"], ["a", "b", "c"])
    ]
    for data in messages:
        reader.read(data)
    monkeypatch.setattr(wire_joints, "deserialized", None)
    for number, data in enumerate(messages, start=1):
        _, names, q = reader.read(data)
        assert names == ("a", "b", "c")[:number]
        assert q.tolist() == [float(number)] * number


def test_damaged_joint_states_are_read_as_by_rclpy_or_refused() -> None:
    message = JointState(name=["a", "b"], position=[1.0, 2.0], velocity=[3.0, 4.0])
    data = bytes(serialize_message(message))
    reader = JointStateReader()
    reader.read(data)
    for length in range(len(data)):
        try:
            expected = deserialize_message(data[:length], JointState)
        except Exception:
            with pytest.raises(PallasError, match=f"{length} bytes that are not a sensor_msgs"):
                reader.read(data[:length])
        else:
            assert reader.read(data[:length])[2].tolist() == list(expected.position)
    other = bytes((0, 0)) + data[2:]  # in another byte order: other lengths
    with pytest.raises(PallasError):
        reader.read(other)


def test_the_remembered_layouts_are_bounded() -> None:
    reader = JointStateReader()
    for number in range(100):
        message = JointState(name=[f"joint {number}"], position=[float(number)])
        data = bytes(serialize_message(message))
        assert reader.read(data)[1] == (f"joint {number}",)
        assert deserialize_message(data, JointState).name == [f"joint {number}"]
    assert len(reader._layouts) == wire_joints._LAYOUTS
    reader = JointStateReader()
    long = JointState(name=[f"joint {number}" for number in range(2000)])
    assert len(reader.read(bytes(serialize_message(long)))[1]) == 2000
    assert not reader._layouts
