"""Motion files of other tools and logger folders, as formats of `fuzz_formats`."""

import functools
import io
import random
import re
import tempfile
from pathlib import Path
from typing import Any

import fuzz_mutations as change
import numpy as np

_TRC_KEYS = (
    *("DataRate", "CameraRate", "NumFrames", "NumMarkers", "Units"),
    *("OrigDataRate", "OrigDataStartFrame", "OrigNumFrames"),
)


@functools.cache
def bvhs() -> list[bytes]:
    """Return a short BVH exported by this package, and one in another tool's conventions."""
    from pallas_ros.imu.motions import demo_motion
    from pallas_ros.view.export import write_bvh

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.bvh"
        write_bvh(path, demo_motion(0.1))
        own = path.read_bytes()
    foreign = own
    for side in ("Left", "Right"):
        low = side.lower()
        for joint, name in (("hip", "UpLeg"), ("knee", "Leg"), ("ankle", "Foot"), ("foot", "Toe")):
            foreign = re.sub(rf"\b{low}_{joint}\b".encode(), f"{side}{name}".encode(), foreign)
    return [own, foreign]


def change_bvh(data: bytes, draw: random.Random) -> bytes:
    """Mutate words and numbers of the header, less often the table, or bytes anywhere."""
    head, mark, table = data.partition(b"MOTION")
    if not mark or draw.random() < 0.3:
        return change.text_of(data, draw)
    if draw.random() < 0.5:
        head = change.text_of(head, draw)
    else:
        table = change.text_of(table, draw)
    return head + mark + table


def smpls() -> list[bytes]:
    """Return a second of an AMASS file."""
    out = io.BytesIO()
    np.savez(
        out,
        poses=np.zeros((8, 156)),
        trans=np.zeros((8, 3)),
        betas=np.zeros(16),
        gender=np.array("neutral"),
        mocap_framerate=np.float64(60.0),
    )
    return [out.getvalue()]


def trcs() -> list[bytes]:
    """Return a TRC file of the body's joints."""
    from pallas_ros.body.names import JOINTS
    from pallas_ros.imu.motions import demo_motion

    motion = demo_motion(0.1)
    count = len(motion)
    lines = [
        "PathFileType\t4\t(X/Y/Z)\tm.trc",
        "\t".join(_TRC_KEYS),
        f"60\t60\t{count}\t22\tm\t60\t1\t{count}",
        "Frame#\tTime\t" + "\t\t\t".join(JOINTS),
        "\t\t" + "\t".join(f"X{n}\tY{n}\tZ{n}" for n in range(1, 23)),
    ]
    for number, frame in enumerate(motion.positions, 1):
        y_up = frame[:, [1, 2, 0]].reshape(-1)
        lines.append(f"{number}\t{number / 60:.4f}\t" + "\t".join(f"{v:.5f}" for v in y_up))
    return ["\n".join(lines).encode()]


def read_foreign(path: Path, whole: bool) -> None:
    """Read, interpolate and smooth it like the commands that take a motion file."""
    from hpstm_ros.smoothing.offline import smooth_motion
    from hpstm_ros.smoothing.smoother import Smoother, SmootherSettings
    from pallas_ros.body.motion import Motion
    from pallas_ros.motion_files.reading import read_for_streaming

    motion = read_for_streaming(path).motion
    if not whole:
        return
    few = slice(0, 200)  # a line repeated 3000 times is read quickly, but smoothing takes seconds
    motion = Motion(motion.fps, motion.positions[few], motion.rotations[few])
    smooth_motion(motion, Smoother(SmootherSettings(method="kalman")))


@functools.cache
def logs() -> list[bytes]:
    """Return CSV files of a still sensor: with orientation and SI units, and without."""
    times = np.arange(120) / 100
    own = ["time (s),qw,qx,qy,qz,ax (m/s^2),ay (m/s^2),az (m/s^2)"]
    rate = ",".join(f"Gyroscope {axis} (deg/s)" for axis in "XYZ")
    force = ",".join(f"Accelerometer {axis} (g)" for axis in "XYZ")
    raw = [f"Time (us),{rate},{force}"]
    for t in times:
        own.append(f"{t:.3f},1,0,0,0,0,0,9.81")
        raw.append(f"{round(1e6 * t)},0.1,0,0,0,0,1.0")
    return ["\n".join(lines).encode() for lines in (own, raw)]


def read_log(path: Path, _: bool) -> Any:
    """Read it as one file of a folder whose other three are valid."""
    from pallas_ros.body.names import SITES
    from pallas_ros.imu.logger_folder import read_logger_folder

    folder = path.parent / "session"
    if not folder.exists():
        folder.mkdir()
        for site in SITES[1:]:
            (folder / f"{site}.csv").write_bytes(logs()[0])
    (folder / f"{SITES[0]}.csv").write_bytes(path.read_bytes())
    return read_logger_folder(folder)
