"""Rows of `pallas bench`: `retarget` runs a motion on every ready robot, `safety` hostile scenarios
through the supervisor.
"""

from collections.abc import Iterator

import numpy as np

from hpstm_ros.bench.hostile import HostileRun
from hpstm_ros.bench.players import generated_clips
from hpstm_ros.retarget.retargeter import Retargeter
from hpstm_ros.retarget.robots import load_robot, ready_robots
from hpstm_ros.teleoperation.recorded import frames, retarget_motion
from pallas_ros.bench.rows import BenchSettings, Row, percentiles, time_each
from pallas_ros.body.kinematics import forward_kinematics
from pallas_ros.body.motion import Motion
from pallas_ros.body.names import JOINT_INDEX, MODEL_RATE_HZ
from pallas_ros.body.rotations import from_rotvec, multiply
from pallas_ros.body.skeleton import Skeleton

NO_TIP_LIMIT = 3.0
"""m/s, faster than any of the arms."""
_STORY_FRAMES = 200


def reaching(seconds: float = 20.0) -> Motion:
    """A synthetic calm motion: both arms circle in front of the body, as in careful
    teleoperation.
    """
    t = np.arange(int(seconds * MODEL_RATE_HZ)) / MODEL_RATE_HZ
    rotations = np.tile([0.0, 0.0, 0.0, 1.0], (len(t), 22, 1))
    zero = np.zeros_like(t)
    for side, sign in (("left", -1.0), ("right", 1.0)):
        forward = from_rotvec(np.stack((zero, zero, sign * (1.2 + 0.25 * np.sin(0.9 * t))), -1))
        lift = from_rotvec(np.stack((zero, 0.35 + 0.3 * np.sin(0.7 * t), zero), -1))
        bend = from_rotvec(np.stack((zero, zero, sign * (0.9 + 0.4 * np.sin(0.5 * t))), -1))
        upper = multiply(lift, forward)
        rotations[:, JOINT_INDEX[f"{side}_shoulder"]] = upper
        for joint in ("elbow", "wrist"):
            rotations[:, JOINT_INDEX[f"{side}_{joint}"]] = multiply(upper, bend)
    positions = forward_kinematics(
        Skeleton.from_height(), rotations, np.tile([0.0, 0.0, 0.95], (len(t), 1))
    )
    return Motion(MODEL_RATE_HZ, np.asarray(positions, dtype=np.float64), rotations)


def retarget(settings: BenchSettings) -> Iterator[Row]:
    """Time per step and remaining distance to the target, for every ready robot."""
    motion = reaching()
    bodies = frames(motion)
    for name in ready_robots():
        robot = load_robot(name)
        retargeter = Retargeter(robot)
        at = iter(range(10**12))

        def step(retargeter: Retargeter = retargeter, at: Iterator[int] = at) -> None:
            retargeter.step(bodies[next(at) % len(bodies)])

        yield from percentiles(
            "retarget",
            name,
            "step",
            time_each(step, settings.bar(min(settings.frames, 2400), name)),
        )
        figures = retarget_motion(
            motion, robot, tip_speed=NO_TIP_LIMIT, progress=settings.progress
        ).figures()
        for metric in (
            "ik_error_mean_mm",
            "in_reach_mean_mm",
            "hand_error_mean_mm",
            "hand_error_p95_mm",
        ):
            yield Row("retarget", name, metric, figures[metric], "mm")
        yield Row("retarget", name, "limit_violations", figures["limit_violations"], "")


def safety(settings: BenchSettings) -> Iterator[Row]:
    """Hostile scenarios on every ready robot in turn; use `benchmarks/hostile.py` for a million
    frames.
    """
    frames_wanted = max(settings.frames, settings.soak)
    violations = 0
    longest = 0.0
    done = 0
    robots = [load_robot(name) for name in ready_robots()]
    bar = settings.bar(frames_wanted, "hostile")
    seed = 0
    generated = 0
    while done < frames_wanted:
        clips = generated_clips() if seed // len(robots) % 2 else ()
        verdict = HostileRun(robots[seed % len(robots)], seed, _STORY_FRAMES, clips=clips).run()
        generated += verdict.frames if clips else 0
        violations += len(verdict.violations)
        longest = max(longest, verdict.stop_begins_s)
        done = done + verdict.frames
        seed = seed + 1
        for _ in zip(range(verdict.frames), bar, strict=False):
            pass
    yield Row("safety", "hostile", "frames", done, "")
    yield Row("safety", "hostile", "generated_frames", generated, "")
    yield Row("safety", "hostile", "limit_violations", violations, "")
    yield Row("safety", "hostile", "stop_begins_ms", longest * 1e3, "ms")
