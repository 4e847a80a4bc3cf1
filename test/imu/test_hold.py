"""A simulated wearer holds the first pose until a calibration is published."""

import itertools

import pytest

from pallas_ros.imu.motions import demo_motion
from pallas_ros.imu.protocols import protocol
from pallas_ros.imu.simulator import HELD_AT_MOST_S, HELD_S, SensorSimulator


@pytest.mark.parametrize("released_after", [0, 300, 1500, 10**9])
def test_the_start_is_repeated_until_released_without_a_gap(
    released_after: int,
) -> None:
    simulator = SensorSimulator(demo_motion(6.0), protocol("witmotion"), hold=True)
    try:
        simulator.started_at = 10**18
        last = 0.0
        motion_times = []
        for number, (due, site, index, backwards) in enumerate(
            itertools.islice(simulator._schedule(), 13_000)
        ):
            if number == released_after:
                simulator.release()
            assert -1e-9 <= due - last < 0.05
            last = due
            at = float(simulator.tracks[site].time[index])
            motion_times.append(at)
            if not backwards and min(abs(at - edge) for edge in HELD_S) > 1e-3:
                assert simulator.motion_time(10**18 + round(due * 1e9)) == pytest.approx(
                    at, abs=1e-6
                )
        assert max(motion_times) > 5.9  # it was played in the end, even where nobody released it
        repeats = sum(HELD_S[0] <= at < HELD_S[1] for at in motion_times) / (
            4 * 100 * (HELD_S[1] - HELD_S[0])
        )
        if released_after == 10**9:
            assert repeats >= HELD_AT_MOST_S
    finally:
        simulator.stop()
