"""Derives the root path from planted feet: while a foot is in contact, it stays in place.

The length-aware and the token generators predict the path step by step beside the posture. If the
two are inconsistent, feet in contact slide; the legs are more reliable than the path.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from hpstm_ros.generation import representation as rep
from hpstm_ros.generation.representation import CONTACTS, FPS
from pallas_ros.body.names import JOINT_INDEX

F32 = NDArray[np.float32]

_FEET: Final = [JOINT_INDEX["left_foot"], JOINT_INDEX["right_foot"]]
_STILL_M_S: Final = 0.1
"""m/s, lower bound of the foot speed in the weights. A foot is weighted by the inverse square of
its speed, so that of two feet in contact, the one that is about to lift has little weight. Speed to
the power of 1 or 4, and a bound of 0.3, change the slide by 0.5 cm/s."""
_SMOOTHING_FRAMES: Final = 1.0
"""Smoothing of the weight of the feet, which otherwise begins and ends abruptly."""


def path_by_feet(features: F32) -> F32:
    """Return features (T, 137) whose horizontal path is derived from feet in contact, if any."""
    if len(features) < 2:
        return features
    p = rep.positions(features)
    root = p[:, 0, :2]
    toes = p[:, _FEET, :2]
    contacts = np.clip(features[:, CONTACTS], 0.0, 1.0).astype(np.float64)
    standing = np.minimum(contacts[1:], contacts[:-1])
    speed = FPS * np.linalg.norm(np.diff(toes, axis=0), axis=-1)
    weight = standing / (speed**2 + _STILL_M_S**2)
    passed = np.diff(root[:, None] - toes, axis=0)
    by_feet = (weight[..., None] * passed).sum(1) / np.maximum(weight.sum(1), 1e-9)[:, None]
    share = gaussian_filter1d(standing.max(1), _SMOOTHING_FRAMES, mode="nearest")[:, None]
    step = share * by_feet + (1 - share) * np.diff(root, axis=0)
    out = np.array(features)
    out[1:, :2] = root[0] + np.cumsum(step, axis=0)
    return out
