"""Simulated wearers for the tests of calibration."""

from collections.abc import Callable
from functools import cache

import numpy as np
import pytest

from pallas_ros.body import rotations
from pallas_ros.body.names import SITES
from pallas_ros.imu.motions import calibration_motion
from pallas_ros.imu.sample import ImuSample
from pallas_ros.imu.virtual import SensorNoise, SensorTrack, VirtualSensors

Stream = list[tuple[str, ImuSample]]

HARD = SensorNoise(mounting_error=float(np.radians(10)), heading_offset=float(np.radians(30)))
"""What issue 3 asks the calibration to bear: 10 degrees of mounting error, 30 degrees of heading offset."""


def mounting(seed: int | None) -> dict[str, np.ndarray]:
    """How the sensors are meant to sit: any way, or (None) as documented."""
    if seed is None:
        return dict.fromkeys(SITES, rotations.IDENTITY)
    rng = np.random.default_rng(seed)
    return {site: rotations.normalise(rng.standard_normal(4)) for site in SITES}


@cache
def wearer(functional: bool, mounted: int | None, seed: int = 1) -> tuple[Stream, dict[str, SensorTrack]]:
    """Samples of a wearer who does the guided calibration, 60 Hz, and the truth."""
    motion = calibration_motion(functional)
    sensors = VirtualSensors(HARD, seed, mounting(mounted))
    return sensors.samples(motion, 60.0), sensors.tracks(motion, 60.0)


@pytest.fixture(scope="session")
def guided_wearer() -> Callable[..., tuple[Stream, dict[str, SensorTrack]]]:
    return wearer
