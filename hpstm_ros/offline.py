"""Deprecated name of `hpstm_ros.teleoperation.recorded`; kept for one release."""

from hpstm_ros.teleoperation.recorded import JointMotion, describe, frames, retarget_motion, summary

__all__ = ["JointMotion", "describe", "frames", "retarget_motion", "summary"]
