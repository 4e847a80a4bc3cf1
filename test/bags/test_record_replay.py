"""Recorder and player over real DDS: messages are recorded unchanged, and replaying a bag twice
gives the same bytes.
"""

import itertools
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bag_samples import text_message

from pallas_ros.bags import Bag, BagWriter, Qos
from pallas_ros.body.errors import PallasError
from pallas_ros.cli import main

rclpy = pytest.importorskip("rclpy", reason="needs ROS 2 (make setup)")
pytestmark = pytest.mark.ros
IMU = "sensor_msgs/msg/Imu"


def until(condition: Callable[[], Any], node: Any = None, seconds: float = 30.0) -> None:
    """Wait for ``condition``, spinning ``node``."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        rclpy.spin_once(node, timeout_sec=0.01) if node else time.sleep(0.01)


@pytest.fixture
def node(ros_domain: int) -> Any:
    rclpy.init()
    node = rclpy.create_node("tester")
    yield node
    node.destroy_node()
    rclpy.shutdown()


def start_recorder(bag: Path, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "pallas_ros.cli", "record", str(bag), *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_published_messages_are_in_the_bag(node: Any, tmp_path: Path) -> None:
    from sensor_msgs.msg import Imu
    from std_msgs.msg import String

    from pallas_ros.ros.qos import LATCHED, SENSOR, STREAM

    latched = node.create_publisher(String, "/pallas/calibration", LATCHED)
    latched.publish(String(data="before the recorder"))
    imu = node.create_publisher(Imu, "/imu/pelvis", SENSOR)
    text = node.create_publisher(String, "/other/text", STREAM)
    hidden = node.create_publisher(String, "/other/hidden", STREAM)
    process = start_recorder(
        tmp_path / "bag", "--exclude", "/other/h*", "/rosout", "/parameter_events"
    )
    try:
        until(
            lambda: (
                imu.get_subscription_count()
                and text.get_subscription_count()
                and latched.get_subscription_count()
            )
        )
        assert not hidden.get_subscription_count()
        for index in range(200):
            message = Imu()
            message.linear_acceleration.x = float(index)
            imu.publish(message)
            text.publish(String(data=str(index)))
            rclpy.spin_once(node, timeout_sec=0.002)
        file = tmp_path / "bag" / "bag_0.mcap"
        size = file.stat().st_size
        until(lambda: file.stat().st_size > size)
    finally:
        process.send_signal(signal.SIGINT)
        output = process.communicate(timeout=20)[0]
    assert process.returncode == 0, output
    bag = Bag(tmp_path / "bag")
    assert bag.damage == ""
    assert bag.topics["/other/text"].msgtype == "std_msgs/msg/String"
    assert bag.topics["/pallas/calibration"].qos.latched
    assert not bag.topics["/imu/pelvis"].qos.reliable
    assert [message.data for _, message in bag.read("/pallas/calibration")] == [
        "before the recorder"
    ]
    assert [message.data for _, message in bag.read("/other/text")] == [
        str(index) for index in range(200)
    ]
    assert [message.linear_acceleration.x for _, message in bag.read("/imu/pelvis")] == list(
        range(200)
    )
    assert "/other/hidden" not in bag.topics
    stamps = [message.stamp for message in bag.messages()]
    assert stamps == sorted(stamps)


@pytest.mark.parametrize("site", ["neck", "head"])
def test_the_first_sample_of_a_sensor_is_in_the_bag_and_no_empty_topic(
    node: Any, tmp_path: Path, site: str
) -> None:
    from rclpy.parameter import Parameter
    from sensor_msgs.msg import Imu

    from pallas_ros.nodes.recorder import RecorderNode
    from pallas_ros.ros.qos import SENSOR

    path = Parameter("path", value=str(tmp_path / "bag"))
    recorder = RecorderNode(parameter_overrides=[path])
    recorder.bring("configure")
    recorder.bring("activate")
    topic = f"/imu/{site}"
    try:
        imu = node.create_publisher(Imu, topic, SENSOR)
        until(imu.get_subscription_count)  # the recorder is not spun: it discovers nothing
        imu.publish(Imu())
        until(lambda: recorder._record() or recorder.bag.count)
        assert set(recorder.bag.topics) & {"/imu/neck", "/imu/head", "/imu/pelvis"} == {topic}
    finally:
        recorder.stop()
        recorder.destroy_node()
    assert len([*Bag(tmp_path / "bag").read(topic)]) == 1


@pytest.mark.parametrize("shared", [False, True])
def test_a_sensor_topic_of_another_type_is_recorded_unless_this_process_uses_it(
    node: Any, tmp_path: Path, shared: bool
) -> None:
    """It is subscribed to as `Imu` in advance, and was silently left out."""
    from rclpy.context import Context
    from rclpy.parameter import Parameter
    from sensor_msgs.msg import Imu, MagneticField

    from pallas_ros.nodes.recorder import RecorderNode
    from pallas_ros.ros.qos import SENSOR, STREAM

    topic = "/imu/neck"
    elsewhere = Context()  # in one participant a topic has one type
    elsewhere.init()
    driver = rclpy.create_node("driver", context=elsewhere)
    field = driver.create_publisher(MagneticField, topic, STREAM)
    if shared:
        node.create_subscription(Imu, topic, lambda _: None, SENSOR)
    path = Parameter("path", value=str(tmp_path / "bag"))
    recorder = RecorderNode(parameter_overrides=[path])
    recorder.bring("configure")
    recorder.bring("activate")
    try:
        if shared:
            until(lambda: recorder._discover() or topic in recorder._refused)
            assert recorder._taps.type_of(topic) == "sensor_msgs/msg/Imu"
            assert topic not in recorder.bag.topics
            return
        until(lambda: recorder._discover() or recorder._taps.type_of(topic) != IMU)
        until(field.get_subscription_count)
        field.publish(MagneticField())
        until(lambda: recorder._record() or recorder.bag.topics.get(topic))
    finally:
        recorder.stop()
        recorder.destroy_node()
        driver.destroy_node()
        elsewhere.try_shutdown()
    bag = Bag(tmp_path / "bag")
    assert len([*bag.read(topic)]) == 1
    assert bag.topics[topic].qos.reliable


def test_a_wrong_type_that_appears_first_does_not_keep_a_sensor_out(
    node: Any, tmp_path: Path
) -> None:
    """Regression: the topic stayed that of the first publisher, which never sent anything."""
    from rclpy.context import Context
    from rclpy.parameter import Parameter
    from sensor_msgs.msg import Imu, MagneticField

    from pallas_ros.nodes.recorder import RecorderNode
    from pallas_ros.ros.qos import SENSOR, STREAM

    topic = "/imu/neck"
    contexts = (Context(), Context())  # in one participant a topic has one type
    for context in contexts:
        context.init()
    wrong, driver = (
        rclpy.create_node(f"driver{k}", context=context) for k, context in enumerate(contexts)
    )
    wrong.create_publisher(MagneticField, topic, STREAM)
    path = Parameter("path", value=str(tmp_path / "bag"))
    recorder = RecorderNode(parameter_overrides=[path])
    said: list[str] = []
    recorder.say = said.append
    recorder.bring("configure")
    recorder.bring("activate")
    try:
        until(lambda: recorder._discover() or recorder._taps.type_of(topic) != IMU)
        imu = driver.create_publisher(Imu, topic, SENSOR)
        until(lambda: recorder._discover() or said)
        assert "is published with several types" in said[0] and said[0].endswith("stop the others")
        wrong.destroy_node()
        until(lambda: recorder._discover() or recorder._taps.type_of(topic) == IMU)
        until(imu.get_subscription_count)
        imu.publish(Imu())
        until(lambda: recorder._record() or recorder.bag.topics.get(topic))
        driver.destroy_node()
        driver = rclpy.create_node("driver2", context=contexts[0])
        driver.create_publisher(MagneticField, topic, STREAM)
        until(lambda: recorder._discover() or len(said) > 1)
        assert "is recorded as sensor_msgs/msg/Imu, but is now published as" in said[-1]
        recorder._discover()
        assert len(said) == 2
    finally:
        recorder.stop()
        recorder.destroy_node()
        driver.destroy_node()
        for context in contexts:
            context.try_shutdown()
    assert Bag(tmp_path / "bag").topics[topic].msgtype == IMU


def test_a_recorder_that_is_killed_loses_a_second_at_most(node: Any, tmp_path: Path) -> None:
    from std_msgs.msg import String

    from pallas_ros.ros.qos import STREAM

    publisher = node.create_publisher(String, "/text", STREAM)
    process = start_recorder(tmp_path / "bag", "--topics", "/text")
    file = tmp_path / "bag" / "bag_0.mcap"
    sent = itertools.count()
    sizes: set[int] = set()
    try:
        until(publisher.get_subscription_count)
        while len(sizes) < 3:  # until it has begun to write
            publisher.publish(String(data=str(next(sent))))
            rclpy.spin_once(node, timeout_sec=0.005)
            sizes.add(file.stat().st_size)
        last = time.monotonic_ns() + 1_500_000_000
        while time.monotonic_ns() < last:  # longer than may be lost
            publisher.publish(String(data=str(next(sent))))
            rclpy.spin_once(node, timeout_sec=0.005)
    finally:
        process.kill()
        killed = time.time_ns()
        process.communicate(timeout=20)
    bag = Bag(tmp_path / "bag")
    assert "was not closed" in bag.damage
    kept = [(message.stamp, int(bag.decode(message).data)) for message in bag.messages()]
    assert [number for _, number in kept] == list(
        range(len(kept))
    )  # nothing is missing but the end
    assert 0 <= killed - kept[-1][0] <= 1_000_000_000
    run = subprocess.run(
        [sys.executable, "-m", "pallas_ros.cli", "repair", str(tmp_path / "bag")],
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    repaired = Bag(tmp_path / "bag")
    assert repaired.damage == ""
    assert [int(repaired.decode(message).data) for message in repaired.messages()] == list(
        range(len(kept))
    )


def test_a_recorder_without_write_permission_fails_with_a_message(
    ros_domain: int, tmp_path: Path
) -> None:
    (tmp_path / "bag").mkdir()
    (tmp_path / "bag" / "thing").write_text("mine")
    process = start_recorder(tmp_path / "bag")
    output = process.communicate(timeout=30)[0]
    assert process.returncode == 2
    assert "not empty; record" in output
    assert "Traceback" not in output


def make_bag(path: Path) -> Path:
    with BagWriter(path) as writer:
        writer.add_topic("/imu/text", "std_msgs/msg/String", Qos(reliable=False))
        writer.add_topic("/made/text", "std_msgs/msg/String")
        for index in range(100):
            writer.write(
                "/imu/text" if index % 2 else "/made/text",
                5 * 10**9 + index * 5_000_000,
                text_message(str(index)),
            )
    return path


def listen(node: Any, bag: Path, **plan: Any) -> tuple[list[bytes], list[int]]:
    """Play ``bag``; return the received bytes by topic and the clock ticks in ns."""
    import threading

    from rosgraph_msgs.msg import Clock
    from std_msgs.msg import String

    from pallas_ros.nodes.player import Plan, Player

    heard: list[bytes] = []
    ticks: list[int] = []
    subscriptions = [
        node.create_subscription(String, topic, heard.append, 500, raw=True)
        for topic in ("/imu/text", "/made/text")
    ]
    subscriptions.append(
        node.create_subscription(
            Clock, "/clock", lambda m: ticks.append(m.clock.sec * 10**9 + m.clock.nanosec), 500
        )
    )
    player = Player(Bag(bag), Plan(wait=20.0, **plan))
    assert player.wait_for_subscribers()
    counts: list[int] = []
    thread = threading.Thread(target=lambda: counts.append(player.play()))
    thread.start()
    until(lambda: counts and len(heard) >= counts[0], node)
    thread.join()
    player.close()
    for subscription in subscriptions:
        node.destroy_subscription(subscription)
    return heard, ticks


def test_played_twice_it_is_the_same_bytes_in_the_same_order(node: Any, tmp_path: Path) -> None:
    bag = make_bag(tmp_path / "bag")
    first, ticks = listen(node, bag, rate=5.0, clock=100.0)
    second, _ = listen(node, bag, rate=5.0)
    assert len(first) == 100
    assert (
        sorted(first) == sorted(second) == sorted(message.data for message in Bag(bag).messages())
    )
    for topic in ("/imu/text", "/made/text"):
        recorded = [message.data for message in Bag(bag).messages({topic})]
        assert [data for data in first if data in recorded] == recorded
    assert ticks == sorted(ticks)
    assert ticks[-1] - ticks[0] <= 495_000_000
    assert {b - a for a, b in itertools.pairwise(ticks)} == {10_000_000}


def test_a_part_and_a_choice_of_topics(node: Any, tmp_path: Path) -> None:
    from pallas_ros.nodes.player import Plan, Player

    bag = make_bag(tmp_path / "bag")
    heard, _ = listen(node, bag, rate=0.0, start=0.1, duration=0.1, topics=["/imu/*"])
    assert [data[8:-1].decode() for data in heard] == [str(index) for index in range(21, 40, 2)]
    with pytest.raises(
        PallasError, match=r"nothing matches these patterns: it holds /imu/text, /made/text"
    ):
        Player(Bag(bag), Plan(topics=["/none"]))


def test_what_was_latched_before_the_start_is_played_first(node: Any, tmp_path: Path) -> None:
    with BagWriter(tmp_path / "bag") as bag:
        bag.add_topic("/made/text", "std_msgs/msg/String", Qos(latched=True))
        bag.add_topic("/imu/text", "std_msgs/msg/String")
        for text in ("old", "robot"):
            bag.write("/made/text", 10**9, text_message(text))
        for index in range(20):
            bag.write("/imu/text", 10**9 + index * 10**7, text_message(str(index)))
    heard, _ = listen(node, tmp_path / "bag", rate=0.0, start=0.175)
    assert sorted(data[8:-1].decode() for data in heard) == ["18", "19", "robot"]


def test_replay_of_no_bag_is_one_sentence(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "pallas_ros.cli", "replay", str(tmp_path / "nothing")],
        capture_output=True,
        text=True,
    )
    assert run.returncode == 2
    assert (
        run.stderr
        == f"pallas: {tmp_path / 'nothing'}: no such bag; give a rosbag2 folder, a .mcap or a .db3"
        " file\n"
    )


@pytest.mark.parametrize("duration", ["nan", "inf", "0", "-1"])
def test_a_duration_without_an_end_is_one_sentence(
    duration: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in ("replay", "record"):
        assert main([command, str(tmp_path / "bag"), f"--duration={duration}"]) == 2
        error = capsys.readouterr().err
        assert "give more than 0 s" in error
        assert len(error.splitlines()) == 1


def test_a_duration_counts_from_the_start_of_the_recording(ros_domain: int, tmp_path: Path) -> None:
    """Loading the node takes longer than this duration."""
    command = [sys.executable, "-m", "pallas_ros.cli", "record", str(tmp_path / "bag")]
    run = subprocess.run([*command, "--duration", "0.05"], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert f"to {tmp_path / 'bag'}" in run.stdout + run.stderr
    assert (tmp_path / "bag" / "metadata.yaml").exists()
    again = subprocess.run([*command, "--duration", "0.5"], capture_output=True, text=True)
    assert again.returncode == 2
    assert "not empty" in again.stderr


def test_repair_reports_what_it_kept(tmp_path: Path) -> None:
    bag = make_bag(tmp_path / "bag")
    file = bag / "bag_0.mcap"
    file.write_bytes(file.read_bytes()[:-200])
    (bag / "metadata.yaml").unlink()
    run = subprocess.run(
        [sys.executable, "-m", "pallas_ros.cli", "repair", str(bag)], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    assert "is repaired: 100 messages in 0.5 s are kept" in run.stdout
    assert Bag(bag).damage == ""
