"""Run time of the network that predicts unobserved joints, in the future and in gaps.

Requires neither torch nor ROS.
"""

from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from hpstm_ros.generation import representation as rep
from hpstm_ros.generation.bridging import bridged, seen_from_reference
from hpstm_ros.generation.representation import FEATURES, FPS, FRAMES
from pallas_ros.body import rotations
from pallas_ros.body.names import JOINTS
from pallas_ros.runtime import BatchedStream

F32 = NDArray[np.float32]
Flags = NDArray[np.bool_]

MODEL: Final = "models/expectation.onnx"
_BATCHES: Final = (1, 4, 16)
"""Windows that are evaluated together."""


class Expectation:
    """The prediction network, loaded from its model file.

    Args:
        path: the model file.
        backend: as of `pallas_ros.runtime.open_stream`.

    Raises:
        PallasError: the file is missing, damaged, or of another kind.
    """

    def __init__(self, path: str | Path = MODEL, backend: str = "onnxruntime") -> None:
        self._stream = BatchedStream(
            path,
            {"kind": "expectation", "rate_hz": FPS, "joints": list(JOINTS)},
            backend,
            _BATCHES,
            "train the network with `pallas train expectation` and copy its output there",
        )
        self.scale = float(self._stream.first.metadata.get("deviation_scale", 1.0))

    def expect(self, known: F32, seen: Flags) -> tuple[F32, F32]:
        """Return the expected motion (B, 120, 137), and the standard deviations (B, 120, 22, 3) m
        of its positions.

        Args:
            known: (B, 120, 137) features, in one frame per window; arbitrary where not observed.
            seen: (B, 120, 22) whether a joint is observed (the pelvis: also the root path).
                Observed values are not changed.

        Deviations are along the axes of the window's frame. They are exact if that is the frame of
        the last observed body, as returned by `seen_from_reference`.
        """
        moved = []
        places = []
        for features, there in zip(known, seen, strict=True):
            row, place = seen_from_reference(features, there)
            moved.append(row)
            places.append(place)
        given = {"bridged": bridged(np.stack(moved), seen), "seen": seen.astype(np.float32)}
        out = self._stream.step(given)
        drawn = out["expected"]
        deviation = out["deviation"]
        mean = np.empty_like(drawn)
        spread = np.empty((len(drawn), FRAMES, len(JOINTS), 3), np.float32)
        for index, place in enumerate(places):
            orthonormal = rotations.to_r6d(rep.matrices(drawn[index]))
            drawn[index][:, rep.R6D] = orthonormal.reshape(FRAMES, 6 * len(JOINTS))
            mean[index] = rep.placed(drawn[index], place)
            own = self.scale * deviation[index].reshape(FRAMES, len(JOINTS), 3)
            R = rotations.to_matrix(rotations.about_z(place.heading))
            spread[index] = np.sqrt(own**2 @ (R**2).T)
        return mean, spread


def nothing(batch: int) -> tuple[F32, Flags]:
    """Return windows in which nothing is observed: features and flags of observed joints."""
    return (
        np.zeros((batch, FRAMES, FEATURES), np.float32),
        np.zeros((batch, FRAMES, len(JOINTS)), np.bool_),
    )
