"""Network input in training and live: the same motion through both, from true joints and from raw
samples.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pallas_ros.body.motion import Motion
from pallas_ros.body.names import SITES
from pallas_ros.body.skeleton import Skeleton
from pallas_ros.imu.calibration import Calibration
from pallas_ros.imu.motions import demo_motion
from pallas_ros.imu.synchroniser import Synchroniser
from pallas_ros.imu.virtual import NECK_SHARE, SensorNoise, VirtualSensors
from pallas_ros.runtime.estimator import BodyEstimator

torch = pytest.importorskip("torch", reason="needs the extra [train]")

START = 60 * 10**9 // 60  # on the grid of frames


class Tap:
    """Replaces the network and stores its input."""

    def __init__(self) -> None:
        self.inputs = {"imu": (1, 48), "latent": (1, 8)}
        self.seen: list[np.ndarray] = []

    def reset(self) -> None: ...

    def step(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        self.seen.append(inputs["imu"][0].copy())
        upright = np.zeros((1, 22, 6), np.float32)
        upright[..., [0, 4]] = 1.0
        return {
            "rotations": upright,
            "contacts": np.ones((1, 2), np.float32),
            "root_velocity": np.zeros((1, 3), np.float32),
            "deviation": np.full((1, 22), 0.01, np.float32),
        }


def live(motion: Motion, rate_hz: float) -> tuple[np.ndarray, np.ndarray]:
    """Frame numbers (N,) and network inputs (N, 48): sensors, calibration, synchroniser,
    estimator.
    """
    tap = Tap()
    calibration = Calibration.identity()
    synchroniser = Synchroniser()
    estimator = BodyEstimator(tap, Skeleton.from_height())  # type: ignore[arg-type]
    stamps = []
    for site, sample in VirtualSensors(SensorNoise.none()).samples(motion, rate_hz, START):
        for frame in synchroniser.push(site, sample.stamp, *calibration.apply(site, sample)):
            estimator.step(frame)
            stamps.append(frame.stamp - START)
    return np.round(np.array(stamps) * motion.fps / 1e9).astype(int), np.array(tap.seen)


def trained(motion: Motion) -> tuple[np.ndarray, np.ndarray]:
    """The same input from the training code, without errors."""
    from pallas_ros.data.virtual_imu import MARGIN, SensorErrors, sense

    def batch(values: Any) -> Any:
        return torch.from_numpy(np.array(values, np.float32))[None]

    sequence = sense(
        batch(motion.rotations),
        batch(motion.positions[:, 0]),
        torch.zeros(1, len(motion), 2),
        batch(Skeleton.from_height().offsets),
        SensorErrors().scaled(0.0),
        torch.Generator().manual_seed(0),
        neck_share=torch.tensor([NECK_SHARE]),
    )
    imu = sequence.imu[0].numpy()
    return np.arange(MARGIN, MARGIN + len(imu)), imu


def library_motion(folder: Path) -> Motion:
    """A brisk clip of motion capture."""
    from pallas_ros.data.library import MotionLibrary

    library = MotionLibrary.open(folder)
    clip = next(c for c in library.select("train") if c.content == "walk-turn-left")
    return library.motion(clip)


@pytest.mark.parametrize("rate_hz", [60.0, 100.0, 400.0])
def test_inputs_agree(rate_hz: float) -> None:
    """Rotations are equal, and accelerations have the same delay and scale: differences over ±4
    frames in training, a mean of five in the estimator.
    """
    motion = demo_motion(30.0)
    at, fed = live(motion, rate_hz)
    frames, wanted = trained(motion)
    common = np.intersect1d(at[10:], frames)
    fed = fed[np.searchsorted(at, common)].reshape(-1, len(SITES), 12)
    wanted = wanted[common - frames[0]].reshape(-1, len(SITES), 12)
    assert len(common) > 1500
    assert np.abs(fed[:, :, 3:] - wanted[:, :, 3:]).max() < 2e-3
    for site in range(len(SITES)):
        a = fed[:, site, :3]
        b = wanted[:, site, :3]
        assert np.sqrt(np.mean((a - b) ** 2)) < 0.035 * np.sqrt(np.mean(b**2))
        likeness = [
            np.corrcoef(a[8 + shift : len(a) - 8 + shift].ravel(), b[8:-8].ravel())[0, 1]
            for shift in range(-4, 5)
        ]
        assert int(np.argmax(likeness)) == 4  # no frame of lag between the two
        assert likeness[4] > 0.999


def test_inputs_agree_on_captured_movement(shared_data: Path) -> None:
    """In the band of body movement (below 6 Hz) gain and phase are equal; above, the live path
    contains capture noise, which the training input does not.
    """
    motion = library_motion(shared_data)
    at, fed = live(motion, 100.0)
    frames, wanted = trained(motion)
    common = np.intersect1d(at[10:], frames)
    a = np.fft.rfft(fed[np.searchsorted(at, common)].reshape(-1, len(SITES), 12)[:, :, :3], axis=0)
    b = np.fft.rfft(wanted[common - frames[0]].reshape(-1, len(SITES), 12)[:, :, :3], axis=0)
    frequency = np.fft.rfftfreq(len(common), 1 / motion.fps)
    band = (frequency > 0.3) & (frequency < 6.0)
    transfer = (a[band] * b[band].conj()).sum() / (np.abs(b[band]) ** 2).sum()
    assert abs(transfer) == pytest.approx(1.0, abs=0.15)
    assert abs(np.degrees(np.angle(transfer))) < 5.0
