"""Converts between a motion and a stream of bodies."""

import numpy as np

from pallas_ros.body.frames import BodyFrame
from pallas_ros.body.motion import Motion
from pallas_ros.body.names import DEFAULT_BODY_ID, JOINTS, MODEL_RATE_HZ
from pallas_ros.body.origin import GENERATED


def bodies_of(motion: Motion, body_id: str = DEFAULT_BODY_ID) -> list[BodyFrame]:
    """Convert a generated motion to bodies, with stamps from 0."""
    contacts = (motion.extra or {}).get("contacts")
    standing = np.zeros((len(motion), 2)) if contacts is None else np.asarray(contacts, np.float64)
    return [
        BodyFrame(
            stamp=round(frame * 1e9 / motion.fps),
            rotations=motion.rotations[frame],
            positions=motion.positions[frame],
            covariance=None,
            valid=np.ones(len(JOINTS), dtype=bool),
            confidence=np.ones(len(JOINTS)),
            contacts=standing[frame],
            newest_input=round(frame * 1e9 / motion.fps),
            body_id=body_id,
            remarks=(GENERATED,),
        )
        for frame in range(len(motion))
    ]


def motion_of(bodies: list[BodyFrame]) -> Motion:
    """Convert bodies at 60 Hz, at least one, to a motion."""
    return Motion(
        MODEL_RATE_HZ,
        np.stack([body.positions for body in bodies]),
        np.stack([body.rotations for body in bodies]),
    )
