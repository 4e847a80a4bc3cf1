"""The process that runs nodes: priority, signals and shutdown."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (make setup)")
pytest.importorskip("pallas.msg", reason="needs the generated messages (make setup)")

import rclpy
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState

from pallas_ros.body.errors import PallasError
from pallas_ros.graph.shared_memory import mapped_files
from pallas_ros.ros.node import ACTIVE
from pallas_ros.ros.run import MOST_FAILURES, _spin


def _permitted() -> bool:
    code = "import os; os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(5))"
    return subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


def test_priority_and_cores_apply_to_all_threads_or_a_warning_is_given(
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


@pytest.mark.skipif(not _permitted(), reason="real-time priority is not permitted here")
def test_the_recorder_receives_at_priority_and_writes_without(
    ros_domain: int, tmp_path: Path
) -> None:
    """Otherwise, on a busy machine, the bag shows the recorder's delay as that of the graph."""
    command = [sys.executable, "-m", "pallas_ros.nodes", "recorder", "--ros-args"]
    command += ["-p", "priority:=5", "-p", f"path:={tmp_path / 'bag'}"]
    with subprocess.Popen(
        command, stderr=subprocess.STDOUT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.rstrip().endswith(ACTIVE):
                break
        own = os.sched_getscheduler(process.pid)
        others = _policies(process.pid, besides=process.pid)
        process.terminate()
    assert own == os.SCHED_OTHER
    assert others == {os.SCHED_FIFO}


def _running(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "pallas_ros.nodes", "operator", "--ros-args", *arguments]
    return subprocess.Popen(
        command, stderr=subprocess.STDOUT, stdout=subprocess.PIPE, text=True, bufsize=1
    )


def _policies(pid: int, besides: int = 0) -> set[int]:
    threads = {int(name) for name in os.listdir(f"/proc/{pid}/task")} - {besides}
    return {os.sched_getscheduler(thread) for thread in threads}


@pytest.mark.skipif(not _permitted(), reason="real-time priority is not permitted here")
def test_a_node_that_is_not_configured_has_no_priority_yet(ros_nodes: list[Any]) -> None:
    """`configure` loads models for seconds; at real-time priority no other process would run
    meanwhile.
    """
    peer = rclpy.create_node("peer")
    ros_nodes.append(peer)
    configure = peer.create_client(ChangeState, "/operator/change_state")
    with _running("-p", "priority:=5", "-p", "autostart:=false") as process:
        try:
            assert configure.wait_for_service(timeout_sec=60.0)
            assert _policies(process.pid) == {os.SCHED_OTHER}
            request = ChangeState.Request(transition=Transition(id=Transition.TRANSITION_CONFIGURE))
            until = time.monotonic() + 60.0
            while _policies(process.pid) != {os.SCHED_FIFO}:
                assert time.monotonic() < until
                # DDS may drop an answer whose reader the node has not discovered yet
                answer = configure.call_async(request)
                rclpy.spin_until_future_complete(peer, answer, timeout_sec=5.0)
        finally:
            process.terminate()


def _threads(pid: int) -> list[str]:
    """Names of a process's threads; one may end meanwhile."""
    names = []
    for path in Path(f"/proc/{pid}/task").glob("*/comm"):
        with contextlib.suppress(OSError):
            names.append(path.read_text())
    return names


def _segments(pid: int) -> set[str]:
    """Return the shared-memory files mapped by a process."""
    maps = Path(f"/proc/{pid}/maps").read_text().split()
    return {word for word in maps if re.fullmatch(r"/dev/shm/fastdds_[0-9a-f]+", word)}


def _left(segments: set[str]) -> set[Path]:
    """Return those files that still exist and that no process maps.

    The process of an earlier test that is still ending keeps its own segment.
    """
    running = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
    return {Path(segment) for segment in segments if Path(segment).exists()} - mapped_files(running)


def test_after_ctrl_c_neither_the_node_nor_its_shared_memory_is_left(ros_nodes: list[Any]) -> None:
    """DDS announces the end by one best-effort message, which is lost on a busy machine in one of
    three cases. Each attempt has its own node name, since a node whose message was lost remains for
    20 s.
    """
    peer = rclpy.create_node("peer")
    ros_nodes.append(peer)
    assert any(_ends_with_nothing_left(peer, f"operator_{attempt}") for attempt in range(3))


def _ends_with_nothing_left(peer: Any, name: str) -> bool:
    own = _segments(os.getpid())
    with _running("-r", f"__node:={name}") as process:
        assert process.stdout is not None
        assert any(line.rstrip().endswith(ACTIVE) for line in process.stdout)
        until = time.monotonic() + 60.0
        while name not in peer.get_node_names():
            assert time.monotonic() < until
            time.sleep(0.05)
        segments = _segments(process.pid) - own
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60.0) == 0, process.stdout.read()
    assert segments
    assert not _left(segments)
    return _forgotten(peer, name)


def _forgotten(peer: Any, name: str) -> bool:
    """Return whether the node leaves the graph soon; if its announcement was lost, it remains for
    20 s.
    """
    until = time.monotonic() + 5.0
    while name in peer.get_node_names():
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True


def _ended(script: str) -> "subprocess.CompletedProcess[str]":
    """Run a script with a node; return the process after its end."""
    return subprocess.run(
        [sys.executable, "-c", script, "--ros-args"],
        stderr=subprocess.STDOUT,
        stdout=subprocess.PIPE,
        text=True,
        timeout=60,
    )


_INTERRUPTED_ACTIVATION = """
import os, signal, sys
from pallas_ros.ros import node, run
activate = node.PallasNode.on_activate
def interrupted(self, state):
    os.kill(os.getpid(), signal.SIGINT)
    return activate(self, state)
node.PallasNode.on_activate = interrupted
sys.exit(run.main([("operator", sys.argv[1:])]))
"""


def test_ctrl_c_during_the_activation_lets_it_end() -> None:
    """After an interrupted transition the node's state machine cannot shut down."""
    ended = _ended(_INTERRUPTED_ACTIVATION)
    assert ended.returncode == 0
    assert "while stopping" not in ended.stdout


_INTERRUPTED_CREATION = """
import os, signal, sys
from hpstm_ros.nodes.operator import OperatorNode
from pallas_ros.nodes.__main__ import main
create = OperatorNode.__init__
def created(self, **kwargs):
    create(self, **kwargs)
    os.kill(os.getpid(), signal.SIGINT)
    maps = open("/proc/self/maps").read().split()
    print(*sorted({word for word in maps if word.startswith("/dev/shm/fastdds_")}), flush=True)
OperatorNode.__init__ = created
sys.exit(main("operator"))
"""


def test_ctrl_c_during_the_creation_leaves_nothing(ros_nodes: list[Any]) -> None:
    """Regression: the process ended at once and left its shared memory and the node."""
    peer = rclpy.create_node("peer")
    ros_nodes.append(peer)
    own = _segments(os.getpid())
    ended = _ended(_INTERRUPTED_CREATION)
    files = ended.stdout.splitlines()[0].split()
    segments = {word for word in files if re.fullmatch(r"/dev/shm/fastdds_[0-9a-f]+", word)}
    assert ended.returncode == 0
    assert segments - own
    assert not _left(segments - own)
    assert _forgotten(peer, "operator")


_INTERRUPTED_CONFIGURATION = """
import sys, time
from hpstm_ros.nodes.operator import OperatorNode
from pallas_ros.ros import run
def slow(self):
    print("configuring", flush=True)
    time.sleep(20.0)
OperatorNode.configure = slow
sys.exit(run.main([("operator", sys.argv[1:])]))
"""


@pytest.mark.parametrize("autostart", [True, False])
def test_ctrl_c_during_the_configuration_is_no_error(ros_nodes: list[Any], autostart: bool) -> None:
    """Regression: with a manager, the exception was raised through rclpy, which logged a
    traceback.
    """
    peer = rclpy.create_node("peer")
    ros_nodes.append(peer)
    configure = peer.create_client(ChangeState, "/operator/change_state")
    command = [sys.executable, "-c", _INTERRUPTED_CONFIGURATION, "--ros-args"]
    command += ["-p", f"autostart:={autostart}"]
    with subprocess.Popen(
        command, stderr=subprocess.STDOUT, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            if not autostart:
                assert configure.wait_for_service(timeout_sec=60.0)
                request = ChangeState.Request()
                request.transition.id = Transition.TRANSITION_CONFIGURE
                configure.call_async(request)
            assert any("configuring" in line for line in process.stdout)
            process.send_signal(signal.SIGINT)
            said = process.communicate(timeout=60.0)[0]
        finally:
            process.kill()
    assert process.returncode == 0, said
    assert not said.strip()


_INTERRUPTED_CALLBACK = """
import os, signal, sys
from pallas_ros.ros import node, run
activate = node.PallasNode.activate
def activated(self):
    activate(self)
    self.every(0.01, lambda: (os.kill(os.getpid(), signal.SIGINT), print("active:", self.active)))
node.PallasNode.activate = activated
sys.exit(run.main([("operator", sys.argv[1:])]))
"""


def test_after_ctrl_c_nothing_is_processed() -> None:
    """A message published then would be late, while the graph shuts down."""
    ended = _ended(_INTERRUPTED_CALLBACK)
    assert ended.returncode == 0
    assert re.findall("active: .*", ended.stdout) == ["active: False"]


_SLOW_SIGN_OFF = """
import sys
from pallas_ros.ros import leaving, run
leaving.SIGN_OFF_S = 60.0
sys.exit(run.main([("operator", sys.argv[1:])]))
"""


def test_peers_learn_that_the_nodes_are_gone_before_the_process_leaves_dds(
    ros_nodes: list[Any],
) -> None:
    """A peer that receives both at once may keep the nodes in its graph permanently."""
    peer = rclpy.create_node("peer")
    ros_nodes.append(peer)
    command = [sys.executable, "-c", _SLOW_SIGN_OFF, "--ros-args"]
    with subprocess.Popen(
        command, stderr=subprocess.STDOUT, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert any(line.rstrip().endswith(ACTIVE) for line in process.stdout)
            until = time.monotonic() + 60.0
            while "operator" not in peer.get_node_names():
                assert time.monotonic() < until
                time.sleep(0.05)
            process.send_signal(signal.SIGINT)
            while "operator" in peer.get_node_names():
                if process.poll() is not None:
                    pytest.fail(f"the process left DDS first: {process.stdout.read()}")
                time.sleep(0.05)
            time.sleep(0.5)  # it takes the participant less to end
            assert any(name.startswith("dds.ev") for name in _threads(process.pid)), "left DDS"
        finally:
            process.kill()


_RAISING_TASK = """
import sys
from pallas_ros.ros import node, run
activate = node.PallasNode.activate
def activated(self):
    activate(self)
    def fails():
        raise RuntimeError("a task of rclpy")
    self.executor.create_task(fails)
    self.every(0.01, lambda: setattr(self, "fatal", "ended later"))
node.PallasNode.activate = activated
sys.exit(run.main([("operator", sys.argv[1:])]))
"""


def test_a_task_that_raises_is_reported_and_ends_nothing() -> None:
    """rclpy accesses the logger of the only node with an index that its set does not support."""
    ended = _ended(_RAISING_TASK)
    assert "Segmentation fault" not in ended.stdout
    assert "rclpy: RuntimeError: a task of rclpy (1 so far)" in ended.stdout
    assert ended.returncode == 2  # by what was called after it
    assert "operator: ended later" in ended.stdout


_FAILING_ANSWER = """
import sys
from rclpy.service import Service
from pallas_ros.ros import node, run
def fails(self, *_):
    raise RuntimeError("failed to send response")
Service.send_response = fails
sys.exit(run.main([("operator", sys.argv[1:])]))
"""


def test_an_answer_that_cannot_be_sent_is_reported_and_ends_nothing(
    ros_nodes: list[Any], tmp_path: Path
) -> None:
    peer = rclpy.create_node("peer")
    ros_nodes.append(peer)
    client = peer.create_client(ChangeState, "/operator/change_state")
    command = [sys.executable, "-c", _FAILING_ANSWER, "--ros-args"]
    said = tmp_path / "said"
    with (
        said.open("w") as file,
        subprocess.Popen(command, stderr=subprocess.STDOUT, stdout=file) as process,
    ):
        try:
            until = time.monotonic() + 60.0
            while "rclpy: RuntimeError: failed to send" not in said.read_text():
                assert process.poll() is None and time.monotonic() < until, said.read_text()
                if client.service_is_ready():
                    client.call_async(ChangeState.Request(transition=Transition(id=99)))
                time.sleep(0.1)
            process.send_signal(signal.SIGINT)
            assert process.wait(60.0) == 0
        finally:
            process.kill()


def test_an_executor_that_fails_repeatedly_ends_the_process() -> None:
    class Broken:
        def spin_once(self, timeout_sec: float) -> None:
            raise RuntimeError("no")

    class Reporter:
        def report(self, what: str, error: Exception) -> None:
            assert (what, str(error)) == ("rclpy", "no")

    broken: Any = Broken()
    reporter: Any = Reporter()
    failures = 0
    while failures < MOST_FAILURES:
        failures = _spin(broken, reporter, failures)
    with pytest.raises(PallasError, match="fails repeatedly: no"):
        _spin(broken, reporter, failures)
