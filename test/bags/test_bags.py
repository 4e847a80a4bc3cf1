"""Bags: written and read by us and by the rosbags library, damaged in every way, and killed in the middle."""

import contextlib
import os
import shutil
import signal
import sqlite3
import struct
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import yaml
import zstandard
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from mcap.writer import Writer
from rosbags.highlevel import AnyReader
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from pallas_ros.bags import Bag, BagWriter, Qos, repair
from pallas_ros.bags.bodies import read_bodies
from pallas_ros.bags.types import message_definition
from pallas_ros.body.errors import PallasError
from pallas_ros.body.names import JOINTS

KINDS = [("mcap", "none"), ("mcap", "lz4"), ("mcap", "zstd"), ("sqlite3", "none")]
STRING = "std_msgs/msg/String"


def text_message(text: str) -> bytes:
    """A std_msgs/String in CDR."""
    data = text.encode() + b"\0"
    return b"\0\1\0\0" + struct.pack("<I", len(data)) + data


def body_message(stamp: int) -> bytes:
    """A pallas/BodyPose whose joint i stands at (i, stamp, 0)."""
    store = get_typestore(Stores.ROS2_JAZZY)
    store.register(get_types_from_msg(message_definition("pallas/msg/BodyPose")[0], "pallas/msg/BodyPose"))
    types = store.types
    time = types["builtin_interfaces/msg/Time"](sec=stamp // 10**9, nanosec=stamp % 10**9)
    pose, point, quaternion = (types[f"geometry_msgs/msg/{name}"] for name in ("Pose", "Point", "Quaternion"))
    names = [*JOINTS[::-1], "tail"]  # another order, and a joint more
    message = types["pallas/msg/BodyPose"](
        header=types["std_msgs/msg/Header"](stamp=time, frame_id="odom"),
        body_id="operator",
        joint_names=names,
        poses=[
            pose(
                position=point(x=float(JOINTS.index(name)) if name in JOINTS else -1.0, y=float(stamp), z=0.0),
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


def write_texts(path: Path, count: int = 200, **options: object) -> list[str]:
    """A bag of ``count`` numbered texts on two topics, 10 ms apart, a chunk every ten."""
    texts = [f"message {index}" for index in range(count)]
    with BagWriter(path, **options) as writer:
        writer.add_topic("/even", STRING, Qos(reliable=False))
        writer.add_topic("/odd", STRING, Qos(latched=True))
        for index, text in enumerate(texts):
            writer.write("/odd" if index % 2 else "/even", 10**9 + index * 10**7, text_message(text))
            if index % 10 == 9:
                writer.flush()
    return texts


def read_texts(path: Path) -> list[str]:
    bag = Bag(path)
    return [bag.decode(message).data for message in bag.messages()]


@pytest.mark.parametrize(("storage", "compression"), KINDS)
def test_round_trip_and_the_rosbags_library_agrees(tmp_path: Path, storage: str, compression: str) -> None:
    path = tmp_path / "bag"
    texts = write_texts(path, storage=storage, compression=compression)
    bag = Bag(path)
    assert read_texts(path) == texts
    assert (bag.count, bag.first, bag.last, bag.damage) == (200, 10**9, 10**9 + 199 * 10**7, "")
    assert bag.topics["/odd"].qos == Qos(latched=True)
    assert bag.topics["/even"].qos == Qos(reliable=False)
    some = [bag.decode(message).data for message in bag.messages({"/odd"}, 10**9 + 5 * 10**7, 10**9 + 10 * 10**7)]
    assert some == ["message 5", "message 7", "message 9"]
    with AnyReader([path]) as reader:  # no default types: the definitions come out of the bag
        seen = [(connection.topic, reader.deserialize(data, connection.msgtype).data) for connection, _, data in reader.messages()]
        hashes = {connection.digest for connection in reader.connections}
    assert [text for _, text in seen] == texts
    assert {topic for topic, _ in seen} == {"/even", "/odd"}
    assert hashes == {message_definition(STRING)[1]}


@pytest.mark.parametrize("cut", [False, True])
@pytest.mark.parametrize(("storage", "compression"), KINDS)
def test_a_part_of_a_bag_is_what_lies_between_its_stamps(tmp_path: Path, storage: str, compression: str, cut: bool) -> None:
    write_texts(tmp_path / "bag", storage=storage, compression=compression)
    if cut and storage == "mcap":
        file = Bag(tmp_path / "bag").files[0]
        file.write_bytes(file.read_bytes()[: int(file.stat().st_size * 0.6)])
    bag = Bag(tmp_path / "bag")
    everything = list(bag.messages())
    for begin, end in ((0, 50), (55, 56), (90, 131), (123, 10**6), (10**6, 10**7)):
        start, stop = 10**9 + begin * 10**7, 10**9 + end * 10**7
        assert list(bag.messages(None, start, stop)) == [message for message in everything if start <= message.stamp < stop]
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
    files = yaml.safe_load((tmp_path / "time" / "metadata.yaml").read_text())["rosbag2_bagfile_information"]["relative_file_paths"]
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


def test_a_file_that_was_just_begun_when_the_recorder_died_is_no_obstacle(tmp_path: Path) -> None:
    texts = write_texts(tmp_path / "bag", split_seconds=0.5)
    last = Bag(tmp_path / "bag").files[-1]
    last.with_name("bag_4.mcap").write_bytes(b"")
    (tmp_path / "bag" / "metadata.yaml").unlink()
    assert read_texts(tmp_path / "bag") == texts
    assert "bag_4.mcap is empty" in Bag(tmp_path / "bag").damage
    assert repair(tmp_path / "bag").messages == len(texts)
    with BagWriter(tmp_path / "fresh") as writer:
        assert Bag(writer.path).count == 0  # before anything was written, read by another


def test_messages_out_of_order_come_in_the_order_of_their_stamps(tmp_path: Path) -> None:
    stamps = [3, 1, 2, 6, 4, 5, 9, 7, 8]
    with BagWriter(tmp_path / "bag") as writer:
        writer.add_topic("/t", STRING)
        for index, stamp in enumerate(stamps):
            writer.write("/t", stamp, text_message(str(stamp)))
            if index % 2:
                writer.flush()
    assert [message.stamp for message in Bag(tmp_path / "bag").messages()] == sorted(stamps)


WRITER = """
import sys, time
from pathlib import Path
from pallas_ros.bags import BagWriter
sys.path.insert(0, sys.argv[3])
from test_bags import STRING, text_message
writer = BagWriter(Path(sys.argv[1]), storage=sys.argv[2])
writer.add_topic("/t", STRING)
while True:
    stamp = time.monotonic_ns()
    writer.write("/t", stamp, text_message(str(stamp)))
    sys.stdout.write(f"{stamp}\\n"); sys.stdout.flush()
    time.sleep(0.002)
"""


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_kill_nine_costs_at_most_the_last_second(tmp_path: Path, storage: str) -> None:
    path = tmp_path / "bag"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", WRITER, str(path), storage, str(Path(__file__).parent)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        written = [int(process.stdout.readline()) for _ in range(600)]
        process.send_signal(signal.SIGKILL)
        written += [int(line) for line in process.stdout if line.endswith("\n")]
    assert not (path / "metadata.yaml").exists()
    bag = Bag(path)
    kept = [message.stamp for message in bag.messages()]
    assert "was not closed" in bag.damage
    assert kept == written[: len(kept)]
    assert written[-1] - kept[-1] <= 10**9
    found = repair(path)
    assert found.messages == len(kept)
    assert Bag(path).damage == ""
    with AnyReader([path]) as reader:
        assert [stamp for _, stamp, _ in reader.messages()] == kept
    assert repair(path).damage == ""  # a second time there is nothing to do
    assert [entry.name for entry in tmp_path.iterdir()] == ["bag"]


def test_a_repair_that_fails_leaves_the_bag_as_it_was(tmp_path: Path) -> None:
    write_texts(tmp_path / "bag")
    (tmp_path / "bag" / "metadata.yaml").unlink()
    file = tmp_path / "bag" / "bag_0.mcap"
    before = file.read_bytes()

    def full(_: int) -> None:
        raise OSError("no space left on device")

    write_texts(tmp_path / "long", 2000)
    (tmp_path / "long" / "metadata.yaml").unlink()
    with pytest.raises(PallasError, match="no space left"):
        repair(tmp_path / "long", progress=full)
    assert len(read_texts(tmp_path / "long")) == 2000
    assert repair(tmp_path / "bag").damage == "metadata.yaml was missing"
    assert file.read_bytes()[:8] == before[:8]
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["bag", "long"]


@pytest.fixture(scope="module")
def good_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A sound bag file of each kind, as bytes."""
    folder = tmp_path_factory.mktemp("good")
    out = {}
    for storage, compression in KINDS:
        write_texts(folder / f"{storage}_{compression}", storage=storage, compression=compression)
        file = Bag(folder / f"{storage}_{compression}").files[0]
        out[f"{compression}{file.suffix}"] = file.read_bytes()
    return out


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kind=st.sampled_from(["none.mcap", "lz4.mcap", "zstd.mcap"]), cut=st.floats(0, 1))
def test_a_truncated_bag_gives_its_beginning(good_files: dict[str, bytes], tmp_path: Path, kind: str, cut: float) -> None:
    data = good_files[kind]
    file = tmp_path / f"bag{Path(kind).suffix}"
    file.write_bytes(data[: int(cut * len(data))])
    if int(cut * len(data)) < 8:
        with pytest.raises(PallasError, match="not an MCAP file"):
            Bag(file)
        return
    texts = read_texts(file)
    assert texts == [f"message {index}" for index in range(len(texts))]
    assert len(texts) % 10 == 0


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from(["none.mcap", "lz4.mcap", "zstd.mcap", "none.db3"]),
    places=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=8),
)
@example(kind="none.mcap", places=[(0.001953125, 128)])  # a header that is no UTF-8
def test_a_damaged_bag_never_ends_in_a_traceback(
    good_files: dict[str, bytes], tmp_path: Path, kind: str, places: list[tuple[float, int]]
) -> None:
    data = bytearray(good_files[kind])
    for place, value in places:
        data[int(place * len(data))] = value
    file = tmp_path / f"bag{Path(kind).suffix}"
    file.write_bytes(data)
    with contextlib.suppress(PallasError):
        bag = Bag(file)
        for message in bag.messages():
            with contextlib.suppress(PallasError):
                bag.decode(message)


def ros1_mcap(path: Path) -> None:
    with path.open("wb") as stream:
        writer = Writer(stream)
        writer.start(profile="ros1")
        writer.finish()


def bomb(path: Path, declared: int) -> None:
    """A chunk of 1 GB of zeros in a few kB, which says it is ``declared`` bytes."""
    compressor = zstandard.ZstdCompressor(level=1).compressobj()
    packed = b"".join(compressor.compress(bytes(1 << 20)) for _ in range(1024)) + compressor.flush()
    body = struct.pack("<QQQI", 1, 2, declared, 0) + struct.pack("<I", 4) + b"zstd" + struct.pack("<Q", len(packed)) + packed
    header = struct.pack("<I", 4) + b"ros2" + struct.pack("<I", 0)
    path.write_bytes(b"\x89MCAP0\r\n" + struct.pack("<BQ", 1, len(header)) + header + struct.pack("<BQ", 6, len(body)) + body)


@pytest.mark.parametrize("declared", [1 << 10, 1 << 30, 1 << 62])
def test_a_chunk_that_would_fill_the_memory_is_refused(tmp_path: Path, declared: int) -> None:
    bomb(tmp_path / "bag.mcap", declared)
    tracemalloc.start()
    bag = Bag(tmp_path / "bag.mcap")
    assert list(bag.messages()) == []
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert bag.damage
    assert peak < 50e6


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda path: None, "no such bag"),
        (lambda path: path.mkdir(), "no .mcap or .db3 file"),
        (lambda path: path.write_text("x"), "not a bag"),
        (lambda path: (path.mkdir(), (path / "a.mcap").write_text("hello"))[0], "not an MCAP file"),
        (lambda path: (path.mkdir(), (path / "a.mcap").write_bytes(b""))[0], "not an MCAP file"),
        (lambda path: (path.mkdir(), (path / "a.db3").write_text("hello" * 1000))[0], "not a readable rosbag2 sqlite3"),
        (lambda path: (path.mkdir(), sqlite3.connect(path / "a.db3").execute("CREATE TABLE x(y)"))[0], "not a readable rosbag2 sqlite3"),
        (lambda path: (path.mkdir(), ros1_mcap(path / "a.mcap"))[0], "of 'ros1', not of ROS 2"),
        (lambda path: (path.mkdir(), (path / "a.mcap.zstd").write_bytes(b"x"))[0], "zstd -d"),
    ],
)
def test_what_is_no_bag_is_refused_in_a_sentence(tmp_path: Path, make: object, says: str) -> None:
    path = tmp_path / "thing"
    make(path)  # type: ignore[operator]
    with pytest.raises(PallasError, match=says) as caught:
        Bag(path)
    assert str(path) in str(caught.value)


def test_a_topic_that_is_missing_is_named_with_those_that_are_there(tmp_path: Path) -> None:
    write_texts(tmp_path / "bag")
    with pytest.raises(PallasError, match=r"no messages on /pallas/body in this bag; it holds /even, /odd"):
        Bag(tmp_path / "bag").require("/even", "/pallas/body")


def test_a_folder_in_use_is_refused_and_left_alone(tmp_path: Path) -> None:
    texts = write_texts(tmp_path / "bag")
    with pytest.raises(PallasError, match="something in it already"):
        BagWriter(tmp_path / "bag")
    assert read_texts(tmp_path / "bag") == texts


def test_a_type_nobody_defines_is_refused(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "bag") as writer, pytest.raises(PallasError, match="no definition of message type nobody_msgs/msg/Thing"):
        writer.add_topic("/t", "nobody_msgs/msg/Thing")


def test_a_type_of_another_package_is_found_in_the_ros_installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "share" / "robot_msgs" / "msg"
    folder.mkdir(parents=True)
    (folder / "Inner.msg").write_text("float64 x\n")
    (folder / "Outer.msg").write_text("std_msgs/Header header\nInner[] parts\n")
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path))
    definition, digest = message_definition("robot_msgs/msg/Outer")
    assert "MSG: robot_msgs/Inner" in definition
    assert digest.startswith("RIHS01_")


@pytest.mark.parametrize("text", ["", "[", "- 5", "- {depth: x}", "[[[]]]", "{}", "- {reliability: 2, durability: 1, depth: 1}"])
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
    short, long = chunks(tmp_path / "short", 300), chunks(tmp_path / "long", 6000)
    peak_of_reading(short)  # fills the caches of types
    assert peak_of_reading(long) < peak_of_reading(short) + 300_000
    shutil.rmtree(long)
