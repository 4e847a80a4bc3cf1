"""Statistics of a recorded run per minute, and longer bags made from it.

    python benchmarks/soak.py minutes recordings/soak
    python benchmarks/soak.py repeat recordings/soak recordings/ten_hours --hours 10
    python benchmarks/soak.py memory recordings/ten_hours

`minutes` prints rate, longest gap, latency and losses of every minute of a bag (record it with
`pallas up robot:= --record recordings/soak --duration 1800`).
`repeat` writes a bag that repeats another, with shifted reception times and message stamps of the
pipeline's topics. `memory` runs `pallas report` and `pallas process` on a bag and prints their
memory at each quarter of their running time, which should not depend on the length of the bag.
"""

import argparse
import os
import struct
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tqdm import tqdm

from pallas_ros.bags import Bag, BagMessage, BagWriter
from pallas_ros.body.names import (
    SITES,
    TOPIC_HPSTM_BODY,
    TOPIC_IMU,
    TOPIC_IMU_FRAME,
    TOPIC_JOINT_STATES,
    TOPIC_PALLAS_BODY,
)
from pallas_ros.messages.decode import body_from_msg

SENSORS = [TOPIC_IMU.format(site=site) for site in SITES]
MINUTE = 60_000_000_000
_TIME = struct.Struct("<iI")


def minutes(bag: Bag) -> Iterator[tuple[str, ...]]:
    """Return a row per minute: bodies/s, longest gap in ms, latency of the smoothed body (p50, p99,
    max) in ms, samples/s of the four sensors together.
    """
    arrivals = defaultdict(list)
    latencies = defaultdict(list)
    samples = defaultdict(int)
    for message in tqdm(bag.messages({TOPIC_HPSTM_BODY, *SENSORS}), leave=False):
        minute = (message.stamp - bag.first) // MINUTE
        if message.topic in SENSORS:
            samples[minute] += 1
        else:
            body = body_from_msg(bag.decode(message))
            arrivals[minute].append(message.stamp)
            latencies[minute].append((message.stamp - body.newest_input) / 1e6)
    before = None
    for minute in sorted(arrivals):
        times = np.array(([before] if before else []) + arrivals[minute])
        span = min(bag.last - bag.first - minute * MINUTE, MINUTE) * 1e-9
        gap = np.diff(times).max() / 1e6
        p50, p99 = np.percentile(latencies[minute], (50, 99))
        figures = (
            len(arrivals[minute]) / span,
            gap,
            p50,
            p99,
            max(latencies[minute]),
            samples[minute] / span,
        )
        yield (str(minute), *(f"{figure:.1f}" for figure in figures))
        before = arrivals[minute][-1]


def later(source: Bag, message: BagMessage, shift: int) -> bytes:
    """Return a serialised message with its header, and the stamp of its newest input, shifted by
    ``shift`` ns.
    """
    data = _moved(message.data, 4, shift)
    if message.msgtype == "pallas/msg/ImuFrame":  # its last field
        data = _moved(data, len(data) - 8, shift)
    elif message.msgtype == "pallas/msg/BodyPose":
        # before its remarks, a count that is normally 0
        newest = source.decode(message).newest_input if any(data[-4:]) else None
        at = data.rfind(_TIME.pack(newest.sec, newest.nanosec)) if newest else len(data) - 12
        data = _moved(data, at, shift)
    return data


def _moved(data: bytes, at: int, shift: int) -> bytes:
    seconds, nanoseconds = _TIME.unpack_from(data, at)
    return (
        data[:at]
        + _TIME.pack(*divmod(seconds * 1_000_000_000 + nanoseconds + shift, 1_000_000_000))
        + data[at + _TIME.size :]
    )


def repeat(source: Bag, path: Path, hours: float) -> None:
    """Write ``path``: repeat ``source`` for ``hours``, with the topics in `REPEATED` and the
    latched ones.
    """
    period = source.last - source.first + 10_000_000
    period += -period % 50_000_000  # whole frames of the 60 Hz grid: stamps stay on it
    latched = {name for name, topic in source.topics.items() if topic.qos.latched}
    topics = (
        {*SENSORS, TOPIC_IMU_FRAME, TOPIC_PALLAS_BODY, TOPIC_HPSTM_BODY, TOPIC_JOINT_STATES}
        | latched
    ) & set(source.topics)
    with BagWriter(path) as writer:
        for name in sorted(topics):
            writer.add_topic(name, source.topics[name].msgtype, source.topics[name].qos)
        for lap in tqdm(range(int(np.ceil(hours * 3.6e12 / period))), unit="lap"):
            shift = lap * period
            for message in source.messages(topics - latched if lap else topics):
                if message.stamp + shift - source.first > hours * 3.6e12:
                    return
                writer.write(
                    message.topic,
                    message.stamp + shift,
                    later(source, message, shift) if lap else message.data,
                )


def memory(bag: Path) -> Iterator[tuple[str, ...]]:
    """Return a row per command: processor time in s, resident memory in MB at each quarter of its
    running time, and the peak.
    """
    with tempfile.TemporaryDirectory() as folder:
        for name, output in (("report", "page.html"), ("process", "motion.npz")):
            command = [
                sys.executable,
                "-m",
                "pallas_ros.cli",
                name,
                str(bag),
                *(["-o"] if name == "report" else []),
                f"{folder}/{output}",
            ]
            held: list[dict[str, float]] = []
            with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
                while process.poll() is None:
                    held.append(_held(process.pid) or held[-1])
                    time.sleep(0.2)
            if process.returncode:
                raise SystemExit(f"pallas {name} failed: status {process.returncode}")
            quarters = [held[(len(held) - 1) * quarter // 4]["VmRSS"] for quarter in (1, 2, 3, 4)]
            yield (
                name,
                *(
                    f"{figure:.0f}"
                    for figure in (
                        held[-1]["seconds"],
                        *quarters,
                        max(entry["VmRSS"] for entry in held),
                    )
                ),
            )


def _held(process: int) -> dict[str, float]:
    """Return resident memory (VmRSS, MB) and processor time (s) of a process; empty if it has just
    ended.
    """
    try:
        status = dict(
            line.split(":", 1) for line in Path(f"/proc/{process}/status").read_text().splitlines()
        )
        ticks = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[11:13]
        return {
            "VmRSS": int(status["VmRSS"].split()[0]) / 1024,
            "seconds": sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK"),
        }
    except (OSError, KeyError):
        return {}


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("minutes", "repeat", "memory"))
    parser.add_argument("bag", type=Path)
    parser.add_argument("output", type=Path, nargs="?")
    parser.add_argument("--hours", type=float, default=10.0)
    args = parser.parse_args()
    bag = Bag(args.bag)
    if args.what == "repeat":
        repeat(bag, args.output, args.hours)
        return
    if args.what == "memory":
        print(
            f"{bag.duration / 3600:.1f} h, {bag.count} messages\n command     cpu s    1/4 MB   2/4"
            " MB   3/4 MB   end MB   most MB"
        )
    else:
        print("minute  bodies/s  gap ms  p50 ms  p99 ms  worst ms  samples/s")
    for row in memory(args.bag) if args.what == "memory" else minutes(bag):
        print("  ".join(cell.rjust(8) for cell in row))


if __name__ == "__main__":
    main()
