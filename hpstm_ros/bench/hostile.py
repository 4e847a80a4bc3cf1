"""Hostile input for retargeting and supervisor, and the verdict of the independent checker on what they sent.

A run is a seeded story: bodies with NaN, jumps, gaps, reversed stamps and teleporting wrists; joint states that lie, stick or fail;
buttons pressed at random; parameters changed at random; a clock that jitters, stalls and jumps. The arm behind it is ideal, or
stuck for a while. What is judged are the emitted commands alone.
"""

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from hpstm_ros.retarget.robots import RobotDescription
from hpstm_ros.safety import checker
from hpstm_ros.safety.limits import Settings
from hpstm_ros.safety.supervisor import Command, SupervisorState
from hpstm_ros.teleoperation import Teleoperation
from pallas_ros.body.frames import BodyFrame
from pallas_ros.body.kinematics import forward_kinematics
from pallas_ros.body.names import JOINT_INDEX
from pallas_ros.body.rotations import from_rotvec, multiply
from pallas_ros.body.skeleton import Skeleton

F64 = NDArray[np.float64]

_NS = 1_000_000_000
_WRISTS = [JOINT_INDEX["left_wrist"], JOINT_INDEX["right_wrist"]]
_ARMS = [JOINT_INDEX[f"{side}_{joint}"] for side in ("left", "right") for joint in ("shoulder", "elbow", "wrist")]
LED = (SupervisorState.ALIGNING, SupervisorState.TRACKING)


@dataclass
class Verdict:
    """What a run showed.

    Attributes:
        frames: bodies given.
        commands: sent.
        violations: what the checker found, in words; empty is a pass.
        led: share of the time in which the arm followed, so that a pass means something.
        stop_begins_s: the longest time from the last good body to the last command that still led on.
    """

    frames: int = 0
    commands: int = 0
    violations: list[str] = field(default_factory=list)
    led: float = 0.0
    stop_begins_s: float = 0.0


class _Bodies:
    """A body that waves its arms, and what can go wrong with it."""

    def __init__(self, random: np.random.Generator) -> None:
        self._random, self._skeleton = random, Skeleton.from_height(1.75)
        self._phase = random.uniform(0, 2 * np.pi, (6, 3))
        self._speed = random.uniform(0.3, 4.0, (6, 3))
        self._size = random.uniform(0.2, 1.5, (6, 3))

    def good(self, stamp: int, seconds: float) -> BodyFrame:
        """A plausible body at ``stamp``."""
        turns = np.zeros((22, 3))
        turns[_ARMS] = self._size * np.sin(self._phase + self._speed * seconds)
        local = from_rotvec(turns)
        rotations = np.tile([0.0, 0.0, 0.0, 1.0], (22, 1))
        for side in ("left", "right"):
            shoulder, elbow, wrist = (JOINT_INDEX[f"{side}_{joint}"] for joint in ("shoulder", "elbow", "wrist"))
            rotations[shoulder] = local[shoulder]
            rotations[elbow] = multiply(rotations[shoulder], local[elbow])
            rotations[wrist] = multiply(rotations[elbow], local[wrist])
        positions: F64 = np.asarray(forward_kinematics(self._skeleton, rotations, np.array([0.0, 0.0, 1.0])), dtype=np.float64)
        covariance = np.tile(np.eye(3) * 1e-4, (22, 1, 1))
        return BodyFrame(stamp, rotations, positions, covariance, np.ones(22, bool), np.ones(22), np.zeros(2), stamp)

    def spoil(self, body: BodyFrame) -> BodyFrame:
        """One thing wrong with it."""
        random, joint = self._random, int(self._random.integers(22))
        match int(random.integers(14)):
            case 0:
                body.positions[joint, int(random.integers(3))] = random.choice([np.nan, np.inf, -np.inf, 1e300])
            case 1:
                body.rotations[joint] = random.choice([np.nan, 0.0, 1e200])
            case 2:
                body.positions[_WRISTS] += random.normal(0, 1.0, (2, 3))  # teleporting wrists
            case 3:
                body.positions[_ARMS] *= random.choice([-1.0, 0.0, 3.0, 1e-9, 1e9])
            case 4:
                body.stamp -= int(random.integers(1, 3 * _NS))
            case 5:
                body.stamp += int(random.integers(1, 3 * _NS))
            case 6:
                body.stamp = int(random.choice([0, -1, 2**62, -(2**62)]))
            case 7:
                body.valid[:] = random.random(22) < 0.8
            case 8:
                body.confidence[:] = random.choice([0.0, np.nan, -1.0, 5.0, 0.3, np.inf])
            case 9:
                assert body.covariance is not None
                body.covariance[:] = np.where(np.eye(3), random.choice([np.nan, -1.0, 1e6, np.inf]), 0.0)
            case 10:
                assert body.covariance is not None
                body.covariance[:] = np.eye(3) * float(random.choice([1e-3, 1e-2, 0.1]))
            case 11:
                body.positions += random.normal(0, 0.25, body.positions.shape)
            case 12:
                body.rotations[:] = multiply(from_rotvec(random.normal(0, 2.0, (1, 3))), body.rotations)
            case _:
                body.covariance = None
        return body


@dataclass
class _Stream:
    """The commands since the arm was engaged last, on a clock without jumps."""

    messages: list[tuple[NDArray[np.int64], F64]] = field(default_factory=list)
    last_velocity: F64 = field(default_factory=lambda: np.zeros(1))


class HostileRun:
    """One seeded story; `run` tells it and judges."""

    def __init__(self, robot: RobotDescription, seed: int, guard: bool = True) -> None:
        """A fresh teleoperation of ``robot``; the story follows from ``seed`` alone."""
        self._random = random = np.random.default_rng(seed)
        self._robot = robot
        self._tip_speed = float(random.choice([0.25, 0.25, 1.0, 3.0]))
        safety = Settings(
            period=float(random.choice([0.002, 0.004, 0.008, 0.008, 0.008, 1 / 60])),
            require_dead_man=bool(random.random() < 0.3),
            lead=float(random.choice([0.0, 0.002, 0.01])),
        )
        self._arm = Teleoperation(robot, None, None, safety, self._tip_speed)
        self._limits = self._arm.supervisor.limits
        self._bodies = _Bodies(random)
        self._hostility = float(random.choice([0.0, 0.02, 0.1, 0.5]))
        self._now, self._offset = 10 * _NS, 0
        self._ticked = self._now
        self._q = np.clip(robot.q_ready + random.normal(0, 0.05, robot.dof), robot.lower, robot.upper)
        self._stuck_until, self._gap_until = 0, 0
        self._stream = _Stream()
        self._last_good, self._led = self._now, 0
        self._verdict = Verdict()

    def run(self, frames: int) -> Verdict:
        """Give ``frames`` bodies at about 60 Hz, tick in between, and judge what came out."""
        seconds = 0.0
        self._feedback()
        self._press()
        for _ in range(frames):
            seconds += 1 / 60
            self._happen()
            if self._now >= self._gap_until:
                body = self._bodies.good(self._now - int(self._random.integers(0, 20_000_000)), seconds)
                if self._random.random() < self._hostility:
                    body = self._bodies.spoil(body)
                if self._arm.body(self._now, body):
                    self._last_good = self._now
                self._emit()
            until = self._now + _NS // 60
            while self._now < until:
                self._wait()
                self._feedback()
                self._emit()
        self._verdict.frames += frames
        self._finish_stream()
        self._verdict.led = self._led / max(self._verdict.commands, 1)
        return self._verdict

    def _wait(self) -> None:
        """Time goes by: about a period, sometimes none, sometimes much, sometimes backwards."""
        random, step = self._random, self._arm.supervisor.settings.period
        wait = step * float(random.uniform(0.7, 1.3))
        if random.random() < 0.05 * self._hostility:
            wait = float(random.choice([0.0, 0.0005, 0.03, 0.09, 0.3]))
        jump = 0
        if random.random() < 0.002 * self._hostility:
            jump = int(random.choice([-1, 1])) * int(random.integers(1, 100 * _NS))
        self._now += round(wait * _NS)
        if jump:
            self._now += jump
            self._last_good = self._now
        if self._now < self._ticked:  # the supervisor takes a step back as no time at all; so does the checker's clock
            self._offset += self._ticked - self._now

    def _happen(self) -> None:
        """Buttons, parameters, faults."""
        random, arm, now = self._random, self._arm, self._now
        if arm.supervisor.settings.require_dead_man and random.random() > 0.1 * self._hostility:
            arm.supervisor.dead_man(now, random.random() > 0.05 * self._hostility)
        if arm.supervisor.state in (SupervisorState.DISENGAGED, SupervisorState.STOPPED) and random.random() < 0.2:
            arm.supervisor.emergency_released(now)
            arm.supervisor.reset(now)
            self._press()
        if random.random() >= 0.1 * self._hostility:
            return
        settings = arm.retargeter.settings
        match int(random.integers(9)):
            case 0:
                arm.supervisor.emergency_stop(now, "story")
            case 1:
                arm.supervisor.disengage(now)
            case 2:
                self._press()
            case 3:
                arm.retargeter.settings = replace(settings, scale=float(random.uniform(0.1, 3.0)))
            case 4:
                arm.retargeter.settings = replace(settings, mode=str(random.choice(["absolute", "clutched"])))
            case 5:
                arm.retargeter.settings = replace(settings, mapping=str(random.choice(["same", "mirrored"])))
            case 6:
                arm.supervisor.tip_speed = float(random.uniform(0.05, 1.0)) * self._tip_speed
            case 7:
                self._stuck_until = now + int(random.integers(0, 3 * _NS))
            case _:
                self._gap_until = now + int(random.integers(0, _NS))

    def _press(self) -> None:
        """Try to engage; what is sent from then on is a new stream."""
        if not self._arm.supervisor.engage(self._now):
            self._finish_stream()

    def _feedback(self) -> None:
        """Joint states: true, late, or nonsense."""
        random, names = self._random, self._robot.joint_names
        q = self._q.copy()
        if random.random() < 0.1 * self._hostility:
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
                    self._arm.joints(self._now, self._now - 2 * _NS, names, q)
                    return
        self._arm.joints(self._now, self._now, names, q)

    def _emit(self) -> None:
        """Tick, keep what is sent, move the ideal arm."""
        command, self._ticked = self._arm.tick(self._now), self._now
        if not command.send:
            return
        self._verdict.commands += 1
        self._stream.messages.append((command.times + self._offset, np.array([state[0] for state in command.points])))
        self._stream.last_velocity = command.points[-1][1]
        if self._now >= self._stuck_until:
            self._q = np.array(command.points[0][0])
        self._watch_stop(command)

    def _watch_stop(self, command: Command) -> None:
        led = command.state in LED and command.speed_scale > 0
        self._led += led
        if led:
            self._verdict.stop_begins_s = max(self._verdict.stop_begins_s, (self._now - self._last_good) / _NS)

    def _finish_stream(self) -> None:
        """Judge the stream up to here."""
        stream, self._stream = self._stream, _Stream()
        if not stream.messages:
            return
        times, q = checker.executed(stream.messages)
        found = [str(v) for v in checker.check(times, q, self._limits)]
        if not found:
            tips = [self._robot.frame(arm.tip) for arm in self._robot.arms]
            found += [str(v) for v in checker.check_tips(times, q, self._robot.model, tips, self._limits, self._tip_speed)]
            found += [str(v) for v in checker.check_collisions(times, q, self._robot.model, self._robot.geometry)]
        if not found and np.abs(stream.last_velocity).max() > 1e-9:
            found.append("the last command does not end at rest")
        self._verdict.violations += found
