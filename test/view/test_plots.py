"""The viewer's charts: filled from the recording at any seek position, and limited to the displayed
seconds.
"""

from collections.abc import Iterator

import numpy as np
import pytest

pytest.importorskip("viser", reason="needs the extra [view]")

import viser

from pallas_ros.view.moments import Moment
from pallas_ros.view.plots import KEPT, SPAN_S, STEP_S, Plots


@pytest.fixture(scope="module")
def server() -> Iterator[viser.ViserServer]:
    server = viser.ViserServer(host="127.0.0.1", port=0, verbose=False)
    yield server
    server.stop()


def moment(time: float) -> Moment:
    """A moment whose values equal its time."""
    return Moment(
        time,
        plots={"clock": time},
        joints={"elbow": time / 100},
        commanded={"elbow": time / 100 + 0.01} if time > 5 else {},
    )


def chart(plots: Plots, title: str) -> tuple[np.ndarray, ...]:
    return next(handle.data for name, _, handle in plots._charts.values() if name == title)


def test_the_seconds_before_a_jump_are_read_from_the_recording(server: viser.ViserServer) -> None:
    plots = Plots(server.gui)
    for now in (20.0, 3.0, 55.55):
        plots.add(moment(now))
        plots.draw(now, moment)
        before, values = chart(plots, "clock")
        assert before[-1] == pytest.approx(0, abs=STEP_S)
        assert before[0] == pytest.approx(-min(SPAN_S, now), abs=STEP_S)
        np.testing.assert_allclose(values, now + before, atol=1e-6)


def test_live_nothing_is_invented_and_little_kept(server: viser.ViserServer) -> None:
    plots = Plots(server.gui)
    for step in range(3 * KEPT):
        plots.add(moment(1000 + step * STEP_S))
    assert len(plots._points) <= KEPT + 1
    last = 1000 + (3 * KEPT - 1) * STEP_S
    plots.draw(last + 4.0)
    assert chart(plots, "clock")[0][-1] == pytest.approx(-4.0, abs=STEP_S)


def test_a_joint_is_drawn_between_its_limits_though_no_command_came_yet(
    server: viser.ViserServer,
) -> None:
    plots = Plots(server.gui)
    plots.offer({"elbow": (-1.0, 2.0)})
    plots.draw(10.0, moment)
    before, measured, commanded, low, high = chart(plots, "elbow, rad")
    assert np.isfinite(measured).all()
    np.testing.assert_array_equal(np.isfinite(commanded), before + 10.0 > 5.0 + 1e-9)
    assert (low == -1.0).all()
    assert (high == 2.0).all()
    share = chart(plots, "joint commands, fraction of their range")[1]
    assert share[-1] == pytest.approx((0.1 + 0.01 + 1.0) / 3.0)
