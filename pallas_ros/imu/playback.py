"""Sources of the IMU simulator: demonstration, motion file or recording; and ground truth."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from pallas_ros.body.frames import BodyFrame
from pallas_ros.body.motion import Motion
from pallas_ros.body.names import JOINT_INDEX, JOINTS
from pallas_ros.body.resources import expanded
from pallas_ros.body.skeleton import Skeleton
from pallas_ros.files.npz import array_names
from pallas_ros.imu.motions import demo_motion
from pallas_ros.imu.recording import load_recording
from pallas_ros.imu.simulator import SensorSimulator
from pallas_ros.imu.synchroniser import grid_index_at_or_after, grid_stamp
from pallas_ros.imu.virtual import SensorTrack
from pallas_ros.motion_files import read_motion

DEMO = "demo"
"""Name of the scripted motion."""

_ANKLES = [JOINT_INDEX["left_ankle"], JOINT_INDEX["right_ankle"]]
_GROUND_CONTACT_M = 0.025
_JUMP_NS = 10_000_000_000  # a larger step between two of the frequent calls means the clock was set
_WHAT = "motion file or IMU recording"


def source(
    name: str, duration_s: float, height_m: float, extra_sites: Sequence[str] = ()
) -> Motion | Mapping[str, SensorTrack]:
    """Return the source called ``name``: ``demo``, a motion file or an IMU recording.

    ``extra_sites`` selects optional sensors of a recording.

    Raises:
        PallasError: the file is neither.
    """
    if name == DEMO:
        return demo_motion(duration_s, skeleton=Skeleton.from_height(height_m))
    path = expanded(name)
    if path.suffix.lower() == ".npz" and "linear_acceleration" in array_names(path, _WHAT):
        return load_recording(path, extra_sites=extra_sites).tracks()
    return read_motion(path)


class Truth:
    """Bodies played by a simulator, on the body time grid, each once."""

    def __init__(self, simulator: SensorSimulator) -> None:
        self._simulator = simulator
        self._index: int | None = None

    def until(self, stamp: int) -> Iterator[BodyFrame]:
        """Return the new bodies up to ``stamp`` (ns); none if only sensors were recorded."""
        for at in self._stamps(stamp):
            body = self._body(at)
            if body is not None:
                yield body

    def skip(self, stamp: int) -> None:
        """Pass over the new bodies up to ``stamp`` (ns), without computing them."""
        for _ in self._stamps(stamp):
            pass

    def _stamps(self, stamp: int) -> Iterator[int]:
        """Return the timestamps (ns) of the new bodies up to ``stamp``."""
        begun = self._simulator.started_at
        if begun is None or self._simulator.motion is None:
            return
        if self._index is None:
            self._index = grid_index_at_or_after(begun)
        elif abs(stamp - grid_stamp(self._index)) > _JUMP_NS:
            self._simulator.follow_clock()
            self._index = grid_index_at_or_after(stamp)
        while (at := grid_stamp(self._index)) <= stamp:
            self._index += 1
            yield at

    def _body(self, at: int) -> BodyFrame | None:
        """Return the body at ``at`` (ns); None before the start."""
        body = self._simulator.truth(at)
        if body is None or self._simulator.motion is None:
            return None
        q_world_joint, p_world = body
        ground = self._simulator.motion.positions[0, _ANKLES, 2]
        return BodyFrame(
            stamp=at,
            rotations=np.asarray(q_world_joint, np.float64),
            positions=np.asarray(p_world, np.float64),
            covariance=None,
            valid=np.ones(len(JOINTS), dtype=bool),
            confidence=np.ones(len(JOINTS)),
            contacts=np.asarray(p_world[_ANKLES, 2] < ground + _GROUND_CONTACT_M, np.float64),
            newest_input=at,
        )
