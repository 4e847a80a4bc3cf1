"""Smooth joints from a camera pose estimator, and print their uncertainty.

    python examples/smooth_camera_joints.py

A noisy motion with a wrist occluded for half a second simulates the estimator.
"""

import numpy as np

from hpstm_ros import Smoother, SmootherSettings, smooth_motion
from pallas_ros import JOINTS, Motion, demo_motion

rng = np.random.default_rng(0)
truth = demo_motion(8.0)
points = truth.positions + rng.normal(0.0, 0.02, truth.positions.shape)
wrist = JOINTS.index("right_wrist")
points[200:230, wrist] = np.nan  # occluded

noisy = Motion(truth.fps, points, np.full_like(truth.rotations, np.nan))
smooth = smooth_motion(noisy, Smoother(SmootherSettings(lookahead=5)))


def error_mm(motion: Motion) -> float:
    return 1e3 * float(np.nanmean(np.linalg.norm(motion.positions - truth.positions, axis=-1)))


deviation = np.sqrt(np.trace(smooth.position_covariance, axis1=-2, axis2=-1))
print(f"error: {error_mm(noisy):.0f} mm before, {error_mm(smooth):.0f} mm after smoothing")
print(f"wrist: {1e3 * deviation[190, wrist]:.0f} mm standard deviation while visible")
print(f"wrist: {1e3 * deviation[229, wrist]:.0f} mm while occluded")
