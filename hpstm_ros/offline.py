"""Deprecated name of `hpstm_ros.teleoperation.recorded`; kept for one release."""

from hpstm_ros.teleoperation.joint_motion import JointMotion, summary
from hpstm_ros.teleoperation.recorded import describe, frames, retarget_motion

__all__ = ["JointMotion", "describe", "frames", "retarget_motion", "summary"]
