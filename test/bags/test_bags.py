"""Bags, written and read by this package and by the rosbags library."""

import shutil
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import yaml
from bag_samples import KINDS, STRING, read_texts, text_message, write_texts
from rosbags.highlevel import AnyReader
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from pallas_ros.bags import Bag, BagWriter, Qos
from pallas_ros.bags.bodies import read_bodies
from pallas_ros.bags.types import message_definition
from pallas_ros.body.errors import PallasError
from pallas_ros.body.names import JOINTS


def body_message(stamp: int) -> bytes:
    """A pallas/BodyPose whose joint i is at (i, stamp, 0)."""
    store = get_typestore(Stores.ROS2_JAZZY)
    store.register(
        get_types_from_msg(message_definition("pallas/msg/BodyPose")[0], "pallas/msg/BodyPose")
    )
    types = store.types
    time = types["builtin_interfaces/msg/Time"](sec=stamp // 10**9, nanosec=stamp % 10**9)
    pose, point, quaternion = (
        types[f"geometry_msgs/msg/{name}"] for name in ("Pose", "Point", "Quaternion")
    )
    names = [*JOINTS[::-1], "tail"]  # another order, and a joint more
    message = types["pallas/msg/BodyPose"](
        header=types["std_msgs/msg/Header"](stamp=time, frame_id="odom"),
        body_id="operator",
        joint_names=names,
        poses=[
            pose(
                position=point(
                    x=float(JOINTS.index(name)) if name in JOINTS else -1.0, y=float(stamp), z=0.0
                ),
                orientation=quaternion(x=0.0, y=0.0, z=0.0, w=1.0),
            )
            for name in names
        ],
        position_covariance=np.tile(np.eye(3).ravel(), len(names)),
        valid=np.ones(len(names), dtype=bool),
        confidence=np.full(len(names), 0.5, dtype=np.float32),
        foot_contact=np.array([1, 0], dtype=np.float32),
        newest_input=time,
        remarks=["all well"],
    )
    return bytes(store.serialize_cdr(message, "pallas/msg/BodyPose"))


@pytest.mark.parametrize(("storage", "compression"), KINDS)
def test_round_trip_and_the_rosbags_library_agrees(
    tmp_path: Path, storage: str, compression: str
) -> None:
    path = tmp_path / "bag"
    texts = write_texts(path, storage=storage, compression=compression)
    bag = Bag(path)
    assert read_texts(path) == texts
    assert (bag.count, bag.first, bag.last, bag.damage) == (200, 10**9, 10**9 + 199 * 10**7, "")
    assert bag.topics["/odd"].qos == Qos(latched=True)
    assert bag.topics["/even"].qos == Qos(reliable=False)
    some = [
        bag.decode(message).data
        for message in bag.messages({"/odd"}, 10**9 + 5 * 10**7, 10**9 + 10 * 10**7)
    ]
    assert some == ["message 5", "message 7", "message 9"]
    with AnyReader([path]) as reader:  # no default types: the definitions come out of the bag
        seen = [
            (connection.topic, reader.deserialize(data, connection.msgtype).data)
            for connection, _, data in reader.messages()
        ]
        hashes = {connection.digest for connection in reader.connections}
    assert [text for _, text in seen] == texts
    assert {topic for topic, _ in seen} == {"/even", "/odd"}
    assert hashes == {message_definition(STRING)[1]}


@pytest.mark.parametrize("cut", [False, True])
@pytest.mark.parametrize(("storage", "compression"), KINDS)
def test_a_part_of_a_bag_is_between_its_stamps(
    tmp_path: Path, storage: str, compression: str, cut: bool
) -> None:
    write_texts(tmp_path / "bag", storage=storage, compression=compression)
    if cut and storage == "mcap":
        file = Bag(tmp_path / "bag").files[0]
        file.write_bytes(file.read_bytes()[: int(file.stat().st_size * 0.6)])
    bag = Bag(tmp_path / "bag")
    everything = list(bag.messages())
    for begin, end in ((0, 50), (55, 56), (90, 131), (123, 10**6), (10**6, 10**7)):
        start = 10**9 + begin * 10**7
        stop = 10**9 + end * 10**7
        assert list(bag.messages(None, start, stop)) == [
            message for message in everything if start <= message.stamp < stop
        ]
        assert list(bag.messages({"/odd"}, start)) == [
            message for message in everything if message.topic == "/odd" and message.stamp >= start
        ]


def test_a_single_file_reads_like_its_folder(tmp_path: Path) -> None:
    texts = write_texts(tmp_path / "bag")
    assert read_texts(tmp_path / "bag" / "bag_0.mcap") == texts


def test_bodies_travel_with_their_definition_in_any_joint_order(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "bag") as writer:
        writer.add_topic("/pallas/body", "pallas/msg/BodyPose")
        for stamp in (7, 9):
            writer.write("/pallas/body", stamp + 100, body_message(stamp))
        writer.write("/pallas/body", 200, body_message(11)[:500])  # damaged: left out
    (first, body), (second, _) = read_bodies(Bag(tmp_path / "bag"), "/pallas/body")
    assert (first, second) == (107, 109)
    np.testing.assert_array_equal(body.positions[:, 0], np.arange(22))
    np.testing.assert_array_equal(body.positions[:, 1], 7)
    assert body.covariance is not None
    assert body.covariance.shape == (22, 3, 3)
    assert (body.stamp, body.newest_input, body.remarks) == (7, 7, ("all well",))
    with AnyReader([tmp_path / "bag"]) as reader:
        connection, _, data = next(reader.messages())
        assert reader.deserialize(data, connection.msgtype).joint_names[-1] == "tail"


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_split_by_time_and_by_size(tmp_path: Path, storage: str) -> None:
    texts = write_texts(tmp_path / "time", storage=storage, split_seconds=0.5)
    files = yaml.safe_load((tmp_path / "time" / "metadata.yaml").read_text())[
        "rosbag2_bagfile_information"
    ]["relative_file_paths"]
    suffix = ".mcap" if storage == "mcap" else ".db3"
    assert files == [f"time_{index}{suffix}" for index in range(4)]
    assert read_texts(tmp_path / "time") == texts
    with AnyReader([tmp_path / "time"]) as reader:
        assert len(list(reader.messages())) == 200
    write_texts(tmp_path / "size", storage=storage, split_bytes=3000, compression="none")
    assert len(Bag(tmp_path / "size").files) > 2
    assert read_texts(tmp_path / "size") == texts


def test_splits_beyond_ten_stay_in_order(tmp_path: Path) -> None:
    texts = write_texts(tmp_path / "bag", split_seconds=0.1)
    assert len(Bag(tmp_path / "bag").files) == 20
    assert read_texts(tmp_path / "bag") == texts


def test_messages_out_of_order_come_in_the_order_of_their_stamps(tmp_path: Path) -> None:
    stamps = [3, 1, 2, 6, 4, 5, 9, 7, 8]
    with BagWriter(tmp_path / "bag") as writer:
        writer.add_topic("/t", STRING)
        for index, stamp in enumerate(stamps):
            writer.write("/t", stamp, text_message(str(stamp)))
            if index % 2:
                writer.flush()
    assert [message.stamp for message in Bag(tmp_path / "bag").messages()] == sorted(stamps)


def test_a_topic_that_is_missing_is_named_with_those_that_are_there(tmp_path: Path) -> None:
    write_texts(tmp_path / "bag")
    with pytest.raises(
        PallasError, match=r"no messages on /pallas/body in this bag; it holds /even, /odd"
    ):
        Bag(tmp_path / "bag").require("/even", "/pallas/body")


def test_a_folder_in_use_is_refused_and_left_alone(tmp_path: Path) -> None:
    texts = write_texts(tmp_path / "bag")
    with pytest.raises(PallasError, match="not empty; record"):
        BagWriter(tmp_path / "bag")
    assert read_texts(tmp_path / "bag") == texts


def test_an_undefined_type_is_rejected(tmp_path: Path) -> None:
    with (
        BagWriter(tmp_path / "bag") as writer,
        pytest.raises(PallasError, match="no definition of message type nobody_msgs/msg/Thing"),
    ):
        writer.add_topic("/t", "nobody_msgs/msg/Thing")


def test_a_type_of_another_package_is_found_in_the_ros_installation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "share" / "robot_msgs" / "msg"
    folder.mkdir(parents=True)
    (folder / "Inner.msg").write_text("float64 x\n")
    (folder / "Outer.msg").write_text("std_msgs/Header header\nInner[] parts\n")
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path))
    definition, digest = message_definition("robot_msgs/msg/Outer")
    assert "MSG: robot_msgs/Inner" in definition
    assert digest.startswith("RIHS01_")


@pytest.mark.parametrize(
    "text",
    ["", "[", "- 5", "- {depth: x}", "[[[]]]", "{}", "- {reliability: 2, durability: 1, depth: 1}"],
)
def test_qos_text_of_any_kind_is_read(text: str) -> None:
    assert isinstance(Qos.parse(text), Qos)
    assert Qos.parse(Qos(False, True, 3).dump()) == Qos(False, True, 3)


def chunks(path: Path, count: int) -> Path:
    with BagWriter(path, compression="none") as writer:
        writer.add_topic("/t", STRING)
        for index in range(count):
            writer.write("/t", index, text_message("x" * 20))
            writer.flush()
    return path


def peak_of_reading(path: Path) -> int:
    tracemalloc.start()
    sum(1 for _ in Bag(path).messages())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def test_memory_does_not_grow_with_the_length_of_the_bag(tmp_path: Path) -> None:
    short = chunks(tmp_path / "short", 300)
    long = chunks(tmp_path / "long", 6000)
    peak_of_reading(short)  # fills the caches of types
    assert peak_of_reading(long) < peak_of_reading(short) + 300_000
    shutil.rmtree(long)
