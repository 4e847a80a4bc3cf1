"""Shares of the network and the size of its deviations, chosen on validation subjects."""

import numpy as np
from numpy.typing import NDArray

from hpstm_ros.generation import representation as rep
from hpstm_ros.generation.anchoring import anchored
from hpstm_ros.generation.flow import Flow, Known
from hpstm_ros.generation.representation import FPS
from hpstm_ros.train.windows import MotionWindows
from pallas_ros.data.library import MotionLibrary

PAST = 30
GAP = slice(45, 75)
_SHARES = np.linspace(0, 1, 11)
_CHI_SQUARE_90 = 6.2514


def calibrate(library: MotionLibrary, flow: Flow, count: int = 96) -> dict[str, float]:
    """``share_ahead``, ``share_gap`` and ``deviation_scale`` for the document of a model.

    The shares minimise the mean joint error of the second ahead and in a gap of a second; the scale
    puts 90 % of the positions of the second ahead into their 90 % ellipsoids.
    """
    clips = library.select("validation_subjects") or library.require("validation")
    windows = MotionWindows(library, clips)
    whole = windows.cover(4.0)
    rng = np.random.default_rng(31)
    picked = [whole[i] for i in rng.permutation(len(whole))[:count]]
    truth = windows.batch(picked).features
    flow.metadata = {**flow.metadata, "deviation_scale": 1.0, "share_ahead": 1.0, "share_gap": 1.0}
    found: dict[str, float] = {}
    p_true = rep.positions(truth)
    ahead = slice(PAST, PAST + round(FPS))
    for name, hidden in (("share_ahead", slice(PAST, None)), ("share_gap", GAP)):
        known = Known.nothing(len(truth))
        known.features[:] = truth
        known.seen[:] = True
        known.seen[:, hidden] = False
        expected, deviation = flow.expect(known)
        frames = ahead if name == "share_ahead" else GAP
        errors = []
        for share in _SHARES:
            p = _mixed(truth, known.seen, expected, float(share))[:, frames]
            errors.append(np.linalg.norm(p - p_true[:, frames], axis=-1).mean())
        found[name] = round(float(_SHARES[int(np.argmin(errors))]), 2)
        if name == "share_ahead":
            p = _mixed(truth, known.seen, expected, found[name])[:, frames]
            away = (((p - p_true[:, frames]) / deviation[:, frames]) ** 2).sum(-1)
            found["deviation_scale"] = round(
                float(np.sqrt(np.quantile(away, 0.9) / _CHI_SQUARE_90)), 4
            )
    return found


def _mixed(
    truth: NDArray[np.float32], seen: NDArray[np.bool_], expected: NDArray[np.float32], share: float
) -> NDArray[np.float64]:
    rows = zip(truth, seen, expected, strict=True)
    return rep.positions(np.stack([anchored(*row, share, share) for row in rows]))
