"""Predicts the next second of a body, as mean and covariance, from its last second."""

from collections import deque

import numpy as np
from numpy.typing import NDArray

from hpstm_ros.generation import representation as rep
from hpstm_ros.generation.expectation import Expectation, nothing
from hpstm_ros.generation.flow import OVERLAP
from hpstm_ros.generation.representation import FPS
from pallas_ros.body import rotations
from pallas_ros.body.frames import BodyFrame
from pallas_ros.body.kinematics import forward_kinematics
from pallas_ros.body.motion import Motion
from pallas_ros.body.names import JOINTS
from pallas_ros.body.presence import IN_VIEW_NS
from pallas_ros.body.skeleton import Skeleton

F64 = NDArray[np.float64]

AHEAD_S = 1.0
STEPS = 10
"""Number of predicted instants, evenly spaced over the next second."""
FRESH_NS = 300_000_000
"""ns since the last body, above which the stored second is not used."""
_PERIOD_NS = round(1e9 / FPS)


class Predictor:
    """Stores the last second of the operator's body, and predicts the next one.

    The operator is the person who came first; bodies of others are ignored until the operator has
    been silent for `IN_VIEW_NS`. What is stored is used until `FRESH_NS` after the last body came.

    Args:
        expectation: the network; if None, only the past is stored.
    """

    def __init__(self, expectation: Expectation | None = None) -> None:
        self._expectation = expectation
        self._past: deque[BodyFrame] = deque(maxlen=OVERLAP)
        self._id: str | None = None
        self._came = 0

    def push(self, frame: BodyFrame, now: int) -> None:
        """Add a body that came at ``now`` (ns).

        A gap, a step back in time, an invalid joint or a value that is not finite clears the stored
        second.
        """
        if frame.body_id != self._id:
            if self._id is not None and abs(now - self._came) <= IN_VIEW_NS:
                return
            self._past.clear()
        self._id = frame.body_id
        self._came = now
        numbers = (frame.positions, frame.rotations, frame.contacts)
        usable = frame.valid.all() and all(np.isfinite(part).all() for part in numbers)
        if self._past and not 0 < frame.stamp - self._past[-1].stamp < 10 * _PERIOD_NS:
            self._past.clear()
        if not usable:
            self._past.clear()
        elif not self._past or frame.stamp - self._past[-1].stamp >= 0.9 * _PERIOD_NS:
            self._past.append(frame)

    @property
    def newest(self) -> int:
        """Stamp of the newest body, ns; 0 before the first."""
        return self._past[-1].stamp if self._past else 0

    def past_at(self, now: int) -> Motion | None:
        """The second before ``now`` (ns) as a motion at 30 Hz, or None if it is not complete, or if
        no body has come for `FRESH_NS`.
        """
        if len(self._past) < OVERLAP or abs(now - self._came) > FRESH_NS:
            return None
        return Motion(
            FPS,
            np.stack([frame.positions for frame in self._past]),
            np.stack([frame.rotations for frame in self._past]),
            extra={"contacts": np.stack([frame.contacts for frame in self._past])},
        )

    def predict(self, now: int) -> list[BodyFrame]:
        """Predict bodies at `STEPS` instants of the second that follows the newest body.

        The list is empty while there is no past at ``now`` (ns), see `past_at`, and without a
        network.
        """
        past = self.past_at(now)
        if past is None or self._expectation is None:
            return []
        newest = self._past[-1]
        scale = rep.body_scale(past.positions)
        place = rep.place_of(past.rotations[-1, 0], past.positions[-1, 0] / scale)
        features, _ = rep.from_motion(past, place)
        known, seen = nothing(1)
        known[0, :OVERLAP] = features[:OVERLAP]
        seen[0, :OVERLAP] = True
        mean, deviation = self._expectation.expect(known, seen)
        skeleton = Skeleton.from_height(scale * Skeleton.from_height().height)
        q, root, contacts = rep.decode(mean[0], place)
        frames = []
        for step in range(1, STEPS + 1):
            ahead = round(step * AHEAD_S * FPS / STEPS)
            at = OVERLAP - 1 + ahead
            here = np.asarray(q[at], dtype=np.float64)
            pelvis = root[at] * scale
            frames.append(
                BodyFrame(
                    stamp=newest.stamp + ahead * _PERIOD_NS,
                    rotations=here,
                    positions=np.asarray(forward_kinematics(skeleton, here, pelvis)),
                    covariance=covariance_of(scale * deviation[0, at], place.heading),
                    valid=np.ones(len(JOINTS), dtype=bool),
                    confidence=np.full(len(JOINTS), 0.5),
                    contacts=contacts[at],
                    newest_input=newest.newest_input,
                    body_id=newest.body_id,
                    remarks=("predicted",),
                )
            )
        return frames


def covariance_of(deviation: F64, heading: float) -> F64:
    """Covariance (..., 3, 3) m^2 in the world, from standard deviations (..., 3) m along the axes
    of a window with the given ``heading`` in rad.
    """
    R = rotations.to_matrix(rotations.about_z(heading))
    variance = np.asarray(deviation, np.float64) ** 2
    return np.asarray(R @ (variance[..., :, None] * np.eye(3)) @ R.T)
