"""The two records of the pipeline: synchronised sensor data and the body, at one time."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pallas_ros.body.names import DEFAULT_BODY_ID

F64 = NDArray[np.float64]


@dataclass(slots=True)
class ExtraFrame:
    """The K optional sensors at one time.

    Attributes:
        sites: their names, of `names.EXTRA_SITES`.
        orientation: (K, 4) xyzw, bone to world.
        acceleration: (K, 3) m/s^2, gravity removed, in the world.
        valid: (K,) bool; False if a site is missing and its values are held.
        age: (K,) s from the newest sample of a site to the timestamp; 0 if samples exist on both
            sides of it.
    """

    sites: tuple[str, ...]
    orientation: F64
    acceleration: F64
    valid: NDArray[np.bool_]
    age: F64


@dataclass(slots=True)
class ImuFrame:
    """The four sites at one time, calibrated to the bones; sites in the order of `names.SITES`.

    Attributes:
        stamp: ns, time in the node's clock.
        orientation: (4, 4) xyzw, bone to world (odom); identity in the T-pose facing +x.
        acceleration: (4, 3) m/s^2 of the sensor, gravity removed, in the world.
        valid: (4,) bool; False if a site is missing and its values are held.
        age: (4,) s from the newest sample of a site to the timestamp; 0 if samples exist on both
            sides of it.
        heading_drift: (4,) rad, correction applied to each site's heading since calibration.
        newest_input: ns, timestamp of the newest sample used in the frame; latency is relative to
            it.
        step: number of frames the estimator processed before this one; 0: it restarted here; -1:
            unknown.
        extra: the optional sensors, or None if there are none.
    """

    stamp: int
    orientation: F64
    acceleration: F64
    valid: NDArray[np.bool_]
    age: F64
    heading_drift: F64
    newest_input: int
    step: int = -1
    extra: ExtraFrame | None = None


@dataclass(slots=True)
class BodyFrame:
    """A body at one time; joints in the order of `names.JOINTS`.

    Attributes:
        stamp: ns, time in the node's clock.
        rotations: (22, 4) xyzw, joint to world (odom).
        positions: (22, 3) m, in the world.
        covariance: (22, 3, 3) m^2 of the positions, in the world, or None if unknown.
        valid: (22,) bool; False if the joint must not be used.
        confidence: (22,) 0 (a guess) to 1 (measured).
        contacts: (2,) probability that the left, right foot is on the ground.
        newest_input: ns, timestamp of the newest measurement used; latency is relative to it.
        body_id: REP-155 body id.
        remarks: sentences about problems; empty if there are none.
    """

    stamp: int
    rotations: F64
    positions: F64
    covariance: F64 | None
    valid: NDArray[np.bool_]
    confidence: F64
    contacts: F64
    newest_input: int
    body_id: str = DEFAULT_BODY_ID
    remarks: tuple[str, ...] = field(default_factory=tuple)
