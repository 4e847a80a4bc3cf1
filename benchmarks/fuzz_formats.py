"""The formats that are fuzzed: valid files, how one is changed, and what is read of it.

A format of another module is added to `FORMATS`. ``read`` does what the commands do with such a file, up to where the file no
longer matters; whatever it raises but `PallasError` is a fault. Used by `fuzz.py` and by `test/files/test_fuzz.py`.
"""

import functools
import io
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fuzz_mutations as change
import numpy as np


@dataclass(frozen=True)
class Format:
    """A format.

    Attributes:
        name: of the format.
        suffix: of its files.
        seeds: a few small valid files, the same in each call.
        mutate: a valid file and where its randomness comes from, to a changed one.
        read: reads a file as the commands do.
    """

    name: str
    suffix: str
    seeds: Callable[[], list[bytes]]
    mutate: Callable[[bytes, random.Random], bytes]
    read: Callable[[Path], Any]


def _npz(**arrays: Any) -> bytes:
    out = io.BytesIO()
    np.savez_compressed(out, **arrays)
    return out.getvalue()


# -- motion files ----------------------------------------------------------------------------------


@functools.cache
def motions() -> list[bytes]:
    """Short motion files, with and without what is optional."""
    from pallas_ros.body.names import JOINTS
    from pallas_ros.imu.motions import demo_motion

    motion = demo_motion(0.4)
    plain = {
        "fps": np.float64(motion.fps),
        "joint_names": np.array(JOINTS),
        "positions": motion.positions.astype(np.float32),
        "rotations": motion.rotations.astype(np.float32),
    }
    frames = len(motion)
    more = {
        "valid": np.ones(frames, bool),
        "position_covariance": np.tile(np.eye(3, dtype=np.float32) * 1e-4, (frames, 22, 1, 1)),
        "contacts": np.ones((frames, 2), np.float32),
        "confidence": np.ones((frames, 22), np.float32),
        "stamp": np.arange(frames) / motion.fps,
    }
    return [_npz(**plain), _npz(**plain, **more)]


def read_motion(path: Path) -> None:
    """Loaded, smoothed, exported, and played by the simulator."""
    from hpstm_ros.smoothing.offline import smooth_motion
    from hpstm_ros.smoothing.smoother import Smoother, SmootherSettings
    from pallas_ros.body.motion import load_motion

    motion = load_motion(path)
    smooth_motion(motion, Smoother(SmootherSettings(method="kalman")))


# -- IMU recordings --------------------------------------------------------------------------------


@functools.cache
def recordings() -> list[bytes]:
    """Short recordings, calibrated and raw."""
    from pallas_ros.body.names import SITES

    frames = 60
    orientation = np.tile(np.array([0.0, 0.0, 0.0, 1.0]), (frames, 4, 1))
    common = {
        "sites": np.array(SITES),
        "stamp": 10.0 + np.arange(frames) / 60,
        "orientation": orientation,
    }
    still = np.tile(np.array([0.0, 0.0, 9.81]), (frames, 4, 1))
    rate = np.zeros((frames, 4, 3))
    return [
        _npz(**common, linear_acceleration=0 * still, calibrated=np.bool_(True)),
        _npz(**common, linear_acceleration=still, angular_velocity=rate, calibrated=np.bool_(False)),
    ]  # fmt: skip


@functools.cache
def _stream(path: Path) -> Any:
    from pallas_ros.runtime import open_stream

    return open_stream(path, "onnxruntime")


def read_recording(path: Path) -> None:
    """Processed into bodies, and played by the simulator."""
    from pallas_ros import pipeline
    from pallas_ros.commands.process import open_source, process
    from pallas_ros.imu.playback import source

    original = pipeline.open_stream
    pipeline.open_stream = lambda path, **_: _stream(path)  # type: ignore[assignment]
    try:
        for _ in process(open_source(path), pipeline.Settings()):
            pass
    finally:
        pipeline.open_stream = original
    source(str(path), 1.0, 1.7)


FORMATS: dict[str, Format] = {
    form.name: form
    for form in (
        Format("motion", ".npz", motions, change.npz_of, read_motion),
        Format("recording", ".npz", recordings, change.npz_of, read_recording),
    )
}
