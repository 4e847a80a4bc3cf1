"""Figures of `pallas eval hpstm` from trials of any length."""

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the extra [train]")

from hpstm_ros.smoothing.smoother import SmootherSettings
from hpstm_ros.train.evaluate import Evaluation
from hpstm_ros.train.failures import FAILURES
from hpstm_ros.train.trials import Trial, require, trials
from pallas_ros.body.errors import PallasError
from pallas_ros.body.rotations import IDENTITY
from pallas_ros.data.library import LibraryClip, MotionLibrary


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


def test_figures_have_intervals_over_trials() -> None:
    """Regression: the rows had no `low` and `high`."""
    evaluation = Evaluation(None, SmootherSettings(), 1)  # type: ignore[arg-type]
    clips = [trial(120), trial(200), trial(160)]
    off = [0.001, 0.002, 0.004]
    estimates = [t.truth + [by, 0.0, 0.0] for t, by in zip(clips, off, strict=True)]
    evaluation._accuracy("kalman", "unseen", estimates, clips)
    (row,) = [row for row in evaluation.rows if row["metric"] == "mpjpe_mm"]
    assert row["value"] == pytest.approx((120 * 1 + 200 * 2 + 160 * 4) / 480, abs=1e-3)
    assert 1 <= row["low"] < row["value"] < row["high"] <= 4
    assert all("low" in row for row in evaluation.rows)


@pytest.mark.parametrize("frames", [100, 0])
def test_a_split_without_clips_is_one_sentence(frames: int) -> None:
    """Regression: data without unseen subjects ended in "max() arg is an empty sequence"."""
    rotation = np.tile(np.array([0, 0, 0, 32767], np.int16), (frames, 22, 1))
    clip = LibraryClip("test", "still", "still", "", "unseen_subjects", 0, frames)
    library = MotionLibrary(
        (clip,) if frames else (),
        rotation,
        np.zeros((frames, 3), np.float32),
        np.zeros((frames, 2), bool),
    )
    for check in (lambda: require(library, "unseen_subjects"), lambda: trials(library, "seen", 4)):
        with pytest.raises(PallasError, match="cannot be measured; leave it out of --splits"):
            check()
