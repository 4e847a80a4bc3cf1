"""Processes of a graph: start, monitor and stop them together, without leaving any behind."""

import contextlib
import fcntl
import os
import re
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from pallas_ros.body.errors import PallasError
from pallas_ros.graph.description import MANAGER, Node, managed
from pallas_ros.graph.shared_memory import mapped_files, remove_abandoned
from pallas_ros.ros import middleware
from pallas_ros.runtime.realtime import urgent
from pallas_ros.runtime.whereabouts import ask

STOP_S = 1.6
"""Timeout of a graceful shutdown; then a process that does nothing is killed."""
BUSY_S = 6.4
"""Timeout of a process that still computes: on a busy machine it waits for a processor."""
IDLE_S = 0.3
"""A process that has not computed for this long is not busy."""

_ACTIVE = re.compile(r"\[INFO\] \[[\d.]+\] \[\S+\]: active$")  # logged by `PallasNode`
_CLOSING = re.compile(r"\[INFO\] \[[\d.]+\] \[\S+\]: closing ")  # see `pallas_ros.ros.node`
PATIENCE_S = 5.0
"""A process closing a file is killed after this time without CPU, write or disk activity."""
CLOSE_S = 300.0
"""Longer than closing takes: a bag of ten hours takes 10 s on a busy machine."""
_IN_PASSING = re.compile(r"\[(DEBUG|INFO|WARN)\] \[")
_LOG_PREFIX = re.compile(r"^\[\w+\] \[[\d.]+\] \[\S+\]: ")


@dataclass
class Child:
    """One process.

    Attributes:
        name: display name.
        process: the process.
        nodes: number of its nodes.
        active: number of its active nodes.
        closing: whether it has announced that it is closing a file.
        place: code location when it was killed; empty if unknown.
        output: last lines of output.
    """

    name: str
    process: subprocess.Popen[bytes]
    nodes: int = 1
    active: int = 0
    closing: bool = False
    place: str = ""
    output: deque[str] = field(default_factory=lambda: deque(maxlen=20))

    def verdict(self) -> str:
        """Describe how the process ended, with its last error message."""
        code = self.process.returncode
        why = self._last_error()
        if self.name == MANAGER and why:  # its message is about another node
            return why
        how = (
            f"was killed by {signal.Signals(-code).name}"
            if code < 0
            else f"ended with status {code}"
        )
        return f"node {self.name} {how}" + (f": {why}" if why else "")

    def _last_error(self) -> str:
        """Return the last line that reports an error, or nothing.

        Warnings during the run do not explain the end.
        """
        own = f"{self.name}: "
        lines = [line for line in reversed(self.output) if line.strip()]
        message = next((line.removeprefix(own) for line in lines if line.startswith(own)), None)
        if message is None and lines and not _IN_PASSING.match(lines[0]):
            message = _LOG_PREFIX.sub("", lines[0])
        return message or ""


class Processes:
    """Run nodes as processes and monitor them."""

    def __init__(self, say: Callable[[str], None]) -> None:
        """``say`` is called with each line of output."""
        self.children: list[Child] = []
        self._say = say
        self._selector = selectors.DefaultSelector()
        self._rests: dict[int, bytes] = {}
        self._announced = False
        self._hurry = False

    @property
    def active(self) -> int:
        """Number of nodes that have reported to be active."""
        return sum(child.active for child in self.children)

    def start(
        self,
        name: str,
        command: Sequence[str],
        nodes: int = 1,
        environment: dict[str, str] | None = None,
    ) -> Child:
        """Start one process in its own session.

        Ctrl-C at the terminal thus reaches only the parent, which stops the others in order.
        """
        process = subprocess.Popen(
            command,
            env=environment or child_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        assert process.stdout is not None
        os.set_blocking(process.stdout.fileno(), False)
        child = Child(name, process, nodes)
        self._selector.register(process.stdout, selectors.EVENT_READ, child)
        self.children.append(child)
        return child

    def watch(self, timeout_s: float) -> Child | None:
        """Forward the children's output for up to ``timeout_s``; return the first that ended.

        Returns None if none has ended.
        """
        until = time.monotonic() + timeout_s
        while True:
            for key, _ in self._selector.select(max(0.0, until - time.monotonic())):
                self._read(key.fileobj, key.data)  # type: ignore[arg-type]
            for child in self.children:
                if child.process.poll() is not None:
                    return child
            if time.monotonic() >= until:
                return None

    def stop(self) -> list[str]:
        """Stop all; return the names of those that had to be killed after `STOP_S`.

        A process that still computes may continue until `BUSY_S`, and one that is closing a file
        while it makes progress, unless `hurry` is called. Files left in shared memory by their
        middleware are removed.
        """
        files = mapped_files(child.process.pid for child in self.children)
        # otherwise the first to end, at real-time priority, delay the signals to the others
        with urgent():
            for child in reversed(self.children):
                if child.process.poll() is None:
                    with contextlib.suppress(ProcessLookupError):
                        child.process.send_signal(signal.SIGINT)
        self._wait(STOP_S)
        self._wait_for_progress()
        killed = []
        for child in self.children:
            if child.process.poll() is None:
                killed.append(child.name)
                if child.process.stdout is not None:
                    self._read(child.process.stdout, child)
                    child.place = ask(child.process.pid, child.process.stdout.fileno())
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child.process.pid, signal.SIGKILL)
                child.process.wait()
        for child in self.children:
            if child.process.stdout is not None and not child.process.stdout.closed:
                self._read(child.process.stdout, child)
                child.process.stdout.close()
        self._selector.close()
        remove_abandoned(files)
        return killed

    def hurry(self) -> None:
        """Stop waiting for processes that have announced that they are closing a file."""
        self._hurry = self._announced

    def _wait(self, seconds: float) -> None:
        """Forward the children's output until all have ended, for at most ``seconds``."""
        until = time.monotonic() + seconds
        while (
            any(child.process.poll() is None for child in self.children)
            and time.monotonic() < until
        ):
            for key, _ in self._selector.select(0.02):
                self._read(key.fileobj, key.data)  # type: ignore[arg-type]

    def _wait_for_progress(self) -> None:
        begun = time.monotonic()
        progress: dict[str, tuple[float, object]] = {}
        while not self._hurry and time.monotonic() < begun + CLOSE_S:
            now = time.monotonic()
            busy = now < begun + BUSY_S - STOP_S
            slow = [c for c in self.children if (busy or c.closing) and c.process.poll() is None]
            for child in slow:
                work = _work(child.process.pid)
                if child.name not in progress or progress[child.name][1] != work:
                    progress[child.name] = (now, work)
            slow = [
                child
                for child in slow
                if now - progress[child.name][0] < (PATIENCE_S if child.closing else IDLE_S)
            ]
            if not slow:
                return
            names = ", ".join(child.name for child in slow if child.closing)
            if names and not self._announced:
                self._announced = True
                self._say(
                    f"waiting for {names} to close the recording; press Ctrl-C again to abort"
                )
            self._wait(0.25)

    def _read(self, stream: IO[bytes], child: Child) -> None:
        number = stream.fileno()
        try:
            data = os.read(number, 65536)
        except BlockingIOError:
            return
        if not data:
            with contextlib.suppress(KeyError):
                self._selector.unregister(stream)
        lines = (self._rests.pop(number, b"") + data).split(b"\n")
        if data:
            self._rests[number] = lines.pop()
        for line in lines:
            text = line.decode(errors="replace").rstrip()
            if text:
                child.output.append(text)
                child.active += bool(_ACTIVE.search(text))
                child.closing |= bool(_CLOSING.search(text))
                self._say(text)


def _work(process: int) -> object:
    """Return a value that changes while a process computes, writes or waits for the disk.

    For one that waits for the disk or for a processor, no two values are equal.
    """
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        if fields[0] in ("D", "R"):
            return object()
        written = Path(f"/proc/{process}/io").read_text().splitlines()[1]
        return fields[11], fields[12], written
    except (OSError, IndexError):
        return None


def child_environment(discovery: str = "") -> dict[str, str]:
    """Return the environment of a node's process.

    Discovery is limited to this machine unless ``discovery`` or the user specifies otherwise.
    Numeric libraries get one thread each, since the nodes run in parallel. A variable names the
    parent process; the node ends when it ends.
    """
    environment = dict(os.environ)
    environment.update(middleware.discovery(discovery, environment))
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        environment.setdefault(name, "1")
    environment["PALLAS_PARENT"] = str(os.getpid())
    environment["PYTHONUNBUFFERED"] = "1"
    return environment


def node_commands(nodes: Sequence[Node], single_process: bool) -> list[tuple[str, list[str]]]:
    """Return (name, command) of each process for ``nodes``.

    Either one per node and one for the manager, or a single one, which needs no manager.
    """
    python = [sys.executable, "-m", "pallas_ros.nodes"]
    started = nodes if single_process else managed(nodes)
    commands = [(node.node, [node.node, "--ros-args", *node.ros_arguments()]) for node in started]
    if single_process:
        words = [word for _, command in commands for word in ("+", *command)]
        return [("all nodes", [*python, *words[1:]])]
    return [(name, [*python, *command]) for name, command in commands]


@contextlib.contextmanager
def alone_in_domain() -> Iterator[None]:
    """Hold this machine's lock on the ROS domain, so that two graphs do not mix.

    The lock is released whenever the process ends.

    Raises:
        PallasError: another `pallas up` holds it.
    """
    domain = os.environ.get("ROS_DOMAIN_ID") or "0"
    path = Path(tempfile.gettempdir()) / f"pallas-domain-{domain}-{os.getuid()}.lock"
    with path.open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            other = lock.read().strip() or "unknown"
            raise PallasError(
                f"a pallas graph is already running in ROS domain {domain} (process {other}): stop"
                " it, or set ROS_DOMAIN_ID to another number"
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield
