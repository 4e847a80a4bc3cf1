"""Bags that are unclosed, truncated, damaged or malicious: intact data is read, damage is
reported.
"""

import contextlib
import os
import signal
import sqlite3
import struct
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest
import zstandard
from bag_samples import KINDS, read_texts, write_texts
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from mcap.writer import Writer
from rosbags.highlevel import AnyReader

from pallas_ros.bags import Bag, BagWriter, repair
from pallas_ros.body.errors import PallasError


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


WRITER = """
import sys, time
from pathlib import Path
from pallas_ros.bags import BagWriter
sys.path.insert(0, sys.argv[3])
from bag_samples import STRING, text_message
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


def damaged_and_its_contents(path: Path) -> dict[str, bytes]:
    """Write a bag that is to be rewritten, and return its files."""
    write_texts(path)
    file = path / f"{path.name}_0.mcap"
    file.write_bytes(file.read_bytes()[:-3000])
    return {entry.name: entry.read_bytes() for entry in path.iterdir()}


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError("no space left")])
def test_a_repair_that_is_interrupted_puts_the_bag_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    path = tmp_path / "bag"
    before = damaged_and_its_contents(path)
    rename = os.rename
    calls = []

    def interrupted(source: Path, target: Path) -> None:
        calls.append(source)
        if len(calls) == 2:
            raise error
        rename(source, target)

    monkeypatch.setattr(os, "rename", interrupted)
    with pytest.raises((KeyboardInterrupt, PallasError)):
        repair(path)
    assert {entry.name: entry.read_bytes() for entry in path.iterdir()} == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["bag"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError("no access")])
def test_a_bag_that_cannot_be_put_back_is_not_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    path = tmp_path / "bag"
    before = damaged_and_its_contents(path)
    rename = os.rename
    calls = []

    def failing(source: Path, target: Path) -> None:
        calls.append(source)
        if len(calls) > 1:
            raise error
        rename(source, target)

    monkeypatch.setattr(os, "rename", failing)
    with pytest.raises((KeyboardInterrupt, PallasError)) as failed:
        repair(path)
    (left,) = tmp_path.glob(".bag.*/bag/original")
    assert {entry.name: entry.read_bytes() for entry in left.iterdir()} == before
    if isinstance(failed.value, PallasError):
        assert f"the bag is now {left}" in str(failed.value)


@pytest.fixture(scope="module")
def good_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """An intact bag file of each kind, as bytes."""
    folder = tmp_path_factory.mktemp("good")
    out = {}
    for storage, compression in KINDS:
        write_texts(folder / f"{storage}_{compression}", storage=storage, compression=compression)
        file = Bag(folder / f"{storage}_{compression}").files[0]
        out[f"{compression}{file.suffix}"] = file.read_bytes()
    return out


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(kind=st.sampled_from(["none.mcap", "lz4.mcap", "zstd.mcap"]), cut=st.floats(0, 1))
def test_a_truncated_bag_gives_its_beginning(
    good_files: dict[str, bytes], tmp_path: Path, kind: str, cut: float
) -> None:
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


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    kind=st.sampled_from(["none.mcap", "lz4.mcap", "zstd.mcap", "none.db3"]),
    places=st.lists(
        st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=8
    ),
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
    """A chunk of 1 GB of zeros in a few kB whose header states ``declared`` bytes."""
    compressor = zstandard.ZstdCompressor(level=1).compressobj()
    packed = b"".join(compressor.compress(bytes(1 << 20)) for _ in range(1024)) + compressor.flush()
    body = (
        struct.pack("<QQQI", 1, 2, declared, 0)
        + struct.pack("<I", 4)
        + b"zstd"
        + struct.pack("<Q", len(packed))
        + packed
    )
    header = struct.pack("<I", 4) + b"ros2" + struct.pack("<I", 0)
    path.write_bytes(
        b"\x89MCAP0\r\n"
        + struct.pack("<BQ", 1, len(header))
        + header
        + struct.pack("<BQ", 6, len(body))
        + body
    )


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
        (
            lambda path: (path.mkdir(), (path / "a.db3").write_text("hello" * 1000))[0],
            "not a readable rosbag2 sqlite3",
        ),
        (
            lambda path: (
                path.mkdir(),
                sqlite3.connect(path / "a.db3").execute("CREATE TABLE x(y)"),
            )[0],
            "not a readable rosbag2 sqlite3",
        ),
        (lambda path: (path.mkdir(), ros1_mcap(path / "a.mcap"))[0], "of ROS 1, not of ROS 2"),
        (lambda path: (path.mkdir(), (path / "a.mcap.zstd").write_bytes(b"x"))[0], "zstd -d"),
    ],
)
def test_other_files_than_bags_are_rejected_in_a_sentence(
    tmp_path: Path, make: object, says: str
) -> None:
    path = tmp_path / "thing"
    make(path)  # type: ignore[operator]
    with pytest.raises(PallasError, match=says) as caught:
        Bag(path)
    assert str(path) in str(caught.value)
