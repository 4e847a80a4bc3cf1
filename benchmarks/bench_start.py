"""Start and stop the whole graph repeatedly; count gaps, lost messages and leftovers of each cycle.

    python benchmarks/bench_start.py --cycles 30 --seconds 8
    python benchmarks/bench_start.py --cycles 5 -- --single-process operator:=auto

Each cycle runs `pallas up` in separate processes, waits until the graph is up, listens for some
seconds and ends it with Ctrl-C. Nothing is recorded: this process listens like any other
subscriber, from the first body to the last. Its middleware has the nodes' real-time priority if
that is permitted: on two cores, seven processes that end at once delay a normal one by 0.1 s.

up        s from the start of the command to the first body
bodies    messages on /pallas/body
gap       ms, longest time between two bodies as received here; of /pallas/body and /hpstm/body
skipped   frames of the 60 Hz grid between the first and the last body without a body
lost      messages not received: here, by the middleware's sequence numbers from number 1 on; by the
          nodes, according to their `/diagnostics`, of the messages received here
stop      s from Ctrl-C to the end of the command
left      processes, unused files in shared memory, and nodes in the graph, 2 s after the end

A cycle is clean if it has no gap over 50 ms, nothing lost and nothing left. The exit status is 1 if
a cycle was not clean. SIGINT and SIGTERM end the graph and the benchmark, with the finished cycles
and exit status 130.
"""

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from pallas.msg import BodyPose
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import Imu

from pallas_ros.body.names import (
    MODEL_RATE_HZ,
    SITES,
    TOPIC_DIAGNOSTICS,
    TOPIC_HPSTM_BODY,
    TOPIC_IMU,
    TOPIC_PALLAS_BODY,
)
from pallas_ros.graph.measurement import RECEIVED
from pallas_ros.messages.decode import header_stamp
from pallas_ros.ros import middleware
from pallas_ros.runtime.realtime import USUAL_PRIORITY, raise_priority

START_S = 180.0
STOP_S = 60.0
SETTLE_S = 2.0
READ_S = 0.02
LONGEST_GAP_MS = 50.0
INTERRUPTED = 130
"""Exit status after SIGINT, and after SIGTERM."""
TOPICS = {
    TOPIC_PALLAS_BODY: BodyPose,
    TOPIC_HPSTM_BODY: BodyPose,
    **{TOPIC_IMU.format(site=site): Imu for site in SITES},
}
_BEST_EFFORT = (ReliabilityPolicy.BEST_EFFORT, ReliabilityPolicy.RELIABLE)


@dataclass
class Cycle:
    """One start and stop; see the module docstring."""

    up_s: float = float("nan")
    bodies: int = 0
    gap_ms: float = float("nan")
    gap_hpstm_ms: float = float("nan")
    skipped: int = 0
    lost: int = 0
    stop_s: float = float("nan")
    status: int = 0
    left: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether the cycle is clean."""
        gaps = np.nan_to_num([self.gap_ms, self.gap_hpstm_ms], nan=np.inf)
        on_time = bool((gaps <= LONGEST_GAP_MS).all()) and not self.skipped
        return on_time and not (self.lost or self.left or self.status)

    def row(self) -> str:
        """Return a line of the table."""
        return (
            f"{self.up_s:6.1f} {self.bodies:7d} {self.gap_ms:7.1f} {self.gap_hpstm_ms:7.1f}"
            f" {self.skipped:8d} {self.lost:5d} {self.stop_s:6.2f} "
            f" {', '.join(self.left) or '-'}{'' if not self.status else f' (status {self.status})'}"
        )


HEAD = "cycle     up  bodies     gap   hpstm  skipped  lost   stop  left"


class Listener:
    """Polls the topics, with the middleware's own timestamps and sequence numbers."""

    def __init__(self) -> None:
        self.node = rclpy.create_node(
            "bench_start", start_parameter_services=False, enable_rosout=False
        )
        self._subscriptions = {
            topic: self._subscribe(kind, topic) for topic, kind in TOPICS.items()
        }
        self._diagnostics = self._subscribe(DiagnosticArray, TOPIC_DIAGNOSTICS)
        self.clear()

    def _subscribe(self, kind: Any, topic: str) -> Any:
        wanted = _BEST_EFFORT[topic not in map(TOPIC_IMU.format_map, ({"site": s} for s in SITES))]
        profile = QoSProfile(
            history=HistoryPolicy.KEEP_LAST,
            depth=1000,
            reliability=wanted,
        )
        return self.node.create_subscription(kind, topic, lambda _: None, profile, raw=True)

    def clear(self) -> None:
        """Discard the previous cycle."""
        self.received: dict[str, list[int]] = defaultdict(list)
        self.stamps: dict[str, list[int]] = defaultdict(list)
        self.numbers: dict[tuple[str, bytes], list[int]] = defaultdict(list)
        self.tallies: dict[tuple[str, str], tuple[int, int, int]] = {}

    def read(self) -> None:
        """Take all received messages."""
        for topic, subscription in self._subscriptions.items():
            for data, info in _taken(subscription):
                self.received[topic].append(info["received_timestamp"])
                self.stamps[topic].append(header_stamp(data))
                publisher = info.get("publisher_gid")
                if publisher is not None:
                    number = info["publication_sequence_number"]
                    self.numbers[topic, bytes(publisher["data"])].append(number)
        for data, _ in _taken(self._diagnostics):
            for status in deserialize_message(data, DiagnosticArray).status:
                for pair in status.values:
                    if pair.key.startswith(RECEIVED):
                        words = [int(word) for word in pair.value.split()]
                        topic = pair.key.removeprefix(RECEIVED)
                        self.tallies[status.name, topic] = (words[0], words[1], words[2])

    def listen(self, seconds: float) -> None:
        """Poll for some time."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            time.sleep(READ_S)
            self.read()

    def lost(self) -> dict[str, int]:
        """Return the lost messages by receiver."""
        found: dict[str, int] = defaultdict(int)
        for (topic, _), numbers in self.numbers.items():
            found[f"here: {topic}"] += max(numbers) - len(set(numbers))
        for (node, topic), (count, _, last) in self.tallies.items():
            if topic in self.stamps:
                sent = {stamp for stamp in self.stamps[topic] if stamp <= last}
                found[f"{node}: {topic}"] += max(0, len(sent) - count)
        return {who: count for who, count in found.items() if count}

    def others(self) -> list[str]:
        """Return the other nodes in the graph."""
        return sorted(set(self.node.get_node_names()) - {"bench_start"})


def _taken(subscription: Any) -> Any:
    with subscription.handle:
        while (taken := subscription.handle.take_message(subscription.msg_type, True)) is not None:
            yield taken


@contextlib.contextmanager
def _ended(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """End the graph on leaving, if it still runs; a Ctrl-C does not reach its session."""
    try:
        yield
    finally:
        try:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
                process.wait(STOP_S)
        finally:
            process.kill()


def cycle(listener: Listener, words: list[str], seconds: float, folder: Path) -> Cycle:
    """Start and stop the graph once while listening."""
    found = Cycle()
    before = _shared(os.getpid())
    listener.clear()
    log = folder / "up.log"
    begun = time.monotonic()
    with log.open("w") as file:
        command = [sys.executable, "-m", "pallas_ros.cli", "up", *words]
        process = subprocess.Popen(
            command, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
        )
    with _ended(process):
        while not listener.received[TOPIC_PALLAS_BODY]:
            listener.listen(0.1)
            if process.poll() is not None or time.monotonic() - begun > START_S:
                process.kill()
                raise SystemExit(f"the graph did not come up:\n{log.read_text()[-3000:]}")
        found.up_s = time.monotonic() - begun
        listener.listen(seconds)
        pids = _session(process.pid)
        shared = set().union(*map(_shared, pids)) - before
        stopping = time.monotonic()
        process.send_signal(signal.SIGINT)
        while process.poll() is None and time.monotonic() - stopping < STOP_S:
            listener.listen(READ_S)
        found.status = process.wait(1.0)
        found.stop_s = time.monotonic() - stopping
    listener.listen(SETTLE_S)
    _judge(found, listener)
    found.left = [f"process {pid}" for pid in pids if Path(f"/proc/{pid}").exists()]
    used = set().union(*map(_shared, _processes()))
    found.left += sorted(path.name for path in shared - used if path.exists())
    found.left += [f"node {name}" for name in listener.others()]
    return found


def _judge(found: Cycle, listener: Listener) -> None:
    found.bodies = len(listener.received[TOPIC_PALLAS_BODY])
    found.gap_ms = _longest(listener.received[TOPIC_PALLAS_BODY])
    found.gap_hpstm_ms = _longest(listener.received[TOPIC_HPSTM_BODY])
    steps = np.diff(listener.stamps[TOPIC_PALLAS_BODY]) * MODEL_RATE_HZ / 1e9
    found.skipped = int(np.rint(steps).sum()) - len(steps)
    lost = listener.lost()
    found.lost = sum(lost.values())
    for who, count in lost.items():
        print(f"      lost {count} of {who}", file=sys.stderr)


def _longest(times: list[int]) -> float:
    return float(np.diff(np.sort(times)).max()) * 1e-6 if len(times) > 1 else float("nan")


def _processes() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _session(leader: int) -> list[int]:
    """Return the processes started by a `pallas up`, including itself."""
    found = [leader]
    for pid in _processes():
        try:
            parent = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1]
        except OSError:
            continue
        if int(parent) == leader:
            found.append(pid)
    return found


def _shared(pid: int) -> set[Path]:
    """Return the shared-memory files used by a process."""
    try:
        words = Path(f"/proc/{pid}/maps").read_text().split()
    except OSError:
        return set()
    return {Path(word) for word in words if word.startswith("/dev/shm/")}


def _measure(args: argparse.Namespace, cycles: list[Cycle]) -> None:
    """Run the cycles; print each and append it to ``cycles``."""
    listener = Listener()
    try:
        # The nodes are measured, not the scheduling of this process. Its main thread, which starts
        # them, keeps its priority, because they would inherit it.
        raise_priority(USUAL_PRIORITY, print)
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
        print(HEAD, flush=True)
        with tempfile.TemporaryDirectory() as folder:
            for number in range(1, args.cycles + 1):
                cycles.append(cycle(listener, args.words, args.seconds, Path(folder)))
                print(f"{number:5d} {cycles[-1].row()}", flush=True)
    finally:
        listener.node.destroy_node()


def main() -> int:
    """Run the cycles and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cycles", type=int, default=30)
    parser.add_argument("--seconds", type=float, default=8.0, help="seconds to listen per cycle")
    parser.add_argument("--json", type=Path, metavar="F", help="write the figures there too")
    parser.add_argument("words", nargs="*", help="for `pallas up`, after --")
    args = parser.parse_args()
    middleware.prepare()
    for number in (signal.SIGINT, signal.SIGTERM):  # rclpy's handlers would end the listener only
        signal.signal(number, signal.default_int_handler)
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    cycles: list[Cycle] = []
    interrupted = False
    try:
        _measure(args, cycles)
    except KeyboardInterrupt:
        interrupted = True
    rclpy.try_shutdown()
    clean = sum(one.clean for one in cycles)
    gaps = [max(one.gap_ms, one.gap_hpstm_ms) for one in cycles]
    print(
        f"{clean} of {len(cycles)} clean; longest gap {max(gaps, default=0.0):.1f} ms;"
        f" {sum(one.lost for one in cycles)} messages lost; {sum(len(one.left) for one in cycles)}"
        " leftovers"
    )
    if args.json:
        args.json.write_text(json.dumps([asdict(one) for one in cycles], indent=1) + "\n")
    if interrupted:
        return INTERRUPTED
    return 0 if clean == len(cycles) else 1


if __name__ == "__main__":
    sys.exit(main())
