"""Grippers in hostile scenarios: random trigger values, including invalid ones, and the check of
the gripper commands.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hpstm_ros.safety import checker
from hpstm_ros.simulation.gripper import SimulatedGripper
from hpstm_ros.teleoperation.teleoperation import Teleoperation
from hpstm_ros.teleoperation.trigger import GripperTrigger

F64 = NDArray[np.float64]

_NONSENSE = (np.nan, np.inf, -np.inf, 1e300, -7.0)
_REST = 1e-9


@dataclass
class _Sent:
    """Commands of a gripper since the arm last became active, on a clock without jumps."""

    messages: list[tuple[NDArray[np.int64], F64]] = field(default_factory=list)
    end: float | None = None


class Triggers:
    """A joystick for the grippers of an arm, the grippers, and the check of their commands."""

    def __init__(self, random: np.random.Generator, hostility: float, arm: Teleoperation) -> None:
        self._random = random
        self._hostility = hostility
        self._arm = arm
        self._trigger = GripperTrigger("axis:5")
        self._simulated = [SimulatedGripper(each.gripper) for each in arm.grippers]
        self._sent = [_Sent() for _ in arm.grippers]
        self._led = False
        self.violations: list[str] = []

    def happen(self) -> None:
        """Press a trigger partly or fully, or set an invalid value."""
        random = self._random
        if not self._arm.grippers or random.random() > 0.05 + 0.2 * self._hostility:
            return
        value = float(random.uniform(-1.2, 1.2))
        if random.random() < self._hostility:
            value = float(random.choice(_NONSENSE))
        opening = self._trigger.opening([0.0] * 5 + [value], [])
        if random.random() < self._hostility:
            opening = value
        if opening is not None:
            self._arm.open_gripper(opening, int(random.integers(len(self._arm.grippers))))

    def feedback(self, now: int) -> None:
        """Feed gripper positions, sometimes wrong."""
        for gripper in self._simulated:
            gripper.advance(now)
            q = gripper.positions
            if self._random.random() < 0.1 * self._hostility:
                q = q + float(self._random.choice([np.nan, 0.01, 1e9]))
            self._arm.joints(now, now, tuple(gripper.joint_names), q)

    def emitted(self, offset: int, led: bool) -> None:
        """Check the commands of the last tick; ``offset`` ns corrects clock jumps."""
        if led and not self._led:
            self.finish()
        self._led = led
        for each, simulated, motion, sent in zip(
            self._arm.grippers, self._simulated, self._arm.gripper_motions, self._sent, strict=True
        ):
            if motion is None:
                continue
            simulated.command(motion.times, motion.q)
            gripper = each.gripper
            span = gripper.open - gripper.closed
            moves = np.abs(span) > _REST
            opening = np.mean(((motion.q - gripper.closed) / np.where(moves, span, 1))[:, moves], 1)
            if not (np.isfinite(motion.q).all() and np.isfinite(motion.dq).all()):
                self._record(f"gripper {each.arm}: a command is not finite")
                continue
            if not ((opening >= -_REST) & (opening <= 1 + _REST)).all():
                self._record(f"gripper {each.arm}: a command is beyond open or closed")
            if not np.abs(motion.dq[-1]).max() <= _REST:
                self._record(f"gripper {each.arm}: a command does not end at rest")
            if not led and sent.end is not None and abs(float(opening[-1]) - sent.end) > _REST:
                self._record(f"gripper {each.arm}: it was led on while the arm was not")
            sent.end = float(opening[-1])
            sent.messages.append((motion.times + offset, opening[:, None]))

    def finish(self) -> None:
        """Check the stream so far."""
        for each, sent in zip(self._arm.grippers, self._sent, strict=True):
            if sent.messages:
                times, states = checker.executed(sent.messages)
                found = checker.check(times, states, each.supervisor.limits)
                self.violations += [f"gripper {each.arm}: {violation}" for violation in found]
            sent.messages = []
            sent.end = None

    def _record(self, what: str) -> None:
        if what not in self.violations:
            self.violations.append(what)
