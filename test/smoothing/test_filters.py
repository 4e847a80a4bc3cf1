"""Classical filters: exact where theory predicts it, with the stated delay, robust to gaps."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.signal import savgol_filter

from hpstm_ros.smoothing.filters import Filter, Kalman, MedianFirst, OneEuro, Raw, SavitzkyGolay

FILTERS = {
    "raw": lambda: Raw(2),
    "one_euro": OneEuro,
    "savitzky_golay": lambda: SavitzkyGolay(11, 2, 5),
    "kalman": lambda: Kalman(lookahead=4, gate=4.0),
    "median": lambda: MedianFirst(Kalman(lookahead=2), 3, 1),
}


def run(filter_: Filter, points: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.stack([y for x in points if (y := filter_.push(x)) is not None])


@pytest.mark.parametrize("name", FILTERS)
def test_delay_is_the_lookahead_and_a_still_point_stays(name: str) -> None:
    filter_ = FILTERS[name]()
    out = run(filter_, np.tile([[0.3, -0.2, 1.0]], (50, 4, 1)).reshape(50, 4, 3))
    assert len(out) == 50 - filter_.lookahead
    np.testing.assert_allclose(out, np.broadcast_to([0.3, -0.2, 1.0], out.shape), atol=1e-6)


@pytest.mark.parametrize("name", FILTERS)
def test_a_missing_point_never_becomes_nan(name: str) -> None:
    points = np.tile(np.linspace(0, 1, 60)[:, None, None], (1, 2, 3))
    points[20:25, 1] = np.nan
    assert np.isfinite(run(FILTERS[name](), points)).all()


def test_savitzky_golay_is_scipys_centred_filter() -> None:
    x = np.cumsum(np.random.default_rng(0).standard_normal((80, 1, 3)), axis=0)
    out = run(SavitzkyGolay(11, 2, 5), x)
    np.testing.assert_allclose(out[10:], savgol_filter(x, 11, 2, axis=0)[10:75], atol=1e-9)


def test_lookahead_makes_the_kalman_filter_better(
    walk: NDArray[np.float64], noisy: NDArray[np.float64]
) -> None:
    errors = []
    for lookahead in (0, 5, 10):
        out = run(Kalman(20.0, 0.012, lookahead, gate=4.0), noisy)
        errors.append(np.linalg.norm(out - walk[: len(out)], axis=-1)[30:].mean())
    assert errors[2] < errors[1] < errors[0] < np.linalg.norm(noisy - walk, axis=-1).mean()


def test_kalman_variance_grows_while_a_point_is_missing() -> None:
    kalman = Kalman()
    for _ in range(40):
        kalman.push(np.zeros((2, 3)))
    before = kalman.variance.copy()
    for _ in range(10):
        kalman.push(np.array([[0.0, 0.0, 0.0], [np.nan, np.nan, np.nan]]))
    assert kalman.variance[1] > 10 * before[1]
    np.testing.assert_allclose(kalman.variance[0], before[0], rtol=0.05)


def test_kalman_gate_refuses_a_spike_but_believes_what_stays() -> None:
    kalman = Kalman(gate=4.0, patience=6)
    for _ in range(60):
        kalman.push(np.zeros((1, 3)))
    spiked = kalman.push(np.full((1, 3), 0.3))
    assert spiked is not None and np.abs(spiked).max() < 0.01
    for _ in range(30):
        moved = kalman.push(np.full((1, 3), 0.3))
    assert moved is not None and np.abs(moved - 0.3).max() < 0.02


def test_a_lookahead_beyond_the_window_is_refused() -> None:
    with pytest.raises(ValueError, match="Savitzky-Golay"):
        SavitzkyGolay(5, 2, 5)
