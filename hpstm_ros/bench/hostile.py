"""Hostile input for retargeting and supervisor, with an independent check of the commands.

A run is a seeded scenario: bodies with NaN, jumps, gaps, reversed stamps and teleporting wrists;
joint states that are wrong, stuck or missing; buttons pressed at random; parameters changed at
random, also to invalid values; a clock that jitters, stalls and jumps. The arm is ideal, or
temporarily stuck. Only the emitted commands are checked: against the limits
(`hpstm_ros.safety.checker`), and against the scenario's own knowledge of whether the arm may move
(`Permission`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from hpstm_ros.bench.command_stream import CommandStream
from hpstm_ros.bench.hostile_bodies import WavingBodies
from hpstm_ros.bench.intruders import BlindGuard, Intruders
from hpstm_ros.bench.permission import Permission
from hpstm_ros.bench.players import Player
from hpstm_ros.bench.triggers import Triggers
from hpstm_ros.retarget.robots import RobotDescription
from hpstm_ros.safety.limits import SupervisorSettings
from hpstm_ros.safety.supervisor import SupervisorState
from hpstm_ros.teleoperation.teleoperation import Teleoperation, guard_of
from pallas_ros.body.errors import PallasError
from pallas_ros.body.frames import BodyFrame
from pallas_ros.body.motion import Motion

F64 = NDArray[np.float64]

_NS = 1_000_000_000
_LED = (SupervisorState.ALIGNING, SupervisorState.TRACKING)
_WITHOUT_OPERATOR = (SupervisorState.DISENGAGED, SupervisorState.STOPPED)


@dataclass
class Verdict:
    """Result of a run.

    Attributes:
        frames: number of bodies.
        commands: number of commands sent.
        violations: found by the checker, in words; empty for a pass.
        led, tracked: fraction of commands that continued the motion, and of those sent while
            tracking; a pass is meaningful only if they are large.
        stop_begins_s: longest time from the newest measurement in a good body to the last command
            that continued the motion.
    """

    frames: int = 0
    commands: int = 0
    violations: list[str] = field(default_factory=list)
    led: float = 0.0
    tracked: float = 0.0
    stop_begins_s: float = 0.0


class HostileRun:
    """A seeded scenario; `run` executes and checks it."""

    def __init__(
        self,
        robot: RobotDescription,
        seed: int,
        frames: int,
        *,
        looks_around: bool = False,
        intruders: bool = False,
        triggers: bool = False,
        clips: Sequence[Motion] = (),
    ) -> None:
        """Create a teleoperation of ``robot`` that receives ``frames`` bodies at about 60 Hz; the
        scenario is determined by ``seed``.

        ``looks_around``: barriers are computed after each command, as in the node, instead of
        before the next. ``intruders``: other people come into view, sources repeat and flood, the
        guard fails (`hpstm_ros.bench.intruders`). ``triggers``: grippers are opened and closed
        (`hpstm_ros.bench.triggers`). ``clips``: bodies are those of generated motion
        (`hpstm_ros.bench.players`).
        """
        self._random = random = np.random.default_rng(seed)
        self._robot = robot
        self._looks_around = looks_around
        self._tip_speed = float(random.choice([0.25, 0.25, 1.0, 3.0]))
        safety = SupervisorSettings(
            period=float(random.choice([0.002, 0.004, 0.008, 1 / 60], p=[0.08, 0.08, 0.5, 0.34])),
            require_dead_man=bool(random.random() < 0.3),
            lead=float(random.choice([0.0, 0.002, 0.01])),
        )
        self._intruders: Intruders | None = None
        guard = BlindGuard(guard_of(robot), self._is_blind) if intruders else None
        self._arm = Teleoperation(robot, None, None, safety, self._tip_speed, guard=guard)
        self._limits = self._arm.supervisor.limits
        self._frames = frames
        self._bodies = WavingBodies(random, frames)
        self._may = Permission(safety)
        self._hostility = float(random.choice([0.0, 0.02, 0.1, 0.5]))
        self._now = 10 * _NS
        self._offset = 0
        self._ticked = self._now
        self._q = np.clip(
            robot.q_ready + random.normal(0, 0.05, robot.dof), robot.lower, robot.upper
        )
        self._stuck_until = self._gap_until = self._silent_until = self._true_state_at = 0
        self._speeds = [(0, self._tip_speed)]
        self._stream = CommandStream()
        self._led = self._tracked = 0
        self._verdict = Verdict()
        # Later additions draw from separate generators, so that older seeds give the same
        # scenarios.
        self._apart, of_intruders, of_triggers = random.spawn(3)
        if intruders:
            self._intruders = Intruders(of_intruders, self._hostility)
        self._triggers: Triggers | None = None
        if triggers:
            self._triggers = Triggers(of_triggers, self._hostility, self._arm)
        self._player: Player | None = None
        if clips:
            self._player = Player(random.spawn(1)[0], self._hostility, clips)

    def run(self) -> Verdict:
        """Feed the bodies, tick in between, and check the commands."""
        self._arm.simulate_rest(self._now, self._q)
        self._may.joints = self._true_state_at = self._now - _NS // 100  # the last of those states
        self._feedback()
        self._engage()
        for frame in range(self._frames):
            self._apply_events()
            if self._triggers is not None:
                self._triggers.happen()
            if self._now >= self._gap_until:
                body = self._bodies.good(
                    frame, self._now - int(self._random.integers(0, 20_000_000))
                )
                if self._player is not None:
                    body = self._player.body(body)
                if self._random.random() < self._hostility:
                    body = self._bodies.spoil(body)
                self._take(body)
                self._emit()
                if self._looks_around:
                    self._arm.retargeter.look_around()
            until = self._now + _NS // 60
            while self._now < until:
                until += self._wait()
                self._feedback()
                self._emit()
        self._verdict.frames = self._frames
        self._finish_stream()
        if self._triggers is not None:
            self._triggers.finish()
            self._verdict.violations += self._triggers.violations
        self._verdict.led = self._led / max(self._verdict.commands, 1)
        self._verdict.tracked = self._tracked / max(self._verdict.commands, 1)
        return self._verdict

    def _take(self, body: BodyFrame) -> None:
        """Feed a body, with the changes of intruders."""
        bodies = [body] if self._intruders is None else self._intruders.bodies(body, self._now)
        for arrived in bodies:
            if self._arm.body(self._now, arrived):
                if self._arm.supervisor.state in _WITHOUT_OPERATOR:
                    self._may.stopped()
                self._record(self._may.saw(self._now, arrived))

    def _is_blind(self) -> bool:
        return self._may.blind

    def _record(self, what: str) -> None:
        if what and what not in self._verdict.violations:
            self._verdict.violations.append(what)

    def _wait(self) -> int:
        """Advance time by about a period, sometimes by nothing or much more; returns the additional
        clock jump in ns, which may be negative.
        """
        random = self._random
        step = self._arm.supervisor.settings.period
        wait = step * float(random.uniform(0.7, 1.3))
        if random.random() < 0.05 * self._hostility:
            wait = float(random.choice([0.0, 0.0005, 0.03, 0.09, 0.3]))
        jump = 0
        if random.random() < 0.002 * self._hostility:
            jump = int(random.choice([-1, 1])) * int(random.integers(1, 100 * _NS))
        self._now += round(wait * _NS) + jump
        if self._now < self._ticked:
            # a step back counts as no elapsed time in the supervisor and in the checker's clock
            self._offset += self._ticked - self._now
            self._may.clock_went_back()
        return jump

    def _apply_events(self) -> None:
        """Apply random buttons, parameters and faults."""
        random = self._random
        supervisor = self._arm.supervisor
        now = self._now
        if self._intruders is not None:
            self._intruders.happen(now)
            self._may.blind = self._intruders.blind
            self._may.fault = self._intruders.fault
            supervisor.fault("intruder", "a connection is wrong" if self._may.fault else "")
        if supervisor.settings.require_dead_man and random.random() > 0.1 * self._hostility:
            self._press(random.random() > 0.05 * self._hostility)
        if (
            supervisor.state in (SupervisorState.DISENGAGED, SupervisorState.STOPPED)
            and random.random() < 0.2
        ):
            supervisor.emergency_released(now)
            supervisor.reset(now)
            self._engage()
        if random.random() >= 0.1 * self._hostility:
            return
        match int(random.integers(8)):
            case 0:
                for _ in range(int(random.integers(1, 5))):
                    self._button()
            case 1 | 2:
                self._button()
            case 3 | 4:
                self._parameter()
            case 5:
                self._stuck_until = now + int(random.integers(0, 3 * _NS))
            case 6:
                self._silent_until = now + int(random.integers(0, _NS))
            case _:
                self._gap_until = now + int(random.integers(0, _NS))

    def _button(self) -> None:
        """Press a random button."""
        random = self._random
        supervisor = self._arm.supervisor
        now = self._now
        match int(random.integers(7)):
            case 0 | 1:
                supervisor.emergency_stop(now, "scenario", held=bool(random.random() < 0.5))
                self._may.engaged = False
            case 2:
                supervisor.disengage(now)
                self._may.engaged = False
            case 3:
                self._engage()
            case 4:
                supervisor.emergency_released(now)
            case 5:
                supervisor.reset(now)
            case _:
                self._press(bool(random.random() < 0.5))

    def _press(self, pressed: bool) -> None:
        """Set the dead-man switch, which re-engages the clutch."""
        self._arm.supervisor.dead_man(self._now, pressed)
        self._may.pressed = self._now if pressed else None

    def _parameter(self) -> None:
        """Change a random setting, which may be rejected."""
        random = self._random
        arm = self._arm
        settings = arm.retargeter.settings
        try:
            match int(random.integers(6)):
                case 0:
                    scale = float(random.choice([random.uniform(0.1, 3.0), np.nan, -1.0, 1e9]))
                    arm.retargeter.settings = replace(settings, scale=scale)
                    self._record("" if 0.1 <= scale <= 3.0 else "a scale out of range was accepted")
                case 1:
                    arm.retargeter.settings = replace(
                        settings, mode=str(random.choice(["absolute", "clutched", ""]))
                    )
                case 2:
                    arm.retargeter.settings = replace(
                        settings, mapping=str(random.choice(["same", "mirrored", "x"]))
                    )
                case 3:
                    arm.retargeter.settings = replace(
                        settings, orientation_from=str(random.choice(["wrist", "forearm", "\0"]))
                    )
                    deviation = float(
                        self._apart.choice(
                            [self._apart.uniform(0.01, 1.0), np.nan, np.inf, -1.0, 0.0]
                        )
                    )
                    arm.retargeter.settings = replace(
                        arm.retargeter.settings, stop_deviation_m=deviation
                    )
                    self._record(
                        ""
                        if 0.01 <= deviation <= 1.0
                        else "a stop deviation out of range was accepted"
                    )
                case _:
                    speed = float(
                        random.choice(
                            [random.uniform(0.05, 1.0), np.nan, np.inf, 0.0, -1.0],
                            p=[0.6, 0.1, 0.1, 0.1, 0.1],
                        )
                    )
                    arm.supervisor.tip_speed = speed * self._tip_speed
                    self._speeds.append((self._ticked + self._offset, speed * self._tip_speed))
                    self._record("" if 0 < speed <= 1 else "an invalid tip speed was accepted")
        except PallasError:
            pass

    def _engage(self) -> None:
        """Try to engage; if accepted, a new command stream starts at the arm's position."""
        if self._arm.supervisor.engage(self._now):
            return
        self._finish_stream()
        self._may.engages()
        start = self._arm.supervisor.posture()
        known = 0 <= self._now - self._true_state_at < _NS // 10
        if start is None or (known and np.abs(start - self._q).max() > 0.1):
            self._record("engaged where the arm is not")
        self._stream.end = start

    def _feedback(self) -> None:
        """Feed joint states: correct, late, or invalid."""
        random = self._random
        names = self._robot.joint_names
        if self._now < self._silent_until:
            return
        q = self._q.copy()
        stamp = self._now
        true = True
        if random.random() < 0.1 * self._hostility:
            true = False
            match int(random.integers(5)):
                case 0:
                    q[int(random.integers(len(q)))] = random.choice([np.nan, np.inf, 1e12])
                case 1:
                    q += random.normal(0, 1.0, len(q))
                case 2:
                    q = q[:-1]
                case 3:
                    names = names[::-1]
                case _:
                    stamp -= 2 * _NS
        if self._triggers is not None:
            self._triggers.feedback(self._now)
        if self._arm.joints(self._now, stamp, names, q):
            self._may.joints = self._now
            self._true_state_at = self._now if true else self._true_state_at

    def _emit(self) -> None:
        """Tick, record the command, move the ideal arm."""
        command = self._arm.tick(self._now)
        self._ticked = self._now
        if self._triggers is not None:
            self._triggers.emitted(self._offset, command.state in _LED)
        if not command.send:
            return
        self._verdict.commands += 1
        states = np.array(command.points)
        self._stream.messages.append((command.times + self._offset, states))
        if np.abs(states[-1, 1:]).max() > 1e-9:
            self._record("a command does not end at rest")
        if self._now >= self._stuck_until:
            self._q = np.array(states[0, 0])
        end = self._stream.end
        self._stream.end = states[-1, 0]
        if end is None or np.abs(end - states[-1, 0]).max() > 1e-9:
            # the motion continues: the rest position differs from that of the last command
            self._led += 1
            missing = self._may.missing(self._now)
            self._record(missing and f"led {missing}")
            if self._may.measured is not None:
                self._verdict.stop_begins_s = max(
                    self._verdict.stop_begins_s, (self._now - self._may.measured[1]) / _NS
                )
        self._tracked += command.state is SupervisorState.TRACKING

    def _finish_stream(self) -> None:
        """Check the stream so far, and start another."""
        found = self._stream.violations(self._robot, self._limits, self._speeds)
        self._verdict.violations += [str(violation) for violation in found]
        self._stream = CommandStream()
