"""Containers of other software and malicious ones: the error names the conversion, and time and
memory are limited.
"""

import json
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from bag_samples import STRING, text_message
from mcap.writer import CompressionType, Writer

from pallas_ros.bags import Bag, BagWriter
from pallas_ros.body.errors import PallasError
from pallas_ros.cli import main
from pallas_ros.imu.motions import demo_motion
from pallas_ros.imu.virtual import SensorNoise, VirtualSensors
from pallas_ros.pipeline.recorded import open_source

SECOND = 1_000_000_000


def foreign(path: Path, encoding: str, ros: int = 0) -> Path:
    """An MCAP file of ten messages in another encoding, and ``ros`` ROS 2 messages."""
    with path.open("wb") as stream:
        writer = Writer(stream)
        writer.start(profile="" if not ros else "ros2")
        schema = {"json": "jsonschema", "ros1": "ros1msg"}.get(encoding, encoding)
        of = writer.register_schema("Imu", schema, b"{}")
        other = writer.register_channel("/imu/pelvis", encoding, of)
        text = writer.register_schema(STRING, "ros2msg", b"string data")
        own = writer.register_channel("/text", "cdr", text)
        for k in range(10):
            writer.add_message(other, SECOND + k, b'{"x": 1}', SECOND + k)
        for k in range(ros):
            writer.add_message(own, SECOND + k, text_message(f"{k}"), SECOND + k)
        writer.finish()
    return path


COMMANDS = {
    "report": ["report", "{bag}", "-o", "{out}"],
    "process": ["process", "{bag}", "{out}"],
    "replay": ["replay", "{bag}"],
    "cut": ["cut", "{bag}", "--from", "0", "-o", "{out}"],
}


@pytest.mark.parametrize("encoding", ["json", "protobuf", "flatbuffer", "ros1", "cbor"])
def test_other_encodings_are_named_with_what_to_do(encoding: str, tmp_path: Path) -> None:
    bag = Bag(foreign(tmp_path / "a.mcap", encoding))
    with pytest.raises(PallasError, match=rf"/imu/pelvis are encoded as {encoding}.*convert them"):
        bag.require("/imu/pelvis")


@pytest.mark.parametrize("command", ["report", "process", "replay", "cut"])
def test_commands_say_so_in_one_sentence(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = foreign(tmp_path / "a.mcap", "protobuf")
    out = tmp_path / "out.npz"
    arguments = [word.format(bag=path, out=out) for word in COMMANDS[command]]
    assert main(arguments) != 0
    said = capsys.readouterr().err
    assert "encoded as protobuf" in said
    assert "Traceback" not in said
    assert not out.exists()


def test_ros_2_messages_in_a_mixed_file_are_read(tmp_path: Path) -> None:
    bag = Bag(foreign(tmp_path / "mixed.mcap", "json", ros=5))
    assert [message.data for _, message in bag.read("/text")] == [str(k) for k in range(5)]
    assert bag.encodings == {"/imu/pelvis": "json"}


@pytest.mark.parametrize("inside", [False, True])
def test_bags_of_ros_1_are_named_with_the_converter(inside: bool, tmp_path: Path) -> None:
    path = tmp_path / "walk.bag"
    path.write_bytes(b"#ROSBAG V2.0\n" + bytes(4096))
    with pytest.raises(PallasError, match=r"ROS 1.*--src \S*/walk\.bag --dst \S*/walk$"):
        Bag(tmp_path if inside else path)


def test_a_ros_1_mcap_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.mcap"
    with path.open("wb") as stream:
        writer = Writer(stream)
        writer.start(profile="ros1")
        writer.finish()
    with pytest.raises(PallasError, match="ROS 1"):
        Bag(path)


def bounded(path: Path) -> str:
    """Open and read a bag with limits on memory and time; return the error message, if any."""
    begun = time.process_time()
    tracemalloc.start()
    said = ""
    try:
        for _ in Bag(path).messages():
            pass
    except PallasError as error:
        said = str(error)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 160 << 20
    assert time.process_time() - begun < 10
    assert "\n" not in said
    return said


def test_megabytes_of_qos_do_not_hang(tmp_path: Path) -> None:
    """Six megabytes of YAML take a minute to parse."""
    path = tmp_path / "a.mcap"
    profile = "- history: 3\n  depth: 0\n  reliability: 1\n"
    with path.open("wb") as stream:
        writer = Writer(stream)
        writer.start(profile="ros2")
        schema = writer.register_schema(STRING, "ros2msg", b"string data")
        metadata = {"offered_qos_profiles": profile * 150_000}
        channel = writer.register_channel("/text", "cdr", schema, metadata)
        writer.add_message(channel, SECOND, text_message("x"), SECOND)
        writer.finish()
    bounded(path)


def test_chunks_that_inflate_without_end_are_bounded(tmp_path: Path) -> None:
    """400 chunks of a few hundred bytes each decompress to 256 MB."""
    path = tmp_path / "a.mcap"
    zeros = text_message("") + bytes(655_360)
    with path.open("wb") as stream:
        writer = Writer(stream, chunk_size=1, compression=CompressionType.ZSTD, enable_crcs=False)
        writer.start(profile="ros2")
        schema = writer.register_schema(STRING, "ros2msg", b"string data")
        channel = writer.register_channel("/text", "cdr", schema)
        for k in range(420):
            writer.add_message(channel, SECOND + k, zeros, SECOND + k)
        writer.finish()
    assert path.stat().st_size < 1 << 20
    bounded(path)


def test_an_honest_bag_that_compresses_well_is_read(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "bag", compression="zstd") as writer:
        writer.add_topic("/text", STRING)
        for k in range(50):
            writer.write("/text", SECOND + k, text_message("still " * 2000))
    assert bounded(tmp_path / "bag") == ""


def test_the_converter_of_the_guide_gives_a_bag_to_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = Path(__file__).parents[2] / "docs" / "guide" / "recording.md"
    code = page.read_text().partition("```python\n")[2].partition("```")[0]
    topics = {"pelvis": "/waist", "neck": "/neck", "left_wrist": "/left", "right_wrist": "/right"}
    stream = VirtualSensors(SensorNoise.none(), seed=1).samples(demo_motion(1.0), 60.0)
    monkeypatch.chdir(tmp_path)
    with Path("recorded.mcap").open("wb") as file:
        writer = Writer(file)
        writer.start()
        schema = writer.register_schema("sensor_msgs/Imu", "jsonschema", b"{}")
        channels = {
            site: writer.register_channel(topic, "json", schema) for site, topic in topics.items()
        }
        for site, sample in stream:
            stamp = {"sec": sample.stamp // SECOND, "nanosec": sample.stamp % SECOND}
            message = {"header": {"stamp": stamp}}
            for name, axes, values in (
                ("orientation", "xyzw", sample.orientation),
                ("linear_acceleration", "xyz", sample.acceleration),
                ("angular_velocity", "xyz", sample.angular_velocity),
            ):
                message[name] = dict(zip(axes, np.asarray(values).tolist(), strict=True))
            data = json.dumps(message).encode()
            writer.add_message(channels[site], sample.stamp, data, sample.stamp)
        writer.finish()
    exec(compile(code, str(page), "exec"), {})
    read = list(open_source(Path("converted")).samples)
    assert len(read) == len(stream)
    site, sample = read[20]
    assert sample is not None
    same = next(s for at, s in stream if at == site and s.stamp == sample.stamp)
    np.testing.assert_allclose(sample.acceleration, same.acceleration)
    np.testing.assert_allclose(np.asarray(sample.orientation), np.asarray(same.orientation))
