"""A full disk and a power cut: counted messages are in the file, and synced messages are on
disk.
"""

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from bag_samples import STRING, text_message

from pallas_ros.bags import Bag, BagWriter, repair
from pallas_ros.body.errors import PallasError

LIMIT = 300_000  # bytes a file may have

FILL = """
import resource, sys
from pathlib import Path
from pallas_ros.bags import BagWriter
from pallas_ros.body.errors import PallasError
sys.path.insert(0, sys.argv[4])
from bag_samples import STRING, text_message
path, storage, every = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
writer = BagWriter(path, storage=storage, compression="none")
writer.add_topic("/a", STRING)
writer.add_topic("/b", STRING)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[5]),) * 2)
try:
    for number in range(100_000):
        writer.write("/a" if number % 3 else "/b", number + 1, text_message(f"{number:0100d}"))
        if number % every == every - 1:
            writer.flush()
except PallasError as error:
    print(error)
print(writer.count, writer.topics["/a"], writer.topics["/b"], writer.closed)
try:
    writer.write("/a", 1, b"")
except PallasError:
    writer.close()
    print("refused")
"""


@pytest.mark.parametrize("every", [1, 50, 100_000])  # the last one: never
@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_messages_counted_on_a_full_disk_are_in_the_file(
    tmp_path: Path, storage: str, every: int
) -> None:
    path = tmp_path / "bag"
    command = [
        sys.executable,
        "-c",
        FILL,
        str(path),
        storage,
        str(every),
        str(Path(__file__).parent),
        str(LIMIT),
    ]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    run = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert run.returncode == 0, run.stderr
    sentence, counts, refused = run.stdout.splitlines()
    assert "recording stopped" in sentence
    assert "`pallas repair`" in sentence
    assert refused == "refused"
    count, a, b, closed = counts.split()
    bag = Bag(path)
    assert closed == "True"
    assert f"{count} messages are in the bag" in sentence
    assert bag.count == sum(1 for _ in bag.messages()) == int(count)
    assert {name: topic.count for name, topic in bag.topics.items()} == {"/a": int(a), "/b": int(b)}
    assert [message.stamp for message in bag.messages()] == list(range(1, int(count) + 1))
    if int(count):
        assert repair(path).messages == int(count)
        assert Bag(path).check() == ""


def test_a_disk_that_is_full_only_for_the_index_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = BagWriter(tmp_path / "bag")
    writer.add_topic("/t", STRING)
    for number in range(100):
        writer.write("/t", number + 1, text_message(str(number)))
    writer.flush()
    write = os.write
    room = 100  # bytes: a part of the index

    def full(number: int, data: bytes) -> int:
        nonlocal room
        if room <= 0:
            raise OSError(28, "No space left on device")
        done = write(number, bytes(data)[:room])
        room -= done
        return done

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(PallasError, match="No space left on device; 100 messages are in the bag;"):
        writer.close()
    monkeypatch.undo()
    assert writer.count == 100
    assert sum(1 for _ in Bag(tmp_path / "bag").messages()) == 100
    assert repair(tmp_path / "bag").messages == 100


def test_a_power_cut_costs_what_came_in_since_the_last_sync(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync = os.fsync
    synced = list[tuple[float, int]]()
    folders = list[str]()

    def noted(number: int) -> None:
        size = os.fstat(number).st_size
        fsync(number)
        target = os.readlink(f"/proc/self/fd/{number}")
        (
            synced.append((time.monotonic(), size))
            if target.endswith(".mcap")
            else folders.append(target)
        )

    monkeypatch.setattr(os, "fsync", noted)
    writer = BagWriter(tmp_path / "bag", sync_every=0.2, flush_every=0.1)
    writer.add_topic("/t", STRING)
    begun = time.monotonic()
    file = tmp_path / "bag" / "bag_0.mcap"
    written = []
    while time.monotonic() - begun < 1.0:
        written.append(time.monotonic_ns())
        writer.write("/t", written[-1], text_message("x" * 50))
        time.sleep(0.002)
    assert len(synced) >= 3
    assert len(synced) <= 7  # once at the beginning, then every 0.2 s
    at, size = synced[-1]
    cut = tmp_path / "cut.mcap"  # what is on the disk if the power fails now
    cut.write_bytes(file.read_bytes()[:size])
    kept = [message.stamp for message in Bag(cut).messages()]
    assert kept == written[: len(kept)]
    assert (at * 1e9 - kept[-1]) / 1e9 < 0.2 + 0.1 + (at - synced[-2][0])
    writer.close()
    assert synced[-1][1] == file.stat().st_size
    assert str(tmp_path / "bag") in folders  # the names of the files, too
    assert any("metadata" in name for name in folders)


def test_sqlite3_waits_for_the_disk_once_in_a_while(tmp_path: Path) -> None:
    strace = Path("/usr/bin/strace")
    if not strace.exists():
        pytest.skip("needs strace")
    script = (
        "import time; from pathlib import Path; from pallas_ros.bags import BagWriter\nbegun ="
        f" time.monotonic()\nw = BagWriter(Path({str(tmp_path / 'bag')!r}), storage='sqlite3',"
        " flush_every=0.05, sync_every=0.2)\nw.add_topic('/t', 'std_msgs/msg/String')\nfor k in"
        " range(200): w.write('/t', k + 1, b'0' * 50);"
        " time.sleep(0.005)\nw.close()\nprint(time.monotonic() - begun)"
    )
    command = [str(strace), "-f", "-e", "trace=fsync,fdatasync", "-o", str(tmp_path / "trace")]
    run = subprocess.run(
        [*command, sys.executable, "-c", script], check=True, capture_output=True, text=True
    )
    synced = (tmp_path / "trace").read_text().count("sync(")
    # a commit syncs its journal twice, the file and the folder; each of the 20 flushes did not
    assert 4 <= synced <= 12 + 4 * float(run.stdout) / 0.2


def full_disk() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, LIMIT))


@pytest.mark.ros
def test_a_recorder_with_a_full_disk_reports_the_contents_and_fails(
    ros_domain: int, tmp_path: Path
) -> None:
    rclpy = pytest.importorskip("rclpy")
    from std_msgs.msg import String

    from pallas_ros.ros.qos import STREAM

    path = tmp_path / "bag"
    words = ["record", str(path), "--topics", "/text", "--compression", "none"]
    process = subprocess.Popen(
        [sys.executable, "-m", "pallas_ros.cli", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=full_disk,
    )
    rclpy.init()
    try:
        node = rclpy.create_node("tester")
        publisher = node.create_publisher(String, "/text", STREAM)
        end = time.monotonic() + 90
        while process.poll() is None and time.monotonic() < end:
            publisher.publish(String(data="x" * 2000))
            rclpy.spin_once(node, timeout_sec=0.005)
        node.destroy_node()
    finally:
        rclpy.shutdown()
        process.kill() if process.poll() is None else None
        said = process.communicate()[0]
    assert process.returncode == 2, said
    last = said.strip().splitlines()[-1]
    count = sum(1 for _ in Bag(path).messages())
    assert count
    assert f"{count} messages are in the bag" in last
    assert "Traceback" not in said


def slow(seconds: float, how: str) -> str:
    """A program that announces, like a recorder, that it needs time to end."""
    work = "sum(range(10000))" if how == "works" else "time.sleep(0.05)"
    return (
        "import signal, sys, time\n"
        "def stop(*_):\n"
        "    print('[INFO] [1.5] [recorder]: closing bag: 5 messages', flush=True)\n"
        f"    end = time.monotonic() + {seconds}\n"
        f"    while time.monotonic() < end: {work}\n"
        "    sys.exit(0)\n"
        "signal.signal(signal.SIGINT, stop)\n"
        "print('ready', flush=True)\n"
        "while True: time.sleep(0.1)\n"
    )


@pytest.mark.parametrize("how", ["works", "hangs", "is given up"])
def test_who_closes_a_recording_is_waited_for_while_it_makes_progress(
    how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pallas_ros.graph import processes as module

    monkeypatch.setattr(module, "STOP_S", 0.5)
    monkeypatch.setattr(module, "PATIENCE_S", 1.5)
    said: list[str] = []
    processes: Any = module.Processes(said.append)
    program = slow(60.0 if how != "works" else 3.0, "works" if how == "is given up" else how)
    processes.start("recorder", [sys.executable, "-c", program], environment=dict(os.environ))
    while "ready" not in said:
        processes.watch(0.1)
    if how == "is given up":
        processes.hurry()  # before it was announced it does nothing
        monkeypatch.setattr(processes, "_say", lambda line: (said.append(line), processes.hurry()))
    killed = processes.stop()
    assert killed == ([] if how == "works" else ["recorder"])
    assert any("waiting for recorder to close" in line for line in said)
    returncode = processes.children[0].process.returncode
    assert returncode == (0 if how == "works" else -signal.SIGKILL)


_ENDS = """
import signal, sys, time
from pallas_ros.runtime import whereabouts
if {answers}:
    whereabouts.answer()
def compute():
    while True: sum(range(10000))
def wait():
    time.sleep(60.0)
def end():
    began = time.monotonic()
    while time.monotonic() < began + 1.0: sum(range(10000))
    sys.exit(0)
signal.signal(signal.SIGINT, lambda *_: {how}())
print("ready", flush=True)
while True: time.sleep(0.1)
"""


@pytest.mark.parametrize(
    ("how", "answers", "killed"),
    [("end", True, False), ("compute", True, True), ("wait", True, True), ("wait", False, True)],
)
def test_a_busy_node_has_longer_to_end_and_a_killed_one_reports_its_stack(
    how: str, answers: bool, killed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a busy machine a node takes several times as long to end."""
    from pallas_ros.graph import processes as module

    monkeypatch.setattr(module, "STOP_S", 0.2)
    monkeypatch.setattr(module, "BUSY_S", 60.0 if how == "end" else 2.0)
    said: list[str] = []
    processes: Any = module.Processes(said.append)
    program = _ENDS.format(how=how, answers=answers)
    processes.start("node", [sys.executable, "-c", program], environment=dict(os.environ))
    while "ready" not in said:
        processes.watch(0.1)
    assert processes.stop() == (["node"] if killed else [])
    child = processes.children[0]
    assert child.process.returncode == (-signal.SIGKILL if killed else 0)
    assert f"{how} (<string>:" in child.place if killed and answers else not child.place
    assert said == ["ready"]


def test_what_fails_in_a_with_block_leaves_a_closed_bag(tmp_path: Path) -> None:
    writer = BagWriter(tmp_path / "bag")
    writer.add_topic("/t", STRING)
    with pytest.raises(ZeroDivisionError), writer:
        _ = 1 / 0
    assert writer.closed
    assert Bag(tmp_path / "bag").damage == ""
