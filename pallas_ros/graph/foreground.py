"""A graph in the foreground of a terminal: started, shown, stopped by Ctrl-C. What `pallas up` and `pallas demo` share."""

import signal
import sys
import time
from collections.abc import Callable, Sequence
from types import FrameType

from pallas_ros.body.errors import PallasError
from pallas_ros.graph.description import Node
from pallas_ros.graph.processes import (
    Processes,
    alone_in_domain,
    child_environment,
    clean_shared_memory,
    node_commands,
)

TICK_S = 0.25
REFUSED = 2
"""The exit status of a node that says in a sentence what went wrong."""


class Stopped(Exception):
    """The operator, or the system, wants the graph to end."""


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
    discovery: str = "",
) -> int:
    """Run ``nodes`` and take them down again; 0, or 1 where one of them ended by itself.

    Args:
        nodes: in the order of their activation.
        single_process: all of them in one process.
        duration: s from when all nodes are active to the end; None: until Ctrl-C.
        on_tick: called a few times a second; True ends the run.
        discovery: who can find the graph, as the argument of that name.

    Raises:
        PallasError: a graph runs already in this ROS domain, or a node refused to start.
    """
    handlers = {
        number: signal.signal(number, _stop)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    }
    status = _StatusLine(len(nodes), duration)
    try:
        with alone_in_domain():
            clean_shared_memory()
            processes = Processes(status.say)
            environment = child_environment(discovery)
            ended = None
            try:
                for name, command in node_commands(nodes, single_process):
                    count = len(nodes) if single_process else 1
                    processes.start(name, command, count, environment)
                while ended is None and not status.over():
                    ended = processes.watch(TICK_S)
                    status.show(processes.active)
                    if on_tick is not None and on_tick(processes):
                        break
            except Stopped:
                status.say("stopping")
            finally:
                for number in handlers:  # the stop itself is not interrupted, only hurried
                    signal.signal(number, lambda *_: processes.hurry())
                killed = processes.stop()
                status.clear()
            if killed:
                print(f"killed, because they did not stop: {', '.join(killed)}", file=sys.stderr)
            refused = [c for c in processes.children if c.process.returncode == REFUSED]
            if ended is not None or refused:
                raise PallasError((ended or refused[0]).verdict())
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
        left = (
            ""
            if self._duration is None
            else f", {max(0.0, self._duration - self.elapsed()):.0f} s left"
        )
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
