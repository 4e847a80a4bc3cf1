"""Evaluate a recorded run of the whole graph: statistics of body and arm, a video of both, and a
page.
"""

import html
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpstm_ros.retarget.robots import RobotDescription
from hpstm_ros.safety.checker import Violation, check, check_tips, executed
from hpstm_ros.teleoperation.teleoperation import guard_of, limits_of
from pallas_ros.bags import Bag
from pallas_ros.bags.bodies import read_bodies
from pallas_ros.bench.rows import GOALS as DESIGN
from pallas_ros.body.names import (
    DEFAULT_CONTROLLER,
    TOPIC_DIAGNOSTICS,
    TOPIC_JOINT_STATES,
    TOPIC_JOINT_TRAJECTORY,
    TOPIC_PALLAS_BODY,
)
from pallas_ros.graph.measurement import LOST, of_bag
from pallas_ros.messages.decode import from_stamp

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

COMMANDS = TOPIC_JOINT_TRAJECTORY.format(controller=DEFAULT_CONTROLLER)
GOALS = {
    "max_gap_ms": 50.0,
    **{key: DESIGN["end_to_end", "processes", key] for key in ("latency_p50_ms", "latency_p99_ms")},
    "limit_violations": 0,
}
"""Upper limits for the run."""

LABELS = {
    "body_rate_hz": ("bodies", "Hz"),
    "max_gap_ms": ("longest gap between bodies", "ms"),
    "latency_p50_ms": ("IMU stamp to joint command, median", "ms"),
    "latency_p99_ms": ("IMU stamp to joint command, 99th percentile", "ms"),
    "body_error_cm": ("body error relative to the motion played, mean over joints", "cm"),
    "arm_error_mm": ("tip error of the arm relative to its command, rms", "mm"),
    "commands": ("joint commands", ""),
    "limit_violations": ("limit violations", ""),
    "messages_lost": ("messages lost", ""),
    "commands_missing": ("joint commands among them", ""),
}


@dataclass
class Arm:
    """The arm in a run: the commands that its controller followed and the measured positions.

    Attributes:
        times, q: (N,) ns and (N, n) rad commanded.
        measured_times, measured: (M,) ns and (M, n) rad.
    """

    times: I64
    q: F64
    measured_times: I64
    measured: F64

    @classmethod
    def read(cls, bag: Bag, robot: RobotDescription) -> "Arm":
        """Read from a bag; empty if the arm received no commands."""
        names = list(robot.joint_names)
        messages = []
        for _, message in bag.read(COMMANDS):
            order = [list(message.joint_names).index(name) for name in names]
            start = from_stamp(message.header.stamp)
            stamps = np.array(
                [
                    start + point.time_from_start.sec * 10**9 + point.time_from_start.nanosec
                    for point in message.points
                ]
            )
            messages.append(
                (stamps, np.array([np.asarray(point.positions)[order] for point in message.points]))
            )
        times, q = executed(messages)
        states = [
            (
                from_stamp(message.header.stamp),
                np.asarray(message.position)[[list(message.name).index(name) for name in names]],
            )
            for _, message in bag.read(TOPIC_JOINT_STATES)
        ]
        measured = np.array([state for _, state in states]).reshape(-1, len(names))
        return cls(
            times,
            q.reshape(-1, len(names)),
            np.array([stamp for stamp, _ in states], dtype=np.int64),
            measured,
        )

    def error_mm(self, robot: RobotDescription) -> float | None:
        """RMS distance in mm of the measured tips from the commanded ones at the same times."""
        inside = (
            (self.measured_times >= self.times[0]) & (self.measured_times <= self.times[-1])
            if len(self.times)
            else np.zeros(0, bool)
        )
        if not inside.any():
            return None
        at = self.measured_times[inside]
        guard = guard_of(robot)
        wanted = np.stack([np.interp(at, self.times, column) for column in self.q.T], axis=1)
        tips = [
            (guard.tips(a), guard.tips(b))
            for a, b in zip(wanted, self.measured[inside], strict=True)
        ]
        return float(1e3 * np.sqrt(np.mean([np.sum((a - b) ** 2, axis=-1) for a, b in tips])))

    def violations(self, robot: RobotDescription) -> list[Violation]:
        """Limit violations of the commands, found by the independent checker."""
        limits = limits_of(robot)
        frames = [robot.frame(arm.tip) for arm in robot.arms]
        return check(self.times, self.q, limits) + check_tips(
            self.times, self.q, robot.model, frames, limits
        )


def summarise(bag: Bag, robot: RobotDescription, arm: Arm) -> dict[str, Any]:
    """All figures of a run, with the keys of `LABELS`."""
    run, missing = of_bag(bag, COMMANDS)
    violations = arm.violations(robot)
    error = arm.error_mm(robot)
    return {
        **run.summary(),
        "arm_error_mm": None if error is None else round(error, 3),
        "commands": run.commands,
        "limit_violations": len(violations),
        "messages_lost": missing,
        "commands_missing": commands_missing(bag),
        "violations": [str(violation) for violation in violations],
    }


def commands_missing(bag: Bag) -> int:
    """Number of joint commands that the recorder missed, according to the middleware.

    The evaluated stream jumps at a missing command, although the arm may have received it.
    """
    missing = 0
    for _, message in bag.read(TOPIC_DIAGNOSTICS):
        for status in message.status:
            counts = [int(pair.value) for pair in status.values if pair.key == LOST + COMMANDS]
            missing = max([missing, *counts])
    return missing


def frames(bag: Bag, robot: RobotDescription, arm: Arm, fps: float) -> Iterator[NDArray[np.uint8]]:
    """Draw the human beside the arm: images (height, width, 3), ``fps`` per second of the run.

    Raises:
        ImportError: a package for drawing is not installed.
    """
    from pallas_ros.view.figure import Figure, Person
    from pallas_ros.view.robot import RobotShape

    figure = Figure(robot=RobotShape.load(robot.path))
    due = 0.0
    start = None
    for _, body in read_bodies(bag, TOPIC_PALLAS_BODY):
        start = body.stamp if start is None else start
        seconds = (body.stamp - start) * 1e-9
        if seconds < due:
            continue
        due += 1 / fps
        row = int(np.searchsorted(arm.measured_times, body.stamp))
        q = arm.measured[min(row, len(arm.measured) - 1)] if len(arm.measured) else robot.q_ready
        ground = np.array([body.positions[0, 0], body.positions[0, 1], 0.0])
        joints = dict(zip(robot.joint_names, q.tolist(), strict=True))
        yield figure.draw(
            [Person(body.positions - ground, body.rotations)],
            joints=joints,
            caption=f"t = {seconds:.1f} s",
        )


def rows(summary: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Rows of the final table: label, value with unit, and whether the goal was met."""
    lines = []
    for key, (label, unit) in LABELS.items():
        value = summary.get(key)
        text = "not measured" if value is None else f"{value:g} {unit}".strip()
        verdict = _verdict(value, GOALS.get(key))
        if key == "limit_violations" and value and summary.get("commands_missing"):
            verdict = "not judged: commands are missing from the bag"
        lines.append((label, text, verdict))
    return lines


def _verdict(value: float | None, goal: float | None) -> str:
    if goal is None:
        return ""
    if value is not None and value <= goal:
        return "met"
    return f"missed, goal {goal:g}"


def page(summary: dict[str, Any], clip: str | None, title: str) -> str:
    """The self-contained HTML page with video and figures."""
    cells = "".join(
        f"<tr><td>{html.escape(a)}</td><td>{html.escape(b)}</td><td>{html.escape(c)}</td></tr>"
        for a, b, c in rows(summary)
    )
    film = (
        ""
        if clip is None
        else f'<video src="{html.escape(clip)}" controls autoplay muted loop></video>'
    )
    if clip is not None and clip.endswith(".gif"):
        film = f'<img src="{html.escape(clip)}" alt="the operator and the arm">'
    style = (
        "body{font:16px system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;"
        "color:#1c2430}"
        "video,img{width:100%;border-radius:8px}"
        "table{border-collapse:collapse;width:100%;margin-top:1rem}"
        "td{padding:.4rem .6rem;border-bottom:1px solid #dde2ea}"
        "td:nth-child(2){font-variant-numeric:tabular-nums}"
    )
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport"'
        f' content="width=device-width">'
        f"<title>{html.escape(title)}</title><style>{style}</style><h1>{html.escape(title)}</h1>{film}<table>{cells}</table>"
        "<p>The bag, the video and summary.json are in the same folder. Latency is measured from"
        " the stamp of the newest IMU sample in a body to the time at which the recorder's"
        " middleware receives the first joint command computed from that body. The gap is that of"
        " received bodies. The recorder has ordinary priority, so on a busy machine both include"
        " its own delay.</p></html>\n"
    )
