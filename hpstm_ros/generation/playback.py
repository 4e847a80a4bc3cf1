"""Plays generated motion as a continuous stream of bodies."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hpstm_ros.generation.blending import Turning, smooth_step
from hpstm_ros.generation.request import resting
from pallas_ros.body import rotations
from pallas_ros.body.frames import BodyFrame
from pallas_ros.body.kinematics import forward_kinematics
from pallas_ros.body.motion import Motion
from pallas_ros.body.names import DEFAULT_BODY_ID, JOINTS
from pallas_ros.body.origin import GENERATED
from pallas_ros.body.skeleton import Skeleton

F64 = NDArray[np.float64]

BLEND_S = 0.3
"""s, duration of the blend from the current body to the next motion."""
BLEND_M_S = 1.0
"""m/s, largest speed that a blend adds to that of the bodies: the speed of a calm reach."""
_FADE_S = 0.1
"""s, time constant with which the velocity at a switch decays."""
STEEPEST = 1.5
"""Largest slope of `smooth_step`."""


@dataclass
class _Pose:
    """Orientations (22, 4) xyzw, pelvis (3,) m, contacts (2,)."""

    q: F64
    root: F64
    contacts: F64


class Playback:
    """A body that is at rest unless a motion is played.

    Args:
        skeleton: of the bodies.
        body_id: id of the bodies.
    """

    def __init__(self, skeleton: Skeleton | None = None, body_id: str = DEFAULT_BODY_ID) -> None:
        self._skeleton = skeleton or Skeleton.from_height()
        self._body_id = body_id
        self._motion: Motion | None = None
        self._begun = 0
        self._remarks: tuple[str, ...] = ()
        rest = resting()
        contacts = np.ones(2)
        self._rest = _Pose(rest.rotations[0], rest.positions[0, 0], contacts)
        self._last = self._rest
        self._turn = np.zeros((len(JOINTS), 3))
        self._drift = np.zeros(3)
        self._last_stamp: int | None = None
        self._switched: int | None = None
        self._from = self._rest
        self._turn_at = self._turn
        self._drift_at = self._drift
        self._turning = Turning()
        self._way_s = BLEND_S

    @property
    def playing(self) -> bool:
        """Whether a motion is being played."""
        return self._motion is not None

    @property
    def moving(self) -> bool:
        """Whether a motion is being played, or a blend is in progress."""
        return self._motion is not None or self._switched is not None

    def fraction(self, now: int) -> float:
        """Fraction of the motion that has been played at ``now`` (ns), 0 to 1."""
        if self._motion is None:
            return 1.0
        return min(max((now - self._begun) / 1e9 / max(self._motion.duration, 1e-6), 0.0), 1.0)

    def at_rest(self) -> Motion:
        """The body at rest at its current place, as the start of a motion."""
        pose = self._resting_pose()
        frames = 15
        q = np.tile(pose.q, (frames, 1, 1))
        root = np.tile(pose.root, (frames, 1))
        p = np.asarray(forward_kinematics(self._skeleton, q, root), dtype=np.float64)
        return Motion(30.0, p, q, extra={"contacts": np.ones((frames, 2), dtype=bool)})

    def play(self, motion: Motion, now: int, remarks: tuple[str, ...] = ()) -> None:
        """Start to play a motion at ``now`` (ns), blending from the current body.

        A body that is elsewhere goes there at `BLEND_M_S`, in the posture of the motion. The bodies
        carry ``remarks`` while it is played.
        """
        self._switch(now)
        away = float(np.linalg.norm(motion.positions[0, 0, :2] - self._from.root[:2]))
        self._way_s = max(BLEND_S, STEEPEST * away / BLEND_M_S)
        self._remarks = remarks
        self._motion = motion
        self._begun = now

    def stop(self, now: int) -> None:
        """Blend from the current body to rest, starting at ``now`` (ns)."""
        if self._motion is not None:
            self._switch(now)
            self._motion = None

    def stand(self, body: BodyFrame) -> None:
        """Be at rest immediately at the place and heading of ``body``."""
        self._motion = None
        self._switched = None
        self._last = _Pose(body.rotations, body.positions[0], body.contacts)
        self._from = self._last
        self._last_stamp = None
        self._turn = np.zeros_like(self._turn)
        self._drift = np.zeros(3)

    def tick(self, now: int) -> BodyFrame:
        """The body at ``now`` (ns).

        If the clock is set back, the motion continues where it was.
        """
        if self._last_stamp is not None and now < self._last_stamp:
            self._shift(now - self._last_stamp)
        if self._motion is not None and now - self._begun > 1e9 * self._motion.duration:
            self.stop(now)
        pose = self._blended(self._target(now), now)
        if self._last_stamp is not None and now > self._last_stamp:
            spent = (now - self._last_stamp) / 1e9
            turned = rotations.multiply(pose.q, rotations.inverse(self._last.q))
            self._turn = np.asarray(rotations.to_rotvec(turned), dtype=np.float64) / spent
            self._drift = (pose.root - self._last.root) / spent
        self._last = pose
        self._last_stamp = now
        p = forward_kinematics(self._skeleton, pose.q, pose.root)
        return BodyFrame(
            stamp=now,
            rotations=pose.q,
            positions=np.asarray(p, dtype=np.float64),
            covariance=None,
            valid=np.ones(len(JOINTS), dtype=bool),
            confidence=np.ones(len(JOINTS)),
            contacts=pose.contacts,
            newest_input=now,
            body_id=self._body_id,
            remarks=(GENERATED, *(self._remarks if self.playing else ("at rest",))),
        )

    def _shift(self, by: int) -> None:
        """Move the stored instants by ``by`` ns, with the clock."""
        self._begun += by
        if self._switched is not None:
            self._switched += by
        self._last_stamp = None  # the time since the last body is unknown

    def _switch(self, now: int) -> None:
        self._from = self._last
        self._turn_at = self._turn
        self._drift_at = self._drift
        self._switched = now
        self._turning = Turning()
        self._way_s = BLEND_S

    def _target(self, now: int) -> _Pose:
        motion = self._motion
        if motion is None:
            return self._resting_pose()
        at = min(max((now - self._begun) / 1e9 * motion.fps, 0.0), len(motion) - 1.0)
        before = int(at)
        after = min(before + 1, len(motion) - 1)
        part = at - before
        q = rotations.slerp(motion.rotations[before], motion.rotations[after], part)
        root = (1 - part) * motion.positions[before, 0] + part * motion.positions[after, 0]
        contacts = (motion.extra or {}).get("contacts")
        standing = np.ones(2) if contacts is None else np.asarray(contacts[before], np.float64)
        return _Pose(np.asarray(q), root, standing)

    def _resting_pose(self) -> _Pose:
        """The rest pose at the current place and heading of the body."""
        turn = rotations.about_z(float(rotations.heading(self._from_place().q[0])))
        q = rotations.multiply(np.broadcast_to(turn, self._rest.q.shape), self._rest.q)
        root = np.array([*self._from_place().root[:2], self._rest.root[2]])
        return _Pose(np.asarray(q), root, self._rest.contacts)

    def _from_place(self) -> _Pose:
        return self._last if self._motion is not None else self._from

    def _blended(self, target: _Pose, now: int) -> _Pose:
        if self._switched is None:
            return target
        since = (now - self._switched) / 1e9
        if since >= self._way_s:
            self._switched = None
            return target
        # the previous body continues to move for a moment, so that it does not stop abruptly
        moved = _FADE_S * (1 - np.exp(-since / _FADE_S))
        q = rotations.multiply(rotations.from_rotvec(self._turn_at * moved), self._from.q)
        root = self._from.root + self._drift_at * moved
        part = smooth_step(min(since / BLEND_S, 1.0))
        way = smooth_step(since / self._way_s)
        share = np.array([way, way, part])
        return _Pose(
            self._turning.between(np.asarray(q), target.q, part),
            (1 - share) * root + share * target.root,
            target.contacts,
        )
