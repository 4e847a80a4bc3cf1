"""Metrics of a smoothed motion: accuracy and smoothness."""

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2

from pallas_ros.body.names import MODEL_RATE_HZ, PARENTS

F64 = NDArray[np.float64]

_PARENTS = np.array([max(parent, 0) for parent in PARENTS])
LEVELS = (0.5, 0.9, 0.95)


def accuracy(estimated: F64, truth: F64) -> dict[str, tuple[float, str]]:
    """Figures of one motion (T, 22, 3) m, name to value and unit: error, error of the acceleration,
    jerk and true jerk, bones.
    """
    error = np.linalg.norm(estimated - truth, axis=-1)
    local = np.linalg.norm((estimated - estimated[:, :1]) - (truth - truth[:, :1]), axis=-1)
    lengths = np.linalg.norm(estimated - estimated[:, _PARENTS], axis=-1)[:, 1:]
    return {
        "mpjpe_mm": (1e3 * float(error.mean()), "mm"),
        "mpjpe_root_relative_mm": (1e3 * float(local.mean()), "mm"),
        "acceleration_error_m_s2": (_mean_norm(estimated - truth, 2), "m/s^2"),
        "jerk_m_s3": (_mean_norm(estimated, 3), "m/s^3"),
        "jerk_true_m_s3": (_mean_norm(truth, 3), "m/s^3"),
        "bone_variation_mm": (1e3 * float(lengths.std(axis=0).mean()), "mm"),
    }


def _mean_norm(positions: F64, order: int) -> float:
    """Mean length of a derivative of positions (T, 22, 3) by differences."""
    return float(
        np.linalg.norm(np.diff(positions, order, axis=0), axis=-1).mean() * MODEL_RATE_HZ**order
    )


def squared_distances(estimated: F64, truth: F64, covariance: F64) -> F64:
    """Squared Mahalanobis distances (...) of points (..., 3) under covariances (..., 3, 3) m^2."""
    error = estimated - truth
    return np.asarray(
        np.einsum("...i,...i->...", error, np.linalg.solve(covariance, error[..., None])[..., 0])
    )


def coverage(distances: F64) -> dict[str, tuple[float, str]]:
    """Share of true positions inside the ellipsoids of 50, 90 and 95 %.

    ``distances`` are squared Mahalanobis distances, any shape.
    """
    return {
        f"coverage{round(100 * level)}": (float(np.mean(distances < chi2.ppf(level, 3))), "share")
        for level in LEVELS
    }


def calibration(distances: F64, level: float = 0.9) -> F64:
    """Factors on the covariance for which a share ``level`` of the true positions is in its
    ellipsoid.

    Args:
        distances: (n, ...) squared Mahalanobis distances.
        level: share, 0 to 1.

    Returns:
        (...) one factor per column.
    """
    return np.asarray(np.quantile(distances, level, axis=0) / chi2.ppf(level, 3))
