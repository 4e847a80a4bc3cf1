"""Process that runs one or more nodes: signals, executor, exit status."""

import ctypes
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from importlib.metadata import entry_points
from types import FrameType
from typing import Any, cast

import rclpy
from rclpy.executors import Executor, ExternalShutdownException, SingleThreadedExecutor
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.signals import SignalHandlerOptions

from pallas_ros.body.errors import PallasError
from pallas_ros.core.plugins import closest
from pallas_ros.ros import middleware
from pallas_ros.ros.leaving import leaving
from pallas_ros.ros.node import Interrupted, PallasNode
from pallas_ros.runtime import whereabouts
from pallas_ros.runtime.realtime import (
    lower_priority,
    pin_to_cores,
    raise_priority,
    release_memory,
    settle_memory,
)

GROUP = "pallas.nodes"
PARENT_VARIABLE = "PALLAS_PARENT"
"""Process id of the `pallas up` that started this node.

If it dies, even by SIGKILL, the node ends too.
"""

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SPIN_S = 0.1
"""Maximum time until a signal is handled."""
MOST_FAILURES = 100
"""Consecutive executor failures after which it counts as broken."""


def node_class(name: str) -> Callable[..., PallasNode]:
    """Return the class of a node by its entry point in the group ``pallas.nodes``.

    Raises:
        PallasError: the node is not installed, or lacks a required package.
    """
    known = {entry.name: entry for entry in entry_points(group=GROUP)}
    if name not in known:
        raise PallasError(f"unknown node '{name}': {closest(name, known)}")
    try:
        loaded = known[name].load()
    except ImportError as error:
        raise PallasError(
            f"node '{name}' cannot be loaded: {error}; install what is missing (`make setup`)"
        ) from error
    if not (isinstance(loaded, type) and issubclass(loaded, PallasNode)):
        raise PallasError(f"entry point '{name}' of {GROUP} is not a node")
    return cast(Callable[..., PallasNode], loaded)


def make_executor() -> Executor:
    """Create rclpy's EventsExecutor if available (Kilted and later), else a single-threaded one.

    Measured with four IMU topics at 100 Hz: all messages delivered, median latency 0.45 ms instead
    of 0.61, half the processor time (5 % instead of 10 % of a core). Only its `spin_once` is used:
    in rclpy 9.1 its `spin` runs no timers and busy-waits when idle.
    """
    if os.environ.get("PALLAS_EXECUTOR") != "single_threaded":
        try:
            from rclpy.experimental import EventsExecutor
        except ImportError:
            pass
        else:
            executor = EventsExecutor()
            executor.add_node(cast(Any, _Placeholder()))
            return executor
    return SingleThreadedExecutor()


class _Placeholder:
    """Second entry in the set of nodes of an EventsExecutor, without entities.

    If a task raises while exactly one node is registered, rclpy 9.1 indexes its set of nodes, which
    ends in a segmentation fault (ros2/rclpy issue 1641).
    """

    subscriptions: tuple[()] = ()
    timers: tuple[()] = ()
    clients: tuple[()] = ()
    services: tuple[()] = ()
    waitables: tuple[()] = ()
    guards: tuple[()] = ()

    @property
    def executor(self) -> None:
        """Assigned by the executor; not stored, since a reference would keep the executor alive."""

    @executor.setter
    def executor(self, executor: Executor) -> None: ...


def run(nodes: Sequence[PallasNode], left: ExitStack, asked: Sequence[int] = ()) -> int:
    """Spin ``nodes`` until SIGINT, SIGTERM or SIGHUP, stop them in order, return the exit status.

    Nodes with autostart are configured last to first, so that the ports of simulated sensors exist
    when they are opened, and activated first to last, so that subscribers are ready before the
    sensors start.

    Args:
        nodes: the nodes, in the order of the data.
        left: keeps this process in DDS until it is closed, after the nodes have been released; see
            `leaving`.
        asked: signals that arrived before; if there are any, the nodes are shut down at once.

    Raises:
        PallasError: a node failed to start, or requires the process to end (`PallasNode.fatal`).
    """
    stopping = False

    def stop(number: int, _: object) -> None:
        nonlocal stopping
        if stopping and number == signal.SIGTERM:
            os._exit(1)  # a second signal ends the process at once
        stopping = True
        for node in nodes:
            # The handler runs when the next callback begins. A body or command that it still
            # published would come late, because all nodes of the graph shut down at the same time.
            node.active = False
        # Only `configure` may take long. Other transitions finish first: a node whose transition is
        # interrupted can neither shut down nor be released.
        if any(node.building for node in nodes):
            raise Interrupted

    executor = make_executor()
    try:
        for number in STOP_SIGNALS:
            signal.signal(number, stop)
        stopping = stopping or bool(asked)
        for node in nodes:
            executor.add_node(node)
        pin_to_cores(*_cores(nodes))
        own = [node for node in nodes if node.settings["autostart"]]
        for node in reversed(own):
            if not stopping:
                node.bring("configure")
        settled = _settle(nodes)
        for node in own:
            if not stopping:
                node.bring("activate")
        failures = 0
        while not stopping:
            failures = _spin(executor, nodes[0], failures)
            settled = settled or _settle(nodes)
            _raise_fatal(nodes)
    except (ExternalShutdownException, Interrupted):
        pass
    except PallasError:
        if not stopping:  # else the transition that was interrupted
            raise
    finally:
        _shut_down(nodes, executor, left)
    _raise_fatal(nodes)  # report errors during shutdown
    return 0


def _spin(executor: Executor, node: PallasNode, failures: int) -> int:
    """Handle events for up to `SPIN_S`; return the number of consecutive failures.

    A `PallasNode` reports the exceptions of its own callbacks. Those of rclpy (parameter and
    lifecycle services, QoS events, tasks) are raised here, and reported as well.

    Raises:
        PallasError: there are too many consecutive ``failures``.
    """
    try:
        executor.spin_once(timeout_sec=SPIN_S)
    except ExternalShutdownException:
        raise
    except Exception as error:
        if failures >= MOST_FAILURES:
            raise PallasError(f"the ROS client library fails repeatedly: {error}") from error
        node.report("rclpy", error)
        return failures + 1
    return 0


def _shut_down(nodes: Sequence[PallasNode], executor: Executor, left: ExitStack) -> None:
    """Stop and release ``nodes``; the process stays in DDS until ``left`` is closed."""
    lower_priority()
    for node in nodes:
        node.stop()
    left.enter_context(leaving())
    for node in nodes:
        executor.remove_node(node)
        node.destroy_node()
    executor.shutdown(timeout_sec=0.5)
    for number in STOP_SIGNALS:  # the handler would keep references to the nodes
        signal.signal(number, _end_now if number == signal.SIGTERM else signal.SIG_IGN)


def _raise_fatal(nodes: Sequence[PallasNode]) -> None:
    for node in nodes:
        if node.fatal is not None:
            raise PallasError(node.fatal)


def _end_now(number: int, frame: FrameType | None) -> None:
    os._exit(1)


def _cores(nodes: Sequence[PallasNode]) -> tuple[list[int], Callable[[str], None]]:
    cores = sorted({core for node in nodes for core in node.settings["cpu_affinity"]})
    return cores, nodes[0].get_logger().warning


def _settle(nodes: Sequence[PallasNode]) -> bool:
    """Once all ``nodes`` are configured, settle the memory and set the requested priority.

    Returns whether it is done.
    """
    if not all(node.configured for node in nodes):
        return False
    settle_memory()
    # 20 > -1 > 0
    priority = max(
        (node.settings["priority"] for node in nodes), key=lambda priority: priority or -2
    )
    only_polls = all(node.POLLS for node in nodes)
    raise_priority(priority, nodes[0].get_logger().warning, only_others=only_polls)
    return True


def die_with_parent() -> None:
    """Have the kernel end this process when its parent `pallas up` dies.

    Raises:
        PallasError: the parent has already exited.
    """
    parent = int(os.environ.get(PARENT_VARIABLE, "0"))
    if not parent or not sys.platform.startswith("linux"):
        return
    PR_SET_PDEATHSIG = 1
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        raise PallasError("the process that started this node has exited")


def main(wanted: Sequence[tuple[str, Sequence[str]]]) -> int:
    """Run nodes in this process, each given as its entry point's name and its own ROS arguments.

    The arguments (``--ros-args ...``) apply to that node only.

    Returns:
        0 after a stop by signal, 2 with a message on standard error if a node failed.
    """
    names = [name for name, _ in wanted]
    asked: list[int] = []

    def ask(number: int, _: object) -> None:
        if asked and number == signal.SIGTERM:
            os._exit(1)
        asked.append(number)

    try:
        whereabouts.answer()  # `pallas up` requests the code location of a node that does not end
        die_with_parent()
        classes = [node_class(name) for name in names]
        alone = len(wanted) == 1
        middleware.prepare()
        # From here on, an immediate exit would leave shared memory and a node in the graph.
        for number in STOP_SIGNALS:
            signal.signal(number, ask)
        rclpy.init(
            args=list(wanted[0][1]) if alone else [], signal_handler_options=SignalHandlerOptions.NO
        )
        try:
            own = [
                {} if alone else {"cli_args": list(arguments), "use_global_arguments": False}
                for _, arguments in wanted
            ]
            with ExitStack() as left:
                try:
                    nodes = zip(classes, own, strict=True)
                    return run([create(**options) for create, options in nodes], left, asked)
                except PallasError as error:
                    traceback.clear_frames(error.__traceback__)  # they refer to the nodes
                    raise
        finally:
            rclpy.try_shutdown()
            release_memory()
    except PallasError as error:
        print(f"{', '.join(names)}: {error}", file=sys.stderr)
        return 2
    except rclpy_implementation.RCLError as error:
        print(f"{', '.join(names)}: {_in_words(error)}", file=sys.stderr)
        return 2


def _in_words(error: Exception) -> str:
    """Return the message of a ROS start-up error without its C source locations."""
    text = " ".join(re.sub(r",? at /\S+:\d+", "", str(error)).split())
    if "security libraries" in text:
        return (
            "ROS security is enabled (ROS_SECURITY_ENABLE), but this Fast DDS is built without"
            " it, like that of the wheels: use an installation from ROS's own packages, or unset"
            " ROS_SECURITY_ENABLE"
        )
    return f"ROS does not start: {text[:300]}"
