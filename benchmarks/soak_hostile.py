"""Run the real graph under hostile publishers for an hour, and check the arm's commands.

    python benchmarks/soak_hostile.py --minutes 60 --json soak_hostile.json
    python benchmarks/soak_hostile.py --minutes 5 -- body:=generated operator:=auto

Starts `pallas up` with simulated sensors, a simulated arm and the motion generator; a second
process attacks it (`soak_attacks.py`), and this one subscribes to the commands. Each minute, the
commands that a controller would execute are checked against all limits by the independent checker
(`hpstm_ros.safety.checker`). Latency is not measured here.

tracks      fraction of the supervisor's status messages with "tracking"
violations  of position, velocity, acceleration, jerk, tip speed, workspace and consistency
steps
    number of times the arm was engaged farther from its commanded position than the supervisor
    tolerates, except during false joint states
faults      lines of the log with a traceback or "fault of pallas itself"
restarts    processes that were replaced

The exit status is 1 if one of the last four is not 0.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import rclpy
from numpy.typing import NDArray
from pallas.msg import SupervisorStatus
from rclpy.qos import QoSProfile
from rclpy.serialization import deserialize_message
from soak_attacks import attack_at
from trajectory_msgs.msg import JointTrajectory

from hpstm_ros.retarget.robots import load_robot
from hpstm_ros.safety.checker import check, check_collisions, check_states, check_tips
from hpstm_ros.safety.limits import SupervisorSettings
from hpstm_ros.teleoperation.teleoperation import limits_of
from pallas_ros.body.names import DEFAULT_CONTROLLER, TOPIC_JOINT_TRAJECTORY, TOPIC_SUPERVISOR
from pallas_ros.messages.decode import from_stamp
from pallas_ros.ros import middleware

WORDS = ["prediction:=true", "operator:=auto"]
START_S = 180.0
STOP_S = 60.0
READ_S = 0.02
PRIORITY = 10
"""Real-time priority of the simulators and the operator node, which would be late on a busy
machine; below that of the nodes from the sensors to the arm.
"""
SAME_RAD = 1e-9
_OVERLAP = 4
"""Points of a minute that are checked again with the next one, so that no difference is omitted."""
_RECOVERY_S = 1.0
"""After false joint states, steps of the command stream are not counted for this long."""
HEAD = " minute  commands  tracks  violations  not finite  steps  faults  restarts  missed     MB"


class Judge:
    """Checks the command stream that a controller executes."""

    def __init__(self, robot: str) -> None:
        self._robot = load_robot(robot)
        self._limits = limits_of(self._robot)
        self._tips = [self._robot.frame(arm.tip) for arm in self._robot.arms]
        self._plan: list[tuple[int, Any]] = []
        self._done: list[list[tuple[int, Any]]] = [[]]
        self.commands = self.steps = self.engaged = 0

    def add(self, message: JointTrajectory, false_states: bool) -> None:
        """Add a command; ``false_states``: joint states were falsified shortly before.

        If it does not begin where the last one came to rest, the arm was engaged again at its
        measured position, and a new stream begins.
        """
        self.commands += 1
        start = from_stamp(message.header.stamp)
        times = [
            start + p.time_from_start.sec * 10**9 + p.time_from_start.nanosec
            for p in message.points
        ]
        states = [(p.positions, p.velocities, p.accelerations) for p in message.points]
        if self._plan:
            end, at_end = self._plan[-1]
            away = np.abs(np.subtract(states[0][0], at_end[0])).max()
            if times[0] < end or away <= SAME_RAD:
                self._done[-1] += [point for point in self._plan if point[0] < times[0]]
            else:
                self._done[-1] += self._plan
                self._done.append([])
                self.engaged += 1
                self.steps += bool(not false_states and not away <= SupervisorSettings().deviation)
        self._plan = list(zip(times, states, strict=True))

    def lost(self) -> None:
        """Begin a new stream after commands that this process missed and the controller did not."""
        self._plan = []
        self._done.append([])

    def violations(self) -> list[str]:
        """Return the violations in the commands executed since the last call."""
        found = []
        for stream in self._done:
            if len(stream) > _OVERLAP:
                times = np.array([t for t, _ in stream])
                found += self._check(times, np.array([s for _, s in stream], dtype=float))
        self._done = [self._done[-1][-_OVERLAP:]]
        return found

    def _check(self, times: NDArray[np.int64], states: NDArray[np.float64]) -> list[str]:
        q = states[:, 0]
        limits = self._limits
        model = self._robot.model
        found = check(times, q, limits) + check_states(times, states, limits)
        if np.isfinite(q).all():
            found += check_tips(times, q, model, self._tips, limits)
            found += check_collisions(times, q, model, self._robot.geometry, every=16)
        return [str(violation) for violation in found]


class Listener:
    """Receives commands and status, each message once, and counts lost ones."""

    def __init__(self) -> None:
        self.node = rclpy.create_node("soak_hostile", enable_rosout=False)
        depth = QoSProfile(depth=5000)
        topic = TOPIC_JOINT_TRAJECTORY.format(controller=DEFAULT_CONTROLLER)
        nothing = lambda _: None  # noqa: E731
        self._subscriptions = [
            self.node.create_subscription(kind, name, nothing, depth, raw=True)
            for kind, name in ((JointTrajectory, topic), (SupervisorStatus, TOPIC_SUPERVISOR))
        ]
        self._numbers: dict[str, int] = {}
        self.missed = 0

    def receive(self) -> list[Any]:
        """Return the messages received since the last call, with None where commands were lost."""
        found = []
        for subscription in self._subscriptions:
            with subscription.handle:
                while taken := subscription.handle.take_message(subscription.msg_type, True):
                    number = taken[1]["publication_sequence_number"]
                    before = self._numbers.get(subscription.topic_name, number - 1)
                    self._numbers[subscription.topic_name] = number
                    lost = max(0, number - before - 1)
                    self.missed += lost
                    if lost and subscription.msg_type is JointTrajectory:
                        found.append(None)
                    found.append(deserialize_message(taken[0], subscription.msg_type))
        return found


def nodes_of(process: int) -> dict[str, int]:
    """Node -> process id, of the children of a `pallas up`."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if f"PPid:\t{process}\n" in (folder / "status").read_text():
                words = (folder / "cmdline").read_bytes().split(b"\0")
                found[words[words.index(b"pallas_ros.nodes") + 1].decode()] = int(folder.name)
        except (OSError, ValueError):
            continue
    return found


def memory_mb(process: int) -> float:
    """Return the resident memory; 0 if the process has ended."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return 0.0
    return int(status.split("VmRSS:")[1].split()[0]) / 1e3


def faults_in(log: Path) -> int:
    """Return the number of unhandled exceptions in a log."""
    text = log.read_text(errors="replace")
    return text.count("Traceback (most recent") + text.count("fault of pallas itself")


def start(folder: Path, words: list[str]) -> tuple[subprocess.Popen[bytes], Path]:
    """Start `pallas up` with its simulated ports in ``folder``, and its log."""
    ports = [str(folder / site) for site in ("pelvis", "neck", "left_wrist", "right_wrist")]
    settings = {
        "imu_driver": {"ports": ports},
        "imu_simulator": {"port_folder": str(folder), "priority": PRIORITY},
        **{node: {"priority": PRIORITY} for node in ("arm_simulator", "operator")},
    }
    files = {}
    for node, parameters in settings.items():
        files[node] = f"{node}.yaml"
        (folder / files[node]).write_text(json.dumps({node: {"ros__parameters": parameters}}))
    config = folder / "graph.yaml"
    config.write_text(json.dumps({"parameter_files": files}))
    log = folder / "up.log"
    command = [sys.executable, "-m", "pallas_ros.cli", "up", "--config", str(config), *words]
    with log.open("w") as file:
        return subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT), log


class Soak:
    """A graph, its attackers, and a listener."""

    def __init__(self, args: argparse.Namespace, folder: Path) -> None:
        self._args = args
        self._attacks: subprocess.Popen[bytes] | None = None
        self._up, self.log = start(folder, args.words or WORDS)
        self._listener = Listener()
        self._judge = Judge(args.robot)
        self._tracked: dict[str, Counter[bool]] = defaultdict(Counter)
        self._memory: list[dict[str, float]] = []
        self._last_false_s = 0.0
        self._last = SupervisorStatus()

    def begin(self) -> None:
        """Wait until the arm tracks, then start the attacks."""
        begun = time.time()
        while not any(getattr(m, "state_name", "") == "tracking" for m in self._listener.receive()):
            time.sleep(0.1)
            if self._up.poll() is not None or time.time() - begun > START_S:
                raise SystemExit(f"the arm does not track:\n{self._said()}")
        self._nodes = nodes_of(self._up.pid)
        self._since = time.time()
        command = [sys.executable, str(Path(__file__).with_name("soak_attacks.py"))]
        command += ["--seed", str(self._args.seed), "--robot", self._args.robot]
        self._attacks = subprocess.Popen([*command, "--since", str(self._since)])

    def minute(self, number: int) -> dict[str, Any]:
        """Return the row of a minute; the texts of violations are under "found"."""
        before = self._judge.commands
        states: Counter[bool] = Counter()
        while time.time() < self._since + 60 * number and self.runs():
            time.sleep(READ_S)
            self._count_messages(states)
        nodes = nodes_of(self._up.pid)
        self._memory.append({node: memory_mb(process) for node, process in self._nodes.items()})
        found = self._judge.violations()
        return {
            "minute": number,
            "commands": self._judge.commands - before,
            "tracks": _share(states),
            "violations": len(found),
            "not finite": sum(text.startswith("finite") for text in found),
            "steps": self._judge.steps,
            "faults": faults_in(self.log),
            "restarts": sum(nodes.get(node) != known for node, known in self._nodes.items()),
            "missed": self._listener.missed,
            "MB": sum(self._memory[-1].values()),
            "found": found[:20],
        }

    def _count_messages(self, states: Counter[bool]) -> None:
        now = time.time()
        kind = attack_at(now - self._since)
        self._last_false_s = now if kind == "joint states" else self._last_false_s
        for message in self._listener.receive():
            if message is None:
                self._judge.lost()
            elif isinstance(message, JointTrajectory):
                self._judge.add(message, now - self._last_false_s < _RECOVERY_S)
            else:
                self._last = message
                states[message.state_name == "tracking"] += 1
                self._tracked[kind][message.state_name == "tracking"] += 1

    def runs(self) -> bool:
        """Whether the graph and the attacks are still running."""
        return self._up.poll() is None and self._attacks is not None and not self._attacks.poll()

    def _said(self) -> str:
        return self.log.read_text(errors="replace")[-3000:]

    def end(self) -> dict[str, Any]:
        """Stop everything; return the figures of the whole run."""
        if self._attacks is not None:
            self._attacks.kill()
            self._attacks.wait()
        self._up.send_signal(signal.SIGINT)
        status = self._up.wait(STOP_S)
        if self._args.log:
            self._args.log.write_text(self.log.read_text(errors="replace"))
        nodes = self._memory[0] if self._memory else {}
        return {
            "status": status,
            "tracks": {kind: _share(counts) for kind, counts in self._tracked.items()},
            "MB": {node: (first, self._memory[-1][node]) for node, first in nodes.items()},
            "inputs refused": self._last.inputs_refused,
            "strangers refused": self._last.strangers_refused,
        }


def _share(counts: Counter[bool]) -> float:
    return counts[True] / max(counts.total(), 1)


def _cell(name: str, value: Any) -> str:
    if name == "found":
        return " ".join(value[:3])
    width = max(len(name), 6) + 1
    return f"{100 * value:.0f} %".rjust(width) if name == "tracks" else f"{value:.0f}".rjust(width)


def main() -> int:
    """Run, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--robot", default="panda")
    parser.add_argument("--json", type=Path, metavar="F", help="also write the figures there")
    parser.add_argument("--log", type=Path, metavar="F", help="store the nodes' log there")
    parser.add_argument("words", nargs="*", help="for `pallas up`, after --")
    args = parser.parse_args()
    middleware.prepare()
    rclpy.init()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        soak = Soak(args, Path(folder))
        try:
            soak.begin()
            print(HEAD, flush=True)
            while len(rows) < args.minutes and soak.runs():
                rows.append(soak.minute(len(rows) + 1))
                print(*(_cell(*item) for item in rows[-1].items()), flush=True)
        finally:
            whole = soak.end()
    rclpy.try_shutdown()
    print("tracks:", ", ".join(f"{kind} {100 * n:.0f} %" for kind, n in whole["tracks"].items()))
    print("MB, first minute and last:", whole["MB"])
    print({key: whole[key] for key in ("inputs refused", "strangers refused", "status")})
    if args.json:
        args.json.write_text(json.dumps({"minutes": rows, **whole}, indent=1) + "\n")
    bad = sum(row["violations"] + row["restarts"] for row in rows)
    last = rows[-1] if rows else {"faults": 1, "steps": 0}
    bad += last["faults"] + last["steps"] + whole["status"]
    return 1 if bad or len(rows) < args.minutes else 0


if __name__ == "__main__":
    sys.exit(main())
