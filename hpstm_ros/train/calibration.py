"""Calibration of the covariance of HPSTM, so that its ellipsoids have the nominal coverage."""

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hpstm_ros.model.hpstm import Hpstm
from hpstm_ros.smoothing.network import frames_hidden
from hpstm_ros.train import measures
from hpstm_ros.train.batches import WindowSampler
from hpstm_ros.train.noise import NO_FAILURES, Failures
from hpstm_ros.train.training import (
    CHECKED,
    familiar_and_not,
    windows,
)
from hpstm_ros.train.variation import OTHER_BODIES
from pallas_ros.body.names import JOINTS
from pallas_ros.data.library import MotionLibrary

_CALIBRATED_BATCHES = 20
_HIDDEN = Failures(occlusion=1.0, still=0.7)
_HIDDEN_FRAMES = (1, 2, 3, 4, 6, 9, 13, 19, 32)
"""Bounds of the intervals of hidden frames that have a separate factor."""


@dataclass(frozen=True)
class Calibration:
    """Factors on the covariance, as used by `hpstm_ros.smoothing.network`.

    Attributes:
        seen: (11, 22) for seen joints, by look-ahead and joint.
        hidden: (11, 31) for hidden joints, by look-ahead and the distance to the nearest frame in
            which they are seen, from 1.
    """

    seen: NDArray[np.float64]
    hidden: NDArray[np.float64]

    def document(self) -> dict[str, Any]:
        """The settings as a dictionary, for the metadata of a released model."""
        return {
            "covariance_scale": self.seen.round(4).tolist(),
            "covariance_scale_hidden": self.hidden.round(4).tolist(),
        }


def calibrate(model: Hpstm, library: MotionLibrary, off: float = 0.0085) -> Calibration:
    """Factors for which 90 % of the true positions are in their 90 % ellipsoids, on equal shares of
    the validation split and of held-out contents.

    The network is equally confident on unseen contents, although its errors are larger, so no
    factor is correct for both. For seen joints, the factor is a product of one for the look-ahead
    and one for the joint; for hidden joints, it depends on look-ahead and duration, since there are
    too few motions for every combination. Bone lengths have about the error of the smoother's
    estimates (``off``, relative).
    """
    kinds = [clips for clips in familiar_and_not(library) if clips]
    asked = model.config.lookaheads
    frames = model.config.frames
    if not kinds:
        return Calibration(np.ones((asked, len(JOINTS))), np.ones((asked, frames - 1)))

    def measured(
        seed: int, failures: Failures, batches: int
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        samplers = (
            WindowSampler(library, clips, seed, failures=failures, variation=OTHER_BODIES)
            for clips in kinds
        )
        tables, away = zip(
            *(_distances(model, sampler, off, batches) for sampler in samplers), strict=True
        )
        return np.concatenate(tables), np.concatenate(away)

    table, _ = measured(11, NO_FAILURES, _CALIBRATED_BATCHES)
    of_lookahead = measures.calibration(table.swapaxes(1, 2).reshape(-1, len(CHECKED)))
    of_joint = measures.calibration((table / of_lookahead[:, None]).reshape(-1, len(JOINTS)))
    seen = np.interp(np.arange(asked), CHECKED, of_lookahead)[:, None] * of_joint
    table, away = measured(13, _HIDDEN, 2 * _CALIBRATED_BATCHES)
    spans = list(itertools.pairwise(_HIDDEN_FRAMES))
    of_span = [
        [measures.calibration(table[:, q][(away[:, q] >= a) & (away[:, q] < b)]) for a, b in spans]
        for q in range(len(CHECKED))
    ]
    of_frame = [
        np.interp(np.arange(1, frames), [(a + b - 1) / 2 for a, b in spans], factors)
        for factors in of_span
    ]
    hidden = [[np.interp(n, CHECKED, at) for at in np.transpose(of_frame)] for n in range(asked)]
    return Calibration(np.asarray(seen), np.asarray(hidden))


@torch.no_grad()
def _distances(
    model: Hpstm, sampler: WindowSampler, off: float, batches: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Squared Mahalanobis distances (windows, look-aheads, 22) of the true positions, and
    `frames_hidden` of the same shape.
    """
    rng = np.random.default_rng(12)
    distances = []
    away = []
    for _ in range(batches):
        drawn = sampler.draw(64, model.config.frames)
        given = (drawn.bones * np.exp(off * rng.standard_normal(drawn.bones.shape))).astype(
            np.float32
        )
        w = windows(
            drawn,
            model.config,
            np.tile(np.array(CHECKED), (64, 1)),
            given,
            np.ones((64, 1), dtype=np.float32),
        )
        out = model(*w.inputs)
        arrays = [
            x.cpu().double().numpy() for x in (out.positions, w.truth.positions, out.covariance)
        ]
        distances.append(
            measures.squared_distances(arrays[0], arrays[1], arrays[2] + 1e-10 * np.eye(3))
        )
        away.append(np.stack([frames_hidden(drawn.seen, n) for n in CHECKED], axis=1))
    return np.concatenate(distances), np.concatenate(away)
