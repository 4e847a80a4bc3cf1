"""A motion generator, a pose format and a smoothing method in a separate package."""

from collections.abc import Callable

import numpy as np

from hpstm_ros.generation.representation import FPS, from_motion
from hpstm_ros.generation.request import Request
from hpstm_ros.smoothing.adapters import PoseFormat
from hpstm_ros.smoothing.estimate import KalmanMethod
from hpstm_ros.smoothing.smoother import Method, SmootherSettings
from pallas_ros import JOINTS, demo_motion


class DemoGenerator:
    """`pallas generate out.npz "anything" --model demo` writes the demonstration motion."""

    def generate(self, request: Request, progress: Callable[[str, float], None]) -> np.ndarray:
        """Return K candidates of T frames at 30 Hz; `representation` defines the 137 numbers."""
        features, _ = from_motion(demo_motion(request.seconds + 1.0))
        progress("copying", 1.0)
        return np.stack([features[: round(request.seconds * FPS)]] * request.candidates)


def upper_body() -> PoseFormat:
    """`format: upper_body` of the node `pose_adapter`: six points in mm, camera axes."""
    parts = ("shoulder", "elbow", "wrist")
    points = tuple(f"{side}_{part}" for part in parts for side in ("left", "right"))
    weights = np.zeros((len(JOINTS), len(points)))
    for column, name in enumerate(points):
        weights[JOINTS.index(name), column] = 1.0
    return PoseFormat("upper_body", points, weights, scale=1e-3, axes="optical", id_stride=0)


def my_kalman(settings: SmootherSettings) -> Callable[[SmootherSettings], Method]:
    """`pallas smooth --method my_kalman`: called once, and the result once per body."""
    return lambda of_body: KalmanMethod(of_body.lookahead)
