"""Run a graph in the foreground of a terminal until Ctrl-C.

Shared by `pallas up` and `pallas demo`.
"""

import os
import select
import signal
import subprocess
import sys
import termios
import time
import tty
from collections.abc import Callable, Mapping, Sequence
from types import FrameType
from typing import Any

from pallas_ros.body.errors import PallasError
from pallas_ros.graph.description import Node
from pallas_ros.graph.processes import (
    Processes,
    alone_in_domain,
    child_environment,
    node_commands,
)
from pallas_ros.graph.shared_memory import clean_shared_memory

TICK_S = 0.25
REFUSED = 2
"""Exit status of a node that reported the error in a sentence."""


class Stopped(Exception):
    """The operator or the system requests the end of the graph."""


def parse(words: Sequence[str]) -> dict[str, str]:
    """Parse ``name:=value`` strings into a mapping.

    Raises:
        PallasError: a string is malformed.
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
    keys: Mapping[str, Sequence[str]] | None = None,
    keys_help: str = "",
) -> int:
    """Run ``nodes`` and shut them down; return 0, or 1 if one of them ended by itself.

    Args:
        nodes: in order of activation.
        single_process: run all of them in one process.
        duration: s from when all nodes are active; None: until Ctrl-C.
        on_tick: called a few times a second; True ends the run.
        discovery: discovery range, as the argument of that name.
        keys: key -> command that is run in the graph's environment when it is pressed in the
            terminal.
        keys_help: description of the keys, for the status line.

    Raises:
        PallasError: a graph is already running in this ROS domain, or a node failed to start.
    """
    handlers = {
        number: signal.signal(number, _stop)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    }
    status = _StatusLine(len(nodes), duration, keys_help)
    try:
        with alone_in_domain(), _Keyboard(keys or {}) as keyboard:
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
                    keyboard.look(environment)
                    if on_tick is not None and on_tick(processes):
                        break
            except Stopped:
                status.say("stopping")
            finally:
                for number in handlers:  # signals speed up the shutdown but do not interrupt it
                    signal.signal(number, lambda *_: processes.hurry())
                killed = processes.stop()
                status.clear()
            if killed:
                places = {child.name: child.place for child in processes.children}
                names = [f"{name}, in {places[name]}" if places[name] else name for name in killed]
                print(f"killed, because they did not stop: {'; '.join(names)}", file=sys.stderr)
            refused = [c for c in processes.children if c.process.returncode == REFUSED]
            if ended is not None or refused:
                raise PallasError((ended or refused[0]).verdict())
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    print(f"ran {status.elapsed():.1f} s with {len(nodes)} nodes; all of them have exited")
    return 0


def _stop(number: int, frame: FrameType | None) -> None:
    raise Stopped


class _Keyboard:
    """Keys pressed in the terminal; inactive without keys or without a terminal on stdin."""

    def __init__(self, keys: Mapping[str, Sequence[str]]) -> None:
        self._keys = keys
        self._fd = sys.stdin.fileno() if keys and _is_terminal(sys.stdin) else None
        self._before: list[Any] = []
        self._running: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> "_Keyboard":
        if self._fd is not None:
            self._before = termios.tcgetattr(self._fd)
            tty.setcbreak(self._fd)  # keys work without return; Ctrl-C still raises SIGINT
        return self

    def __exit__(self, *_: object) -> None:
        if self._fd is not None:
            termios.tcsetattr(self._fd, termios.TCSADRAIN, self._before)

    def look(self, environment: Mapping[str, str] | None) -> None:
        """Run the commands of keys pressed since the last call, with output to the terminal."""
        self._running = [process for process in self._running if process.poll() is None]
        while self._fd is not None and select.select([self._fd], [], [], 0)[0]:
            key = os.read(self._fd, 1).decode("ascii", "ignore")
            if not key:
                self._fd = None  # the terminal was closed
            elif key in self._keys and not self._running:
                self._running.append(
                    subprocess.Popen(
                        self._keys[key],
                        env=None if environment is None else dict(environment),
                        stdin=subprocess.DEVNULL,
                    )
                )


def _is_terminal(stream: Any) -> bool:
    """Whether it is a terminal that we may read; in the background it belongs to the shell."""
    try:
        return bool(stream.isatty()) and os.tcgetpgrp(stream.fileno()) == os.getpgrp()
    except (AttributeError, ValueError, OSError):  # no standard input, or it is closed
        return False


class _StatusLine:
    """Status line at the bottom of a terminal, below the nodes' scrolling messages.

    Without a terminal only the messages are printed.
    """

    def __init__(self, nodes: int, duration: float | None, keys_help: str = "") -> None:
        self._nodes = nodes
        self._duration = duration
        self._keys_help = f"; {keys_help}" if keys_help else ""
        self._start: float | None = None  # time when all were active
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
        self._line = f"{state}; Ctrl-C stops{self._keys_help}"
        self._draw()

    def clear(self) -> None:
        if self._terminal:
            print("\r\033[K", end="", file=sys.stderr, flush=True)

    def _draw(self) -> None:
        if self._terminal:
            print(f"\r\033[K{self._line}", end="", file=sys.stderr, flush=True)
