"""`pallas up`: start the graph of nodes, as `ros2 launch pallas bringup.launch.py` does, on a machine that need not have `launch`."""

import argparse
import signal
import sys
import time
from collections.abc import Callable, Sequence
from types import FrameType

from pallas_ros.body.errors import PallasError
from pallas_ros.graph import Graph, Node, read_config
from pallas_ros.processes import Processes, alone_in_domain, clean_shared_memory, node_commands

HELP = "Start the whole graph of nodes: sensors (or simulated ones), body, smoothing, arm."

EXAMPLE = """\
examples:
  pallas up                                              simulated sensors, simulated Panda, until Ctrl-C
  pallas up --duration 20 --record recordings/first      20 s, recorded to a bag
  pallas up imu_source:=serial calibration:=me.yaml robot:=ur5 arm:=real
  pallas up --config my_graph.yaml                       arguments and parameter files from a file

The nodes run as separate processes. Discovery is limited to this machine; set ROS_AUTOMATIC_DISCOVERY_RANGE=SUBNET in the environment for others to
listen, and ROS_DOMAIN_ID for a second graph beside the first. `pallas up --arguments` lists the arguments."""

TICK_S = 0.25


class Stopped(Exception):
    """The operator, or the system, wants the graph to end."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the command line."""
    parser.add_argument("arguments", nargs="*", metavar="name:=value", help="arguments of the graph, as for ros2 launch")
    parser.add_argument("--config", metavar="F", help="YAML file with 'arguments' and 'parameter_files' (node: path)")
    parser.add_argument("--duration", type=float, metavar="S", help="stop after this many seconds")
    parser.add_argument("--record", metavar="DIR", help="record a bag there (the same as record:=DIR)")
    parser.add_argument("--single-process", action="store_true", help="all nodes in one process")
    parser.add_argument("--arguments", action="store_true", dest="list_arguments", help="list the arguments of the graph, and stop")


def run(args: argparse.Namespace) -> int:
    """Run the graph until Ctrl-C, ``--duration``, or the end of one of its nodes."""
    graph = Graph.load()
    if args.list_arguments:
        for argument in graph.arguments.values():
            choices = f" [{'|'.join(choice or '(empty)' for choice in argument.choices)}]" if argument.choices else ""
            print(f"{argument.name}:={argument.default or '(empty)'}{choices}\n    {argument.help}")
        return 0
    given, files = read_config(args.config) if args.config else ({}, {})
    given.update(parse(args.arguments))
    if args.record:
        given["record"] = args.record
    if args.duration is not None and not 0 < args.duration < 1e7:
        raise PallasError(f"--duration {args.duration}: give the seconds to run, more than 0")
    nodes = graph.resolve(given, files)
    if not nodes:
        raise PallasError("under these arguments no node runs: give the graph something to do")
    return run_graph(nodes, single_process=args.single_process, duration=args.duration)


def parse(words: Sequence[str]) -> dict[str, str]:
    """``name:=value`` words as a mapping.

    Raises:
        PallasError: a word is not of that form.
    """
    given = {}
    for word in words:
        name, found, value = word.partition(":=")
        if not found:
            raise PallasError(f"'{word}' is not of the form name:=value")
        given[name] = value
    return given


def run_graph(
    nodes: Sequence[Node],
    *,
    single_process: bool = False,
    duration: float | None = None,
    on_tick: Callable[[Processes], bool] | None = None,
) -> int:
    """Run ``nodes`` and take them down again; 0, or 1 where one of them ended by itself.

    Args:
        nodes: in the order they start.
        single_process: all of them in one process.
        duration: s from when all nodes are active to the end; None: until Ctrl-C.
        on_tick: called a few times a second; True ends the run.

    Raises:
        PallasError: a graph runs already in this ROS domain, or a node refused to start.
    """
    handlers = {number: signal.signal(number, _stop) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    status = _StatusLine(len(nodes), duration)
    try:
        with alone_in_domain():
            clean_shared_memory()
            processes = Processes(status.say)
            ended = None
            try:
                for name, command in node_commands(nodes, single_process):
                    processes.start(name, command, len(nodes) if single_process else 1)
                while ended is None and not status.over():
                    ended = processes.watch(TICK_S)
                    status.show(processes.active)
                    if on_tick is not None and on_tick(processes):
                        break
            except Stopped:
                status.say("stopping")
            finally:
                for number in handlers:
                    signal.signal(number, signal.SIG_IGN)  # the stop itself takes less than 2 s and is not interrupted
                killed = processes.stop()
                status.clear()
            if killed:
                print(f"killed, because they did not stop: {', '.join(killed)}", file=sys.stderr)
            if ended is not None:
                raise PallasError(f"node {ended.verdict()}")
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    print(f"ran {status.elapsed():.1f} s with {len(nodes)} nodes; all of them have ended")
    return 0


def _stop(number: int, frame: FrameType | None) -> None:
    raise Stopped


class _StatusLine:
    """One line at the bottom of a terminal, above which the nodes' messages scroll; nothing but the messages elsewhere."""

    def __init__(self, nodes: int, duration: float | None) -> None:
        self._nodes, self._duration = nodes, duration
        self._start: float | None = None  # when all were active
        self._terminal = sys.stderr.isatty()
        self._line = ""

    def elapsed(self) -> float:
        return 0.0 if self._start is None else time.monotonic() - self._start

    def over(self) -> bool:
        return self._duration is not None and self.elapsed() >= self._duration

    def say(self, line: str) -> None:
        self.clear()
        print(line, file=sys.stderr, flush=True)
        self._draw()

    def show(self, active: int) -> None:
        if self._start is None and active >= self._nodes:
            self._start = time.monotonic()
        left = "" if self._duration is None else f", {max(0.0, self._duration - self.elapsed()):.0f} s left"
        state = (
            f"{active} of {self._nodes} nodes are active"
            if self._start is None
            else f"{self._nodes} nodes run, {self.elapsed():.0f} s{left}"
        )
        self._line = f"{state}; Ctrl-C stops"
        self._draw()

    def clear(self) -> None:
        if self._terminal:
            print("\r\033[K", end="", file=sys.stderr, flush=True)

    def _draw(self) -> None:
        if self._terminal:
            print(f"\r\033[K{self._line}", end="", file=sys.stderr, flush=True)
