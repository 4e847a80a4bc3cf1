"""`pallas up` as a process of a test, and a listener to its topics."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from pallas_ros.body.names import TOPIC_PALLAS_BODY

START_S = 100.0


ENDING = 3
"""Bodies at a bag's end, at most, whose frame (published after the body) Ctrl-C kept from it."""


class Up:
    """A `pallas up` process and its output."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        config = folder / "graph.yaml"
        config.write_text(
            "parameter_files: {imu_simulator: simulator.yaml, imu_driver: driver.yaml}\n"
        )
        ports = [
            str(folder / "ports" / site) for site in ("pelvis", "neck", "left_wrist", "right_wrist")
        ]
        (folder / "simulator.yaml").write_text(
            f"imu_simulator:\n  ros__parameters:\n    port_folder: {folder / 'ports'}\n"
        )
        (folder / "driver.yaml").write_text(
            f"imu_driver:\n  ros__parameters:\n    ports: {ports}\n"
        )
        self.log = folder / f"up-{time.monotonic_ns()}.log"
        command = [
            sys.executable,
            "-m",
            "pallas_ros.cli",
            "up",
            "--config",
            str(config),
            *arguments,
        ]
        self.process = subprocess.Popen(
            command,
            stdout=self.log.open("w"),
            stderr=subprocess.STDOUT,
            cwd=folder,
            start_new_session=True,
        )

    def said(self) -> str:
        return self.log.read_text()

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait for a condition; the process must still run then."""
        end = time.monotonic() + START_S
        while not condition():
            assert self.process.poll() is None, self.said()
            assert time.monotonic() < end, self.said()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(0.01)

    def children(self) -> dict[str, int]:
        """Node -> process id."""
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if f"PPid:\t{self.process.pid}\n" in (folder / "status").read_text():
                    words = (folder / "cmdline").read_bytes().split(b"\0")
                    found[words[words.index(b"pallas_ros.nodes") + 1].decode()] = int(folder.name)
            except (OSError, ValueError):
                continue
        return found

    def end(self, limit_s: float = START_S) -> int:
        return self.process.wait(limit_s)


@contextlib.contextmanager
def bodies_heard() -> Iterator[Callable[[], list[int]]]:
    """Listen to /pallas/body in the test process.

    Each call listens briefly and returns the stamps (ns) received so far.
    """
    import rclpy
    from pallas.msg import BodyPose

    from pallas_ros.messages.decode import from_stamp

    rclpy.init()
    node = rclpy.create_node("listener")
    heard: list[int] = []
    node.create_subscription(
        BodyPose, TOPIC_PALLAS_BODY, lambda body: heard.append(from_stamp(body.header.stamp)), 100
    )

    def listen() -> list[int]:
        rclpy.spin_once(node, timeout_sec=0.05)
        return heard

    try:
        yield listen
    finally:
        node.destroy_node()
        rclpy.try_shutdown()


def gone(pids: list[int]) -> bool:
    return not any(
        Path(f"/proc/{pid}").exists() and "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
        for pid in pids
    )


def wait_gone(pids: list[int], limit_s: float = 10.0) -> None:
    end = time.monotonic() + limit_s
    while not gone(pids):
        assert time.monotonic() < end, "processes are left"
        os.sched_yield()
