"""The process that runs one or more nodes: signals, executor, exit status."""

import ctypes
import os
import re
import signal
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import entry_points
from types import FrameType
from typing import cast

import rclpy
from rclpy.executors import Executor, ExternalShutdownException, SingleThreadedExecutor
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.signals import SignalHandlerOptions

from pallas_ros.body.errors import PallasError
from pallas_ros.core.plugins import closest
from pallas_ros.ros import middleware
from pallas_ros.ros.node import PallasNode
from pallas_ros.runtime.realtime import pin_to_cores, raise_priority, release_memory, settle_memory

GROUP = "pallas.nodes"
PARENT_VARIABLE = "PALLAS_PARENT"
"""Process id of the `pallas up` that started this node: should it die, even by kill -9, the node
goes too.
"""

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SPIN_S = 0.1
"""A signal is seen after this time at the latest."""


def node_class(name: str) -> Callable[..., PallasNode]:
    """The class of a node by its entry point in the group ``pallas.nodes``.

    Raises:
        PallasError: no such node is installed, or it needs a package that is not.
    """
    known = {entry.name: entry for entry in entry_points(group=GROUP)}
    if name not in known:
        raise PallasError(f"there is no node '{name}': {closest(name, known)}")
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
    """rclpy's EventsExecutor where there is one (Kilted and later), else the single-threaded one.

    Measured, four IMU topics at 100 Hz: all messages delivered, a median of 0.45 ms for 0.61, half
    the processor time (5 % of a core for 10 %). Only its `spin_once` is used: in rclpy 9.1 its
    `spin` runs no timer and burns a core when idle.
    """
    if os.environ.get("PALLAS_EXECUTOR") != "single_threaded":
        try:
            from rclpy.experimental import EventsExecutor

            return EventsExecutor()
        except ImportError:
            pass
    return SingleThreadedExecutor()


class _Stopped(BaseException):
    """A signal came while nodes were starting: whatever they wait for is not waited for
    any longer.
    """


def run(nodes: Sequence[PallasNode]) -> int:
    """Spin ``nodes`` until SIGINT, SIGTERM or SIGHUP, then stop them in order; the exit status.

    Those that start by themselves are configured last to first, so that the ports of simulated
    sensors exist when they are looked for, and activated first to last, so that subscribers are
    ready before the sensors begin.

    Raises:
        PallasError: a node was refused, or found that the process has to end (`PallasNode.fatal`).
    """
    stopping = spinning = False

    def stop(number: int, _: object) -> None:
        nonlocal stopping
        if stopping and number == signal.SIGTERM:
            os._exit(1)  # a second signal ends the process at once
        stopping = True
        if not spinning or any(node.building for node in nodes):
            raise _Stopped

    executor = make_executor()
    try:
        for number in STOP_SIGNALS:
            signal.signal(number, stop)
        for node in nodes:
            executor.add_node(node)
        pin_to_cores(*_cores(nodes))
        own = [node for node in nodes if node.settings["autostart"]]
        for node in reversed(own):
            node.bring("configure")
        settled = _settle(nodes)
        for node in own:
            node.bring("activate")
        spinning = True
        while not stopping:
            executor.spin_once(timeout_sec=SPIN_S)
            settled = settled or _settle(nodes)
            _raise_fatal(nodes)
    except (ExternalShutdownException, _Stopped):
        pass
    finally:
        spinning = True
        for node in nodes:
            node.stop()
        for node in nodes:
            executor.remove_node(node)
            node.destroy_node()
        executor.shutdown(timeout_sec=0.5)
        for number in STOP_SIGNALS:  # the handler would keep the nodes
            signal.signal(number, _end_now if number == signal.SIGTERM else signal.SIG_IGN)
    _raise_fatal(nodes)  # what went wrong in stopping
    return 0


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
    """Once all ``nodes`` are configured, and their models loaded: settle the memory and take the
    priority they ask for; whether it is done.
    """
    if not all(node.configured for node in nodes):
        return False
    settle_memory()
    # 20 > -1 > 0
    priority = max(
        (node.settings["priority"] for node in nodes), key=lambda priority: priority or -2
    )
    raise_priority(priority, nodes[0].get_logger().warning)
    return True


def die_with_parent() -> None:
    """Have the kernel end this process when the `pallas up` that started it is gone."""
    parent = int(os.environ.get(PARENT_VARIABLE, "0"))
    if not parent or not sys.platform.startswith("linux"):
        return
    PR_SET_PDEATHSIG = 1
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        raise PallasError("the process that started this node is gone")


def main(wanted: Sequence[tuple[str, Sequence[str]]]) -> int:
    """Run nodes in this process: each the name of its entry point and its ROS arguments
    (``--ros-args ...``), which hold for it alone.

    Returns:
        0 after a stop by signal, 2 with one sentence on standard error where something was refused.
    """
    names = [name for name, _ in wanted]
    try:
        die_with_parent()
        classes = [node_class(name) for name in names]
        alone = len(wanted) == 1
        middleware.prepare()
        rclpy.init(
            args=list(wanted[0][1]) if alone else [], signal_handler_options=SignalHandlerOptions.NO
        )
        try:
            own = [
                {} if alone else {"cli_args": list(arguments), "use_global_arguments": False}
                for _, arguments in wanted
            ]
            return run([create(**options) for create, options in zip(classes, own, strict=True)])
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
    """What ROS says where it cannot start, without its places in C."""
    text = " ".join(re.sub(r",? at /\S+:\d+", "", str(error)).split())
    if "security libraries" in text:
        return (
            "ROS is to run with security (ROS_SECURITY_ENABLE), but this Fast DDS is built without"
            " it, as that of the wheels is: use an installation from ROS's own packages, or unset"
            " ROS_SECURITY_ENABLE"
        )
    return f"ROS does not start: {text[:300]}"
