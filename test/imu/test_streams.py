"""Hostile bytes and clocks: robustness of decoders and clock maps, measured by the benchmark's own
code.
"""

from types import ModuleType

import numpy as np
import pytest

from pallas_ros.imu.clock import ClockMapper, CountingClock
from pallas_ros.imu.protocols import PROTOCOLS


@pytest.mark.parametrize("name", PROTOCOLS)
def test_hostile_bytes(bench: ModuleType, name: str) -> None:
    """Random, truncated, bit-flipped and interleaved bytes: no exception, bounded memory, and valid
    readings are returned.
    """
    row = bench.fuzz(name, 60_000, seed=5)
    assert row["valid sent"] > 300
    assert row["valid lost"] == 0
    assert row["bytes kept"] < 1100


@pytest.mark.parametrize(("rate", "ppm"), [(60, 50), (100, 50), (100, -50), (400, 50)])
def test_stamps_through_usb_bursts(bench: ModuleType, rate: float, ppm: float) -> None:
    """With 16 ms bursts and 50 ppm of drift, timestamps are accurate to 2 ms at the 99th
    percentile.
    """
    row = bench.stamps(rate, 0.016, ppm, seconds=60.0)
    assert row["p99 ms"] < 2.0
    assert row["arrival p99 ms"] > 15.0  # the disturbance was there


def test_a_device_clock_that_jumps_begins_a_new_map() -> None:
    mapper = ClockMapper()
    start = 10**18
    for i in range(300):
        device = i * 0.01 + (0.0 if i < 150 else -1.2)
        stamp = mapper.map(device, start + i * 10**7)
        assert abs(stamp - (start + i * 10**7)) < 2_000_000 or 150 <= i < 155
    assert mapper.restarts == 1


def test_stamps_of_a_sensor_without_a_clock_run_at_its_rate() -> None:
    rng = np.random.default_rng(0)
    mapper = CountingClock.mapper()
    counting = CountingClock()
    true = np.arange(2000) * 0.01
    arrival = 10**18 + np.round((true + rng.exponential(0.0015, 2000)) * 1e9).astype(np.int64)
    stamps = [mapper.map(counting.tick(int(a)), int(a)) for a in np.maximum.accumulate(arrival)]
    error = np.abs((np.array(stamps, dtype=np.int64) - 10**18) / 1e9 - true)[200:]
    assert np.percentile(error, 99) < 0.006
    assert np.all(np.diff(stamps) > 0)
