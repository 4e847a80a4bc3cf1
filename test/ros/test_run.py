"""The process that runs a node: its place on the machine."""

import os
import subprocess
import sys

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (make setup)")
pytest.importorskip("pallas.msg", reason="needs the generated messages (make setup)")

from pallas_ros.ros.node import ACTIVE


def _permitted() -> bool:
    code = "import os; os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(5))"
    return subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


def test_priority_and_cores_are_those_of_every_thread_or_a_warning_says_why_not(
    ros_domain: int,
) -> None:
    arguments = ["--ros-args", "-p", "priority:=5", "-p", "cpu_affinity:=[0]"]
    command = [sys.executable, "-m", "pallas_ros.nodes", "operator", *arguments]
    said = []
    with subprocess.Popen(
        command, stderr=subprocess.STDOUT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            said.append(line)
            if line.rstrip().endswith(ACTIVE):
                break
        threads = [int(name) for name in os.listdir(f"/proc/{process.pid}/task")]
        policies = {os.sched_getscheduler(thread) for thread in threads}
        cores = {frozenset(os.sched_getaffinity(thread)) for thread in threads}
        process.terminate()
    assert len(threads) > 3  # the middleware's too
    assert cores == {frozenset({0})}
    if _permitted():
        assert policies == {os.SCHED_FIFO}
    else:
        assert policies == {os.SCHED_OTHER} and any(
            "real-time priority 5 is not permitted" in line for line in said
        )


def test_a_core_that_is_not_there_is_one_sentence(ros_domain: int) -> None:
    command = [
        sys.executable,
        "-m",
        "pallas_ros.nodes",
        "operator",
        "--ros-args",
        "-p",
        "cpu_affinity:=[4095]",
    ]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 2
    assert "CPU core 4095" in ended.stderr.strip().splitlines()[-1]
