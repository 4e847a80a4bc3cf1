"""Estimate the operator's body from the four sensors, frame by frame.

The steps are features, network, forward kinematics, root translation, standing feet and confidence.
"""

import numpy as np
from numpy.typing import NDArray

from pallas_ros.body import rotations
from pallas_ros.body.frames import BodyFrame, ExtraFrame, ImuFrame
from pallas_ros.body.kinematics import forward_kinematics_matrices
from pallas_ros.body.names import (
    EXTRA_SITES,
    JOINT_INDEX,
    JOINTS,
    MODEL_GRAVITY,
    SITES,
    UPPER_JOINTS,
)
from pallas_ros.body.sites import PER_EXTRA, RETURN_FRAMES
from pallas_ros.body.skeleton import Skeleton
from pallas_ros.runtime.base import Stream
from pallas_ros.runtime.root import RootTracker
from pallas_ros.runtime.stance import StanceLock

F64 = NDArray[np.float64]

ACCELERATION_FRAMES = 5
"""Number of frames over which acceleration is averaged; this delays it by two frames, as in
training (`SensorErrors.delay`).
"""
ACCELERATION_LIMIT = 6.0
"""Accelerations are clipped to this many g, as in training."""
HALF_CONFIDENCE_M = 0.25
"""Expected position error of a joint at which its confidence is one half."""
DRIFT_PER_METRE = 0.35
"""Standard deviation of the root translation, relative to the distance walked (measurements in
docs/evidence/body.md).
"""
_DRIVEN: dict[str, list[int]] = {
    "pelvis": list(range(len(JOINTS))),
    "neck": [JOINT_INDEX[name] for name in ("spine1", "spine2", "spine3", "neck", "head")],
    "left_wrist": [JOINT_INDEX[f"left_{name}"] for name in ("shoulder", "elbow", "wrist")],
    "right_wrist": [JOINT_INDEX[f"right_{name}"] for name in ("shoulder", "elbow", "wrist")],
}
"""Joints that are unknown without a site."""
_DEPENDENT: dict[str, list[int]] = {
    **_DRIVEN,
    "neck": [joint for joint in UPPER_JOINTS if joint != 0],
}
"""Joints whose position depends on a site; for the trunk, all joints attached to it."""
FRESH_S = 0.04
STALE_S = 0.1
"""Ages of a site's newest sample: up to the first it counts as current (a sensor of 30 Hz), from
the second on its joints are unknown, and an arm that follows them must have started to stop.
"""


class BodyEstimator:
    """Run the network on frames of the four sensors and of optional ones.

    The network is trained for one stature; accelerations are scaled to it and velocities back. Its
    inputs and outputs are in the waist's heading frame, so that the operator may face anywhere.
    """

    def __init__(self, stream: Stream, skeleton: Skeleton) -> None:
        """``stream`` is an open PALLAS model of batch 1; ``skeleton`` is the operator's."""
        self._stream = stream
        self._skeleton = skeleton
        self._scale = skeleton.height / Skeleton.from_height().height
        self._soles = skeleton.rest_positions[:, 2]
        self._inputs = {
            name: np.zeros(shape, dtype=np.float32) for name, shape in stream.inputs.items()
        }
        self._accelerations = np.zeros((ACCELERATION_FRAMES, len(SITES) + len(EXTRA_SITES), 3))
        self._count = np.zeros(len(EXTRA_SITES))  # weight of each optional sensor, 0 to 1
        self._root = RootTracker(skeleton)
        self._stance = StanceLock(skeleton)
        self.reset()

    def reset(self, p_world_pelvis: F64 | None = None) -> None:
        """Reset all state.

        The root starts at ``p_world_pelvis`` (3,) m, by default above the origin, standing.
        """
        self._stream.reset()
        self._count[:] = 0.0
        if "extra" in self._inputs:
            self._inputs["extra"][:] = 0.0
        self._root.reset(p_world_pelvis)
        self._stance.reset()
        self._fresh = True

    def step(self, frame: ImuFrame) -> BodyFrame:
        """Return the body at the frame's timestamp.

        Raises:
            PallasError: the frame contains a non-finite value; the state is unchanged.
        """
        heading = float(rotations.heading(frame.orientation[0]))
        cos = np.cos(heading)
        sin = np.sin(heading)
        R_world_heading = np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])
        out = self._infer(frame, R_world_heading)
        R_world_joint = R_world_heading @ np.asarray(
            rotations.from_r6d(out["rotations"][0]), dtype=np.float64
        )
        relative = np.asarray(
            forward_kinematics_matrices(self._skeleton, R_world_joint, np.zeros(3)),
            dtype=np.float64,
        )
        contacts = out["contacts"][0].astype(np.float64)
        root = self._root.step(
            frame.stamp, relative, contacts, R_world_heading @ out["root_velocity"][0] * self._scale
        )
        R_world_joint, relative = self._stance.step(
            frame.stamp, R_world_joint, relative, root, contacts
        )
        deviation = out["deviation"][0].astype(np.float64) * self._scale
        confidence, valid, remarks = self._trust(frame, deviation)
        covariance = np.zeros((len(JOINTS), 3, 3))
        variances = covariance.reshape(len(JOINTS), 9)[:, ::4]  # view of the diagonals
        variances[:] = np.square(deviation)[:, None]
        variances[0, :2] = (
            DRIFT_PER_METRE * self._root.walked
        ) ** 2  # of the root in odom; those of other joints are relative to it
        return BodyFrame(
            stamp=frame.stamp,
            rotations=np.asarray(rotations.from_matrix(R_world_joint), dtype=np.float64),
            positions=relative + root,
            covariance=covariance,
            valid=valid,
            confidence=confidence,
            contacts=contacts,
            newest_input=frame.newest_input,
            remarks=remarks,
        )

    def _infer(self, frame: ImuFrame, R_world_heading: F64) -> dict[str, NDArray[np.float32]]:
        """Return the network's outputs.

        The acceleration filter advances only if the network accepts the frame.
        """
        newest = np.concatenate((frame.acceleration, np.zeros((len(EXTRA_SITES), 3))))
        if frame.extra is not None:
            places = [len(SITES) + EXTRA_SITES.index(site) for site in frame.extra.sites]
            newest[places] = frame.extra.acceleration
        accelerations = np.concatenate((self._accelerations[1:], newest[None]))
        if self._fresh:
            accelerations[:] = newest
        mean = np.add.reduce(accelerations, axis=0) / ACCELERATION_FRAMES
        every = mean @ R_world_heading / (MODEL_GRAVITY * self._scale)
        smooth = every[: len(SITES)]
        smooth_extra = every[len(SITES) :]
        R_heading_site = R_world_heading.T @ rotations.to_matrix(frame.orientation)
        imu = self._inputs["imu"].reshape(len(SITES), 12)
        imu[:, :3] = np.clip(smooth, -ACCELERATION_LIMIT, ACCELERATION_LIMIT)
        imu[:, 3:] = R_heading_site.reshape(len(SITES), 9)
        count = self._counts(frame.extra)
        if "extra" in self._inputs and (count.any() or self._count.any()):
            self._put_extra(frame.extra, count, smooth_extra, R_world_heading)
        out = self._stream.step(self._inputs)
        self._accelerations = accelerations
        self._count = count
        self._fresh = False
        return dict(out)

    def _counts(self, extra: ExtraFrame | None) -> F64:
        """Return the weight of each optional sensor.

        It is zero while the sensor is silent, then ramps up; at the start it is full.
        """
        count = np.zeros(len(EXTRA_SITES))
        if extra is None:
            return count
        places = [EXTRA_SITES.index(site) for site in extra.sites]
        grown = np.minimum(self._count[places] + 1.0 / RETURN_FRAMES, 1.0)
        count[places] = np.where(extra.valid, 1.0 if self._fresh else grown, 0.0)
        return count

    def _put_extra(
        self, extra: ExtraFrame | None, count: F64, smooth: F64, R_world_heading: F64
    ) -> None:
        """Write the inputs of the optional sensors, (7, 13).

        See `pallas_ros.data.virtual_imu.extra_features`.
        """
        rows = self._inputs["extra"].reshape(len(EXTRA_SITES), PER_EXTRA)
        rows[:] = 0.0
        if extra is None:
            return
        places = [EXTRA_SITES.index(site) for site in extra.sites]
        R = R_world_heading.T @ rotations.to_matrix(extra.orientation)
        own = np.clip(smooth[places], -ACCELERATION_LIMIT, ACCELERATION_LIMIT)
        weight = count[places, None]
        rows[places, 0] = count[places]
        rows[places, 1:4] = weight * own
        rows[places, 4:] = weight * R.reshape(len(places), 9)

    def _trust(
        self, frame: ImuFrame, deviation: F64
    ) -> tuple[F64, NDArray[np.bool_], tuple[str, ...]]:
        """Return confidence (22,), validity (22,) and remarks.

        They are derived from the network's predicted deviation and the status of the sensors.
        """
        confidence = 1.0 / (1.0 + 3.0 * np.square(deviation / HALF_CONFIDENCE_M))
        confidence[0] = 1.0
        valid = np.ones(len(JOINTS), dtype=bool)
        remarks = []
        ages = frame.age.tolist()
        for index, site in enumerate(SITES):
            known = min(max((STALE_S - ages[index]) / (STALE_S - FRESH_S), 0.0), 1.0)
            known *= bool(frame.valid[index])
            if not known >= 1.0:  # also if it is NaN
                confidence[_DEPENDENT[site]] *= known
            if not frame.valid[index]:
                valid[_DRIVEN[site]] = False
                remarks.append(f"no signal from the {site.replace('_', ' ')} sensor")
        if frame.extra is not None and not frame.extra.valid.all():
            lost = [s for s, valid in zip(frame.extra.sites, frame.extra.valid) if not valid]
            names = ", ".join(site.replace("_", " ") for site in lost)
            remarks.append(f"no signal from the optional sensor on {names}: estimated without it")
        return confidence, valid, tuple(remarks)
