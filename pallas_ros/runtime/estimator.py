"""The body of an operator from the four sensors, frame by frame: features, the network's step, forward kinematics, root translation, confidence."""

import numpy as np
from numpy.typing import NDArray

from pallas_ros.body import rotations
from pallas_ros.body.frames import BodyFrame, ImuFrame
from pallas_ros.body.kinematics import forward_kinematics_matrices
from pallas_ros.body.names import JOINT_INDEX, JOINTS, SITES
from pallas_ros.body.skeleton import Skeleton
from pallas_ros.runtime.stream import Stream

F64 = NDArray[np.float64]

GRAVITY = 9.81
ACCELERATION_FRAMES = 5
"""Frames over which acceleration is averaged; it lags two frames by that, as in training (`SensorErrors.delay`)."""
ACCELERATION_LIMIT = 6.0
"""Accelerations are held to this many g, as in training."""
HALF_CONFIDENCE_M = 0.10
"""Expected error of a joint's position at which confidence is one half."""
DRIFT_PER_METRE = 0.1
"""Standard deviation of the root's translation, as a part of the way walked (docs/model.md has what was measured)."""
LONGEST_GAP_S = 0.5
"""After a longer gap the root stays where it was, and the feet are taken to have moved."""

_ANKLES = [JOINT_INDEX["left_ankle"], JOINT_INDEX["right_ankle"]]
_TOES = [JOINT_INDEX["left_foot"], JOINT_INDEX["right_foot"]]
_DRIVEN: dict[str, list[int]] = {
    "pelvis": list(range(len(JOINTS))),
    "neck": [JOINT_INDEX[name] for name in ("spine1", "spine2", "spine3", "neck", "head")],
    "left_wrist": [JOINT_INDEX[f"left_{name}"] for name in ("shoulder", "elbow", "wrist")],
    "right_wrist": [JOINT_INDEX[f"right_{name}"] for name in ("shoulder", "elbow", "wrist")],
}
"""Joints that cannot be known without a site."""


class BodyEstimator:
    """Runs the network on frames of the four sensors.

    The network knows one stature; accelerations are scaled to it and velocities back. Everything it sees and says is in the waist's
    heading frame, so that the operator may face anywhere.
    """

    def __init__(self, stream: Stream, skeleton: Skeleton) -> None:
        """``stream``: an open PALLAS model of batch 1; ``skeleton``: the operator's."""
        self._stream, self._skeleton = stream, skeleton
        self._scale = skeleton.height / Skeleton.from_height().height
        self._soles = skeleton.rest_positions[:, 2]
        self._inputs = {name: np.zeros(shape, dtype=np.float32) for name, shape in stream.inputs.items()}
        self._accelerations = np.zeros((ACCELERATION_FRAMES, len(SITES), 3))
        self.reset()

    def reset(self, p_world_pelvis: F64 | None = None) -> None:
        """Forget the past. The root begins at ``p_world_pelvis`` (3,) m, by default over the origin, standing."""
        self._stream.reset()
        self._root = self._skeleton.rest_positions[0].copy() if p_world_pelvis is None else np.array(p_world_pelvis, dtype=np.float64)
        self._last_stamp: int | None = None
        self._last_relative: F64 | None = None
        self._walked = 0.0

    def step(self, frame: ImuFrame) -> BodyFrame:
        """The body at the frame's instant.

        Raises:
            PallasError: the frame holds a value that is not finite; nothing has changed then.
        """
        heading = float(rotations.heading(frame.orientation[0]))
        cos, sin = np.cos(heading), np.sin(heading)
        R_world_heading = np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])
        out = self._infer(frame, R_world_heading)
        R_world_joint = R_world_heading @ rotations.from_r6d(out["rotations"][0].astype(np.float64))
        relative = forward_kinematics_matrices(self._skeleton, R_world_joint, np.zeros(3))
        contacts = out["contacts"][0].astype(np.float64)
        self._move_root(frame.stamp, relative, contacts, R_world_heading @ out["root_velocity"][0] * self._scale)
        deviation = out["deviation"][0].astype(np.float64) * self._scale
        confidence, valid, remarks = self._trust(frame, deviation)
        covariance = np.zeros((len(JOINTS), 3, 3))
        covariance[:, [0, 1, 2], [0, 1, 2]] = np.square(deviation)[:, None]
        covariance[0, [0, 1], [0, 1]] = (DRIFT_PER_METRE * self._walked) ** 2  # of the root in odom; the others' are relative to it
        return BodyFrame(
            stamp=frame.stamp,
            rotations=rotations.from_matrix(R_world_joint),
            positions=relative + self._root,
            covariance=covariance,
            valid=valid,
            confidence=confidence,
            contacts=contacts,
            newest_input=frame.newest_input,
            remarks=remarks,
        )

    def _infer(self, frame: ImuFrame, R_world_heading: F64) -> dict[str, NDArray[np.float32]]:
        """The network's outputs; the acceleration's filter moves on only if the network took the frame."""
        accelerations = np.concatenate((self._accelerations[1:], frame.acceleration[None]))
        if self._last_stamp is None:
            accelerations[:] = frame.acceleration
        smooth = accelerations.mean(axis=0) @ R_world_heading / (GRAVITY * self._scale)
        R_heading_site = R_world_heading.T @ rotations.to_matrix(frame.orientation)
        imu = self._inputs["imu"].reshape(len(SITES), 12)
        imu[:, :3] = np.clip(smooth, -ACCELERATION_LIMIT, ACCELERATION_LIMIT)
        imu[:, 3:] = R_heading_site.reshape(len(SITES), 9)
        out = self._stream.step(self._inputs)
        self._accelerations = accelerations
        return dict(out)

    def _move_root(self, stamp: int, relative: F64, contacts: F64, velocity: F64) -> None:
        """Move the pelvis so that a foot that stands stays where it is; between steps, by the network's velocity.

        Args:
            stamp: ns.
            relative: (22, 3) m, joints from the pelvis, world axes.
            contacts: (2,) probabilities.
            velocity: (3,) m/s, world, the network's.
        """
        foot = int(np.argmax(contacts))
        stands = float(np.clip((contacts[foot] - 0.5) / 0.3, 0.0, 1.0))
        lowest = min(float(np.min(relative[_ANKLES, 2] - self._soles[_ANKLES])), float(np.min(relative[_TOES, 2] - self._soles[_TOES])))
        if self._last_stamp is None or self._last_relative is None:
            self._root[2] = -lowest
        else:
            elapsed = (stamp - self._last_stamp) / 1e9
            if 0.0 < elapsed <= LONGEST_GAP_S:
                moves = [self._last_relative[joint] - relative[joint] for joint in (_ANKLES[foot], _TOES[foot])]  # that would hold the point still
                by_network = velocity * elapsed
                held = min(moves, key=lambda move: float(np.linalg.norm(move - by_network)))
                move = stands * held + (1.0 - stands) * by_network
                self._root += move
                self._walked += float(np.linalg.norm(move[:2]))
                # A foot that stands draws the body onto the ground; in flight the height is the network's, gently drawn back.
                self._root[2] += (0.1 * stands + 0.005) * (-lowest - self._root[2])
        self._last_stamp, self._last_relative = stamp, relative

    def _trust(self, frame: ImuFrame, deviation: F64) -> tuple[F64, NDArray[np.bool_], tuple[str, ...]]:
        """Confidence (22,), validity (22,) and remarks, from the network's own deviation and from what the sensors say of themselves."""
        confidence = 1.0 / (1.0 + 3.0 * np.square(deviation / HALF_CONFIDENCE_M))
        confidence[0] = 1.0
        valid = np.ones(len(JOINTS), dtype=bool)
        remarks = []
        for index, site in enumerate(SITES):
            if not frame.valid[index]:
                valid[_DRIVEN[site]] = False
                confidence[_DRIVEN[site]] = 0.0
                remarks.append(f"no signal from the {site.replace('_', ' ')} sensor")
        return confidence, valid, tuple(remarks)
