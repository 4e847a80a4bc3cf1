"""The fuzzed formats: valid files, their mutations, and how they are read.

Modules add a format to `FORMATS`. ``read`` processes a file like the commands, up to the point
where the file has no more influence; any exception other than `PallasError` is a fault. Without
``whole`` it omits work that takes far longer than reading and depends on few values of the file:
smoothing, the pipeline, the search for a robot's ready posture. Used by `fuzz.py`, which does the
whole work for some of the inputs, and by `test/files/test_fuzz.py`.
"""

import contextlib
import functools
import io
import json
import random
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fuzz_motion
import fuzz_mutations as change
import fuzz_xacro
import numpy as np

from pallas_ros.core.errors import PallasError


@dataclass(frozen=True)
class Format:
    """A format.

    Attributes:
        name: of the format.
        suffix: of its files.
        seeds: a few small valid files, the same in each call.
        mutate: function of a valid file and a random source that returns a mutated file.
        reader: reads a file as the commands do, completely or in part.
    """

    name: str
    suffix: str
    seeds: Callable[[], list[bytes]]
    mutate: Callable[[bytes, random.Random], bytes]
    reader: Callable[[Path, bool], Any]

    def read(self, path: Path, whole: bool = True) -> None:
        """Read a file; with ``whole``, include work that takes long."""
        self.reader(path, whole)


def _npz(**arrays: Any) -> bytes:
    out = io.BytesIO()
    np.savez_compressed(out, **arrays)
    return out.getvalue()


# -- motion files ----------------------------------------------------------------------------------


@functools.cache
def motions() -> list[bytes]:
    """Return short motion files, with and without optional arrays."""
    from pallas_ros.body.names import JOINTS
    from pallas_ros.imu.motions import demo_motion

    motion = demo_motion(0.1)
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


def read_motion(path: Path, whole: bool) -> None:
    """Load and smooth it."""
    from hpstm_ros.smoothing.offline import smooth_motion
    from hpstm_ros.smoothing.smoother import Smoother, SmootherSettings
    from pallas_ros.body.motion import load_motion

    motion = load_motion(path)
    if whole:
        smooth_motion(motion, Smoother(SmootherSettings(method="kalman")))


# -- IMU recordings --------------------------------------------------------------------------------


@functools.cache
def recordings() -> list[bytes]:
    """Return short recordings, calibrated and raw."""
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
        _npz(
            **common, linear_acceleration=still, angular_velocity=rate, calibrated=np.bool_(False)
        ),
    ]


@functools.cache
def _stream(path: Path) -> Any:
    from pallas_ros.runtime import open_stream

    return open_stream(path, "onnxruntime")


def read_recording(path: Path, whole: bool) -> None:
    """Process it into bodies, and play it in the simulator."""
    from pallas_ros.imu.playback import source
    from pallas_ros.pipeline import settings
    from pallas_ros.pipeline.recorded import open_source, process

    source(str(path), 1.0, 1.7)
    if not whole:
        open_source(path)
        return
    original = settings.open_stream
    settings.open_stream = lambda path, **_: _stream(path)  # type: ignore[assignment]
    try:
        for _ in process(open_source(path), settings.PipelineSettings()):
            pass
    finally:
        settings.open_stream = original


# -- robots ----------------------------------------------------------------------------------------


def stl() -> bytes:
    """Return a binary STL of one tetrahedron."""
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
"""  # noqa: E501


def arm(joints: int = 3, shape: str = '<box size="0.05 0.05 0.1"/>') -> bytes:
    """Return the URDF of an arm."""
    solid = f"<geometry>{shape}</geometry>"
    link = (
        '<link name="link_{0}"><inertial><mass value="1"/><inertia ixx="0.1" ixy="0" ixz="0"'
        ' iyy="0.1" iyz="0" izz="0.1"/></inertial>'
        f"<visual>{solid}</visual><collision><origin xyz='0 0 0.05' rpy='0 0"
        f" 0'/>{solid}</collision></link>"
    )
    joint = (
        '<joint name="joint_{0}" type="{1}"><parent link="link_{0}"/><child'
        ' link="link_{2}"/><origin xyz="0 0 0.2" rpy="0 0 0"/><axis xyz="{3}"/><limit lower="-2"'
        ' upper="2" velocity="2" effort="20"/></joint>'
    )
    text = '<robot name="arm">' + "".join(link.format(n) for n in range(joints + 2))
    for n in range(joints + 1):
        kind = ("revolute", "continuous", "revolute")[n % 3] if n < joints else "fixed"
        text += joint.format(n, kind, n + 1, ("0 0 1", "0 1 0")[n % 2])
    return f"{text}</robot>".encode()


@contextlib.contextmanager
def _without_search() -> Iterator[None]:
    """Skip the search for a robot's reach and ready posture: use 0.5 m and the middle."""
    from hpstm_ros.retarget import automatic, drafts

    reach = drafts._reach
    posture = automatic.ready_posture
    drafts._reach = lambda *_: 0.5
    automatic.ready_posture = lambda model, geometry, low, high, *_: ((low + high) / 2, [])
    try:
        yield
    finally:
        drafts._reach = reach
        automatic.ready_posture = posture


def _load_robot(path: Path, whole: bool) -> Any:
    from hpstm_ros.retarget.robots import load_robot

    with contextlib.nullcontext() if whole else _without_search():
        return load_robot(path)


def read_urdf(path: Path, whole: bool) -> None:
    """Load it as an arm to drive, and as one to draw."""
    from hpstm_ros.retarget.urdf import published
    from pallas_ros.view.robot import RobotShape

    robot = _load_robot(path, whole)
    published(robot.path, robot.text)
    RobotShape.load(path)


def read_mesh(path: Path, whole: bool) -> None:
    """Load it as a part of an arm."""
    urdf = path.with_suffix(".urdf")
    if not urdf.exists():
        urdf.write_bytes(arm(1, f'<mesh filename="{path.name}" scale="1 1 1"/>'))
    read_urdf(urdf, whole)


def robot_yaml() -> bytes:
    """Return the configuration of a robot."""
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


def read_robot(path: Path, whole: bool) -> None:
    """Load it as `--robot FILE`."""
    _load_robot(path, whole)


# -- bags ------------------------------------------------------------------------------------------


@functools.cache
def bags(storage: str) -> tuple[bytes, ...]:
    """Return small bags: every compression, closed and truncated."""
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


def read_bag(path: Path, _: bool) -> None:
    """Open, read, decode, read in part, and check it."""
    from pallas_ros.bags import Bag

    bag = Bag(path)
    for message in bag.messages():
        with contextlib.suppress(PallasError):
            bag.decode(message)
    for _ in bag.messages(start=bag.first + 10, stop=bag.last):
        pass
    bag.check()


# -- configuration and models ----------------------------------------------------------------------


def calibrations() -> list[bytes]:
    """Return the calibration of four sensors."""
    from pallas_ros.imu.calibration import Calibration

    return [Calibration.identity().to_yaml().encode()]


def read_calibration(path: Path, _: bool) -> None:
    """Load it and apply it to a sample."""
    from pallas_ros.imu.calibration import Calibration
    from pallas_ros.imu.sample import ImuSample

    calibration = Calibration.load(path)
    sample = ImuSample(1, np.array([0, 0, 0, 1.0]), np.array([0, 0, 9.81]), None)
    calibration.apply("pelvis", sample)
    calibration.to_yaml()


def config(name: str) -> bytes:
    """Return a configuration file of the package."""
    from pallas_ros.body.resources import resource

    return resource(f"config/{name}").read_bytes()


def read_adapter(path: Path, _: bool) -> None:
    """Load it, and adapt points with it."""
    from hpstm_ros.smoothing.adapters import load_format

    form = load_format(str(path))
    form.joints(np.zeros((len(form.points), 3)))


@functools.cache
def _graph() -> Any:
    """Return the graph's own description; the parameters of each node are read once."""
    from pallas_ros.graph import description

    description.describe = functools.cache(description.describe)
    return description.Graph.load()


def read_graph(path: Path, _: bool) -> None:
    """Load it as `pallas up --config FILE`, and apply its arguments."""
    from pallas_ros.graph.description import read_config

    arguments, files = read_config(path)
    _graph().resolve(arguments, files)


GRAPH = b"""arguments:
  robot: panda
  arm: simulator
  record: ""
  view: false
parameter_files: {}
"""


def read_training(path: Path, _: bool) -> None:
    """Load it as `pallas train pallas --config FILE`."""
    from pallas_ros.train.config import read_config

    read_config(path)


def read_hpstm_training(path: Path, _: bool) -> None:
    """Load it as `pallas train hpstm --config FILE`."""
    from hpstm_ros.train.train_command import training_settings

    training_settings(path)


@functools.cache
def weights() -> list[bytes]:
    """Return the weights of a small network."""
    from dataclasses import asdict

    from safetensors.torch import save

    from hpstm_ros.model.hpstm import Hpstm, HpstmConfig

    shape = HpstmConfig(width=8, heads=2, hidden=8, layers=1)
    tensors = {key: value.contiguous() for key, value in Hpstm(shape).state_dict().items()}
    metadata = {"config": json.dumps(asdict(shape)), "pallas": json.dumps({"kind": "hpstm"})}
    return [save(tensors, metadata)]


def change_weights(data: bytes, draw: random.Random) -> bytes:
    """Mutate the header's tree or text, usually with the correct length, or bytes."""
    if draw.random() < 0.2:
        return change.bytes_of(data, draw)
    size = int.from_bytes(data[:8], "little")
    header = data[8 : 8 + size]
    rest = data[8 + size :]
    if draw.random() < 0.3:
        header = change.text_of(header, draw)
    else:
        tree = json.loads(header)
        if draw.random() < 0.4:
            config = change.tree_of(json.loads(tree["__metadata__"]["config"]), draw)
            tree["__metadata__"]["config"] = json.dumps(config)
        else:
            tree = change.tree_of(tree, draw)
        header = json.dumps(tree).encode()
    length = len(header) if draw.random() < 0.9 else draw.choice((0, 1, 2**31, 2**63, 2**64 - 1))
    return length.to_bytes(8, "little") + header + rest


def read_weights(path: Path, _: bool) -> None:
    """Load it as `pallas export FILE`."""
    from hpstm_ros.train.export import load_model
    from pallas_ros.commands.export import kind_of

    kind_of(path)
    load_model(path)


@functools.cache
def models() -> list[bytes]:
    """Return a small streaming model."""
    import onnx
    from onnx import TensorProto, helper

    from pallas_ros.runtime.model_file import METADATA_KEY, UNSIGNED, sign

    def tensor(name: str) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 3])

    weight = helper.make_tensor("w", TensorProto.FLOAT, [3, 3], np.eye(3).ravel())
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("Add", ["h", "state_s"], ["y"]),
        helper.make_node("Tanh", ["y"], ["next_s"]),
    ]
    inputs = [tensor("x"), tensor("state_s")]
    outputs = [tensor("y"), tensor("next_s")]
    graph = helper.make_graph(nodes, "step", inputs, outputs, [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    document = {"kind": "pallas", "rate_hz": 60, "sha256": UNSIGNED}
    onnx.helper.set_model_props(model, {METADATA_KEY: json.dumps(document)})
    return [sign(model.SerializeToString())]


def change_model(data: bytes, draw: random.Random) -> bytes:
    """Mutate the graph and sign it again, like a malicious exporter, or mutate bytes."""
    if draw.random() < 0.3:
        return change.bytes_of(data, draw)
    import onnx

    from pallas_ros.runtime.model_file import METADATA_KEY, UNSIGNED, sign

    model = onnx.load_model_from_string(data)
    graph = model.graph
    for _ in range(draw.choice((1, 1, 2, 3))):
        kind = draw.randrange(8)
        if kind == 0:
            del draw.choice((graph.output, graph.input, graph.node, graph.initializer))[:1]
        elif kind == 1 and graph.node:
            draw.choice(graph.node).op_type = draw.choice(
                ("Loop", "If", "MatMul", "Reshape", "x", "Add", "Transpose")
            )
        elif kind == 2 and graph.node and (node := draw.choice(graph.node)).input:
            node.input[0] = draw.choice(("x", "w", "h", "y", "", "nothing"))
        elif kind == 3 and graph.initializer:
            graph.initializer[0].dims[:] = draw.choice(
                ([2**40], [3], [-1, 3], [0], [2**31, 2**31], [1] * 40)
            )
        elif kind == 4:
            value = draw.choice([*graph.input, *graph.output] or [onnx.ValueInfoProto()])
            if value.type.tensor_type.shape.dim:
                value.type.tensor_type.shape.dim[-1].dim_value = draw.choice((0, -1, 2**40, 4))
        elif kind == 5 and graph.initializer:
            graph.initializer[0].data_type = draw.randrange(20)
        elif kind == 6:
            model.ir_version = draw.choice((0, 1, 9, 99, 2**40))
        elif graph.input:
            draw.choice(graph.input).name = draw.choice(("x", "state_s", "state_", "", "x" * 1000))
    document: Any = {"kind": "pallas", "rate_hz": 60, "sha256": UNSIGNED}
    if draw.random() < 0.3:
        document = change.tree_of(document, draw)
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, {METADATA_KEY: json.dumps(document)})
    try:
        return sign(model.SerializeToString())
    except ValueError:
        return model.SerializeToString()


def read_model(path: Path, _: bool) -> None:
    """Open it as `--model FILE`, and run it for a frame."""
    from pallas_ros.runtime import open_stream

    stream = open_stream(path, "onnxruntime")
    stream.step({name: np.zeros(shape, np.float32) for name, shape in stream.inputs.items()})


FORMATS: dict[str, Format] = {
    form.name: form
    for form in (
        Format("motion", ".npz", motions, change.npz_of, read_motion),
        Format("recording", ".npz", recordings, change.npz_of, read_recording),
        Format("bvh", ".bvh", fuzz_motion.bvhs, fuzz_motion.change_bvh, fuzz_motion.read_foreign),
        Format("smpl", ".npz", fuzz_motion.smpls, change.npz_of, fuzz_motion.read_foreign),
        Format("trc", ".trc", fuzz_motion.trcs, change.text_of, fuzz_motion.read_foreign),
        Format("csv", ".csv", fuzz_motion.logs, change.text_of, fuzz_motion.read_log),
        Format(
            "urdf",
            ".urdf",
            lambda: [arm(1), arm(1), arm(2), arm(), arm(6)],
            change.xml_of,
            read_urdf,
        ),
        Format("xacro", ".xacro", lambda: [fuzz_xacro.XACRO], fuzz_xacro.changed, fuzz_xacro.read),
        Format("stl", ".stl", lambda: [stl(), STL_TEXT], change.bytes_of, read_mesh),
        Format("obj", ".obj", lambda: [OBJ], change.text_of, read_mesh),
        Format("dae", ".dae", lambda: [COLLADA], change.xml_of, read_mesh),
        Format("mcap", ".mcap", lambda: list(bags("mcap")), change.bytes_of, read_bag),
        Format("db3", ".db3", lambda: list(bags("sqlite3")), change.bytes_of, read_bag),
        Format("robot", ".yaml", lambda: [robot_yaml()], change.yaml_of, read_robot),
        Format("calibration", ".yaml", calibrations, change.yaml_of, read_calibration),
        Format(
            "adapter",
            ".yaml",
            lambda: [config("adapters/coco_17.yaml")],
            change.yaml_of,
            read_adapter,
        ),
        Format("graph", ".yaml", lambda: [GRAPH], change.yaml_of, read_graph),
        Format(
            "training",
            ".yaml",
            lambda: [config("training/pallas.yaml")],
            change.yaml_of,
            read_training,
        ),
        Format(
            "hpstm_training",
            ".yaml",
            lambda: [config("training/hpstm.yaml")],
            change.yaml_of,
            read_hpstm_training,
        ),
        Format("safetensors", ".safetensors", weights, change_weights, read_weights),
        Format("onnx", ".onnx", models, change_model, read_model),
    )
}
