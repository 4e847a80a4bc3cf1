"""The formats that are fuzzed: valid files, how one is changed, and what is read of it.

A format of another module is added to `FORMATS`. ``read`` does what the commands do with such a file, up to where the file no
longer matters; whatever it raises but `PallasError` is a fault. Used by `fuzz.py` and by `test/files/test_fuzz.py`.
"""

import contextlib
import functools
import io
import random
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fuzz_mutations as change
import numpy as np

from pallas_ros.core.errors import PallasError


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
    from pallas_ros.commands.process import open_source, process
    from pallas_ros.imu.playback import source
    from pallas_ros.pipeline import pipeline

    original = pipeline.open_stream
    pipeline.open_stream = lambda path, **_: _stream(path)  # type: ignore[assignment]
    try:
        for _ in process(open_source(path), pipeline.PipelineSettings()):
            pass
    finally:
        pipeline.open_stream = original
    source(str(path), 1.0, 1.7)


# -- robots ----------------------------------------------------------------------------------------


def stl() -> bytes:
    """A binary STL of one tetrahedron."""
    corners = np.array([[0, 0, 0], [0.1, 0, 0], [0, 0.1, 0], [0, 0, 0.1]], "<f4")
    out = bytearray(b"a part".ljust(80) + (4).to_bytes(4, "little"))
    for face in ((0, 2, 1), (0, 1, 3), (0, 3, 2), (1, 2, 3)):
        out += np.zeros(3, "<f4").tobytes() + corners[list(face)].tobytes() + b"\0\0"
    return bytes(out)


STL_TEXT = (
    b"solid part\n"
    + b"".join(
        b" facet normal 0 0 1\n  outer loop\n%b  endloop\n endfacet\n"
        % b"".join(b"   vertex %d %d %d\n" % corner for corner in face)
        for face in (
            ((0, 0, 0), (0, 1, 0), (1, 0, 0)),
            ((0, 0, 0), (1, 0, 0), (0, 0, 1)),
            ((0, 0, 0), (0, 0, 1), (0, 1, 0)),
            ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
        )
    )
    + b"endsolid part\n"
)
OBJ = b"""# a part
mtllib part.mtl
v 0 0 0
v 0.1 0 0
v 0 0.1 0
v 0 0 0.1
vn 0 0 1
f 1//1 3//1 2//1
f 1 2 4
f 1 4 3
f 2 3 4
"""
COLLADA = b"""<?xml version="1.0" encoding="utf-8"?>
<COLLADA xmlns="http://www.collada.org/2005/11/COLLADASchema" version="1.4.1">
<asset><unit name="meter" meter="1"/><up_axis>Z_UP</up_axis></asset>
<library_geometries><geometry id="g" name="g"><mesh>
<source id="s"><float_array id="a" count="12">0 0 0 0.1 0 0 0 0.1 0 0 0 0.1</float_array>
<technique_common><accessor source="#a" count="4" stride="3"><param name="X" type="float"/><param name="Y" type="float"/><param name="Z" type="float"/></accessor></technique_common></source>
<vertices id="v"><input semantic="POSITION" source="#s"/></vertices>
<triangles count="4"><input semantic="VERTEX" source="#v" offset="0"/><p>0 2 1 0 1 3 0 3 2 1 2 3</p></triangles>
</mesh></geometry></library_geometries>
<library_nodes><node id="part"><instance_geometry url="#g"/></node></library_nodes>
<library_visual_scenes><visual_scene id="scene"><node id="n"><matrix>1 0 0 0 0 1 0 0 0 0 1 0 0 0 0 1</matrix><instance_node url="#part"/>
<node id="m"><translate>0 0 1</translate><rotate>0 0 1 90</rotate><instance_geometry url="#g"/></node></node></visual_scene></library_visual_scenes>
<scene><instance_visual_scene url="#scene"/></scene></COLLADA>
"""


def arm(joints: int = 3, shape: str = '<box size="0.05 0.05 0.1"/>') -> bytes:
    """The URDF of an arm."""
    solid = f"<geometry>{shape}</geometry>"
    link = (
        '<link name="link_{0}"><inertial><mass value="1"/><inertia ixx="0.1" ixy="0" ixz="0" iyy="0.1" iyz="0" izz="0.1"/></inertial>'
        f"<visual>{solid}</visual><collision><origin xyz='0 0 0.05' rpy='0 0 0'/>{solid}</collision></link>"
    )
    joint = (
        '<joint name="joint_{0}" type="{1}"><parent link="link_{0}"/><child link="link_{2}"/><origin xyz="0 0 0.2" rpy="0 0 0"/>'
        '<axis xyz="{3}"/><limit lower="-2" upper="2" velocity="2" effort="20"/></joint>'
    )
    text = '<robot name="arm">' + "".join(link.format(n) for n in range(joints + 2))
    for n in range(joints + 1):
        kind = ("revolute", "continuous", "revolute")[n % 3] if n < joints else "fixed"
        text += joint.format(n, kind, n + 1, ("0 0 1", "0 1 0")[n % 2])
    return f"{text}</robot>".encode()


def read_urdf(path: Path) -> None:
    """Loaded as an arm to drive, and as one to draw."""
    from hpstm_ros.retarget.robots import load_robot
    from hpstm_ros.retarget.urdf import published
    from pallas_ros.view.robot import RobotShape

    robot = load_robot(path)
    published(robot.path, robot.text)
    RobotShape.load(path)


def read_mesh(path: Path) -> None:
    """Loaded as a part of an arm."""
    urdf = path.with_suffix(".urdf")
    if not urdf.exists():
        urdf.write_bytes(arm(2, f'<mesh filename="{path.name}" scale="1 1 1"/>'))
    read_urdf(urdf)


def robot_yaml() -> bytes:
    """The configuration of a robot."""
    from pallas_ros.body.resources import resource

    text = f"""urdf: {resource("urdf/uarm_swift_pro.urdf").resolve()}
description: an arm
arms:
  - name: arm
    side: right
    tip: tip_link
    shoulder: [0.0, 0.0, 0.1]
    operator_rpy: [0, 0, 0]
    hand_rpy: [0, 90, 0]
    reach: 0.3
    reach_min: 0.1
    weights: {{position: 1.0, orientation: 0.02}}
ready: {{}}
limits: {{margin: 0.01, velocity: 1.0, acceleration: 5.0, jerk: [100.0, 100.0, 100.0, 100.0]}}
workspace:
  min: [-0.4, -0.4, 0.0]
  max: [0.4, 0.4, 0.5]
  keep_out:
    - {{centre: [0.0, 0.0, -0.2], size: [1.0, 1.0, 0.1]}}
tip_speed: 0.2
"""
    return text.encode()


def read_robot(path: Path) -> None:
    """Loaded as `--robot FILE`."""
    from hpstm_ros.retarget.robots import load_robot

    load_robot(path)


# -- bags ------------------------------------------------------------------------------------------


@functools.cache
def bags(storage: str) -> tuple[bytes, ...]:
    """Small bags: every compression, closed and cut short."""
    from pallas_ros.bags import Bag, BagWriter

    found = []
    with tempfile.TemporaryDirectory() as folder:
        for compression in ("none", "lz4", "zstd") if storage == "mcap" else ("none",):
            path = Path(folder) / compression
            with BagWriter(path, storage=storage, compression=compression) as writer:  # type: ignore[arg-type]
                writer.add_topic("/a", "std_msgs/msg/String")
                writer.add_topic("/b", "std_msgs/msg/String")
                for number in range(40):
                    text = b"\0\1\0\0\5\0\0\0abcd\0"
                    writer.write(("/a", "/b")[number % 2], 10**9 + number, text)
                    if number % 10 == 9:
                        writer.flush()
            data = Bag(path).files[0].read_bytes()
            found += [data, data[: len(data) * 2 // 3]] if storage == "mcap" else [data]
    return tuple(found)


def read_bag(path: Path) -> None:
    """Opened, read, decoded, read in part, and checked."""
    from pallas_ros.bags import Bag

    bag = Bag(path)
    for message in bag.messages():
        with contextlib.suppress(PallasError):
            bag.decode(message)
    for _ in bag.messages(start=bag.first + 10, stop=bag.last):
        pass
    bag.check()


FORMATS: dict[str, Format] = {
    form.name: form
    for form in (
        Format("motion", ".npz", motions, change.npz_of, read_motion),
        Format("recording", ".npz", recordings, change.npz_of, read_recording),
        Format("urdf", ".urdf", lambda: [arm(), arm(6)], change.xml_of, read_urdf),
        Format("stl", ".stl", lambda: [stl(), STL_TEXT], change.bytes_of, read_mesh),
        Format("obj", ".obj", lambda: [OBJ], change.text_of, read_mesh),
        Format("dae", ".dae", lambda: [COLLADA], change.xml_of, read_mesh),
        Format("mcap", ".mcap", lambda: list(bags("mcap")), change.bytes_of, read_bag),
        Format("db3", ".db3", lambda: list(bags("sqlite3")), change.bytes_of, read_bag),
        Format("robot", ".yaml", lambda: [robot_yaml()], change.yaml_of, read_robot),
    )
}
