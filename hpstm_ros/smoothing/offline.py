"""Smooths motion files with the streaming smoother."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from hpstm_ros.smoothing.smoother import Smoother
from pallas_ros.body import rotations
from pallas_ros.body.errors import PallasError
from pallas_ros.body.frames import BodyFrame
from pallas_ros.body.motion import Motion
from pallas_ros.body.names import JOINTS, MODEL_RATE_HZ

F64 = NDArray[np.float64]

J = len(JOINTS)


def smooth_motion(
    motion: Motion, smoother: Smoother, progress: Callable[[int], object] = lambda _: None
) -> Motion:
    """Smooth a motion frame by frame, as live, onto the 60 Hz grid.

    The result has one frame for every grid instant from the first frame to the last, all finite.
    Frames without a result (the body was lost) repeat the pose before them, or after them at the
    start, with ``valid`` False. Inputs slower than 60 Hz are bridged, faster ones decimated.

    Raises:
        PallasError: no frame contains a body.
    """
    frames = round((len(motion) - 1) * MODEL_RATE_HZ / motion.fps) + 1
    out: list[BodyFrame | None] = [None] * frames
    flush = smoother.lookahead
    for body in _bodies(motion):
        _put(out, smoother.push(body))
        progress(1)
    end = round((frames - 1 + flush) * 1e9 / MODEL_RATE_HZ)
    _put(out, smoother.advance(end + 1))
    return _assemble(out, motion)


def _bodies(motion: Motion) -> list[BodyFrame]:
    """The motion's frames as bodies; the nearest one for each grid instant."""
    every = max(motion.fps / MODEL_RATE_HZ, 1.0)
    picked = np.unique(np.round(np.arange(0, len(motion), every)).astype(int))
    picked = picked[picked < len(motion)]
    confidence = (motion.extra or {}).get("confidence")
    contacts = (motion.extra or {}).get("contacts")
    bodies = []
    for index in picked:
        points = motion.positions[index]
        seen = np.asarray(np.isfinite(points).all(axis=-1))
        stamp = round(index * 1e9 / motion.fps)
        q = motion.rotations[index]
        sound = np.isfinite(q).all(axis=-1, keepdims=True) & (
            np.abs(np.linalg.norm(np.nan_to_num(q), axis=-1, keepdims=True) - 1) < 0.1
        )
        bodies.append(
            BodyFrame(
                stamp=stamp,
                rotations=np.asarray(
                    rotations.normalise(np.where(sound, q, rotations.IDENTITY)), dtype=np.float64
                ),
                positions=points,
                covariance=None,
                valid=seen
                if motion.valid is None or motion.valid[index] or not np.isfinite(points).all()
                else np.zeros(J, dtype=bool),
                confidence=confidence[index].astype(np.float64)
                if confidence is not None and confidence.shape[1:] == (J,)
                else np.ones(J),
                contacts=contacts[index].astype(np.float64)
                if contacts is not None and contacts.shape[1:] == (2,)
                else np.zeros(2),
                newest_input=stamp,
            )
        )
    return bodies


def _put(out: list[BodyFrame | None], bodies: list[BodyFrame]) -> None:
    for body in bodies:
        index = round(body.stamp * MODEL_RATE_HZ / 1e9)
        if 0 <= index < len(out):
            out[index] = body


def _assemble(out: list[BodyFrame | None], motion: Motion) -> Motion:
    """Assemble bodies on the grid, or None, into a motion without gaps."""
    given = [body for body in out if body is not None and np.isfinite(body.positions).all()]
    if not given:
        raise PallasError(
            "no frame of the motion contains a body to smooth: every joint is missing"
        )
    held = given[0]
    filled = []
    valid = []
    for body in out:
        sound = body is not None and bool(np.isfinite(body.positions).all())
        held = body if body is not None and sound else held
        filled.append(held)
        valid.append(sound and bool(held.valid.any()))
    covariances = [
        np.full((J, 3, 3), np.nan) if body.covariance is None else body.covariance
        for body in filled
    ]
    covariance = np.stack(covariances)
    keep = {
        "contacts": np.stack([body.contacts for body in filled]),
        "confidence": np.stack([body.confidence for body in filled]),
    }
    return Motion(
        fps=MODEL_RATE_HZ,
        positions=np.stack([body.positions for body in filled]),
        rotations=np.stack([body.rotations for body in filled]),
        position_covariance=covariance if np.isfinite(covariance).all() else None,
        valid=np.array(valid),
        extra={key: value for key, value in keep.items() if key in (motion.extra or {})}
        | {"confidence": keep["confidence"]},
    )
