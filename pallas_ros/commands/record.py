"""`pallas record`: record topics to a rosbag2 folder, on a machine without `ros2 bag`."""

import argparse
import os
import signal
import time
from functools import partial
from pathlib import Path

from pallas_ros.body.errors import PallasError
from pallas_ros.ros import middleware
from pallas_ros.runtime.realtime import WHERE_PERMITTED

HELP = "Record topics to a rosbag2 folder; stop with Ctrl-C."

EXAMPLE = """\
examples:
  pallas record recordings/monday                          every published topic
  pallas record imu --topics '/imu/*' /pallas/calibration  all inputs of the pipeline
  pallas record long --split-megabytes 500 --compression zstd
  pallas repair recordings/monday
      after a crash: at most the last second is lost"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the command line."""
    parser.add_argument(
        "bag", nargs="?", type=Path, help="folder to create (default: recordings/<date and time>)"
    )
    parser.add_argument(
        "--topics",
        nargs="+",
        metavar="PATTERN",
        help="topics to record, with * and ? (default: all)",
    )
    parser.add_argument("--exclude", nargs="*", metavar="PATTERN", help="topics to omit")
    parser.add_argument(
        "--storage",
        choices=("mcap", "sqlite3"),
        default="mcap",
        help="format of the bag's files (default: mcap)",
    )
    parser.add_argument(
        "--compression",
        choices=("none", "lz4", "zstd"),
        default="lz4",
        help="compression of MCAP chunks (default: lz4)",
    )
    parser.add_argument(
        "--split-megabytes",
        type=float,
        default=0.0,
        metavar="MB",
        help="start a new file at this size",
    )
    parser.add_argument(
        "--split-seconds",
        type=float,
        default=0.0,
        metavar="S",
        help="start a new file after this time",
    )
    parser.add_argument("--duration", type=float, metavar="S", help="stop after this many seconds")
    middleware.add_option(parser)


def run(args: argparse.Namespace) -> int:
    """Record until Ctrl-C or ``--duration``.

    Raises:
        PallasError: an argument or an input is invalid.
    """
    from pallas_ros.nodes.recorder import RecorderNode
    from pallas_ros.ros import run as node_process

    bag = args.bag or Path(time.strftime("recordings/%Y%m%d_%H%M%S"))
    parameters: dict[str, object] = {
        "path": str(bag),
        "priority": WHERE_PERMITTED,  # of the reception, so that the bag shows the graph's delays
        "storage": args.storage,
        "compression": args.compression,
        "split_megabytes": args.split_megabytes,
        "split_seconds": args.split_seconds,
    }
    for name in ("topics", "exclude"):
        if getattr(args, name) is not None:
            parameters[name] = (
                "[" + ", ".join(f'"{pattern}"' for pattern in getattr(args, name) or [""]) + "]"
            )
    if args.duration is not None:
        if not 0 < args.duration < 1e7:
            raise PallasError(
                f"--duration {args.duration:g}: give more than 0 s and less than 1e7 s"
            )
        # Not SIGTERM: while the bag is being closed, that would end the process at once.
        signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGINT))
        RecorderNode.on_start = partial(signal.setitimer, signal.ITIMER_REAL, args.duration)
    middleware.prepare(args.discovery)
    words = [word for name, value in parameters.items() for word in ("-p", f"{name}:={value}")]
    try:
        return node_process.main([("recorder", ["--ros-args", *words])])
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
