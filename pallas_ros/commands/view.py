"""`pallas view`: show the live graph, a bag or a motion file in a browser."""

import argparse
import math
import secrets
import signal
import threading
import webbrowser
from pathlib import Path

from pallas_ros.bags.paths import is_bag
from pallas_ros.body.errors import PallasError
from pallas_ros.body.skeleton import Skeleton
from pallas_ros.motion_files import add_options, overrides_from
from pallas_ros.ros import middleware
from pallas_ros.view.access import LOCAL_NAMES

HELP = "Show the live graph, a bag or a motion file in a browser; never commands the robot."

EXAMPLE = """\
examples:
  pallas view                                   the live graph
  pallas view recordings/monday                 a bag, with a timeline
  pallas view recordings/monday --start 42 --paused    one instant, paused
  pallas view motion.npz --port 9000 --open
  pallas view dance.bvh                         a motion file from another tool
  pallas view --host 0.0.0.0 --token auto
      also from other machines, with a token (not encrypted: prefer an SSH tunnel)"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the command line."""
    parser.add_argument(
        "source",
        nargs="?",
        type=Path,
        help=(
            "motion file (.npz, BVH, AMASS/SMPL, MVNX, C3D, TRC), rosbag2 folder, .mcap or .db3"
            " (default: live)"
        ),
    )
    parser.add_argument("--port", type=int, default=8080, help="port to serve on (default: 8080)")
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to serve on (default: this machine only); others require --token",
    )
    parser.add_argument(
        "--token", help="access token of 8 or more letters and digits; 'auto' creates one"
    )
    parser.add_argument(
        "--height",
        type=float,
        default=1.75,
        metavar="M",
        help="the operator's height (default: 1.75)",
    )
    parser.add_argument(
        "--start",
        type=float,
        default=0.0,
        metavar="S",
        help="start this many seconds into the recording",
    )
    parser.add_argument("--paused", action="store_true", help="start paused")
    parser.add_argument("--open", action="store_true", help="open the browser")
    add_options(parser)
    middleware.add_option(parser)


def run(args: argparse.Namespace) -> int:
    """Serve until Ctrl-C.

    Raises:
        PallasError: an argument or an input is invalid.
    """
    if args.host not in LOCAL_NAMES and not args.token:
        raise PallasError(
            f"--host {args.host} accepts connections from other machines: add --token auto, or"
            " omit --host"
        )
    if not 0 <= args.port <= 65535:
        raise PallasError(f"--port {args.port}: give 0 to 65535")
    if not 0 <= args.start < math.inf:
        raise PallasError(f"--start {args.start:g}: give 0 s or more")
    skeleton = Skeleton.from_height(args.height)
    from pallas_ros.view.moments import BagFile, MotionFile, Recording
    from pallas_ros.view.viewer import Viewer

    recording: Recording | None = None
    if args.source is not None:
        print(f"reading {args.source} ...", flush=True)
        if is_bag(args.source):
            recording = BagFile(args.source)
        else:
            recording = MotionFile(args.source, overrides_from(args))
            print(recording.found, flush=True)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    token = secrets.token_hex(12) if args.token == "auto" else args.token or ""
    viewer = Viewer(args.host, args.port, skeleton, token)
    try:
        name = f"[{args.host}]" if ":" in args.host else args.host
        address = f"http://{name}:{viewer.port}" + (f"/?token={token}" if token else "")
        print(f"{address}  (Ctrl-C to stop)", flush=True)
        if args.open:
            webbrowser.open(address)
        if recording is not None:
            viewer.play(recording, stop, args.start, not args.paused)
        else:
            from pallas_ros.nodes.live import live

            middleware.prepare(args.discovery)
            with live() as graph:
                viewer.follow(graph.newest, lambda: graph.description, stop)
    finally:
        viewer.close()
    return 0
