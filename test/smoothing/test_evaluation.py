"""Figures of `pallas eval hpstm` from trials of any length."""

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the extra [train]")

from hpstm_ros.smoothing.smoother import SmootherSettings
from hpstm_ros.train.evaluate import Evaluation
from hpstm_ros.train.failures import FAILURES
from hpstm_ros.train.trials import Trial
from pallas_ros.body.rotations import IDENTITY


def trial(frames: int) -> Trial:
    points = np.zeros((frames, 22, 3))
    return Trial("still", points, points, np.tile(IDENTITY, (frames, 22, 1)), points, np.ones(22))


@pytest.mark.parametrize(("frames", "rows"), [(120, 0), (240, 2)])
def test_trials_that_are_too_short_for_a_failure_have_no_figures_of_it(
    frames: int, rows: int
) -> None:
    evaluation = Evaluation(None, SmootherSettings(), 1)  # type: ignore[arg-type]
    clips = [trial(frames)]
    failure = FAILURES["body_gone_500ms"]
    evaluation._aftermath("kalman", "unseen", [clips[0].truth[:-5]], 1e-3, clips, failure)
    assert len(evaluation.rows) == rows
