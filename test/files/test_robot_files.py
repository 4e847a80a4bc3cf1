"""Robot descriptions and meshes beyond the limits are rejected before a robot library loads
them.
"""

import os
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from pallas_ros.core.errors import PallasError
from pallas_ros.files.mesh import check_mesh
from pallas_ros.files.urdf import parse_urdf

LINK = "<link name='{}'/>"
JOINT = (
    "<joint name='j{0}' type='revolute'><parent link='{1}'/><child link='{2}'/><origin xyz='0 0"
    " 0.1' rpy='0 0 0'/><axis xyz='0 0 1'/><limit lower='-1' upper='1' velocity='1'"
    " effort='1'/></joint>"
)


def chain(count: int) -> str:
    links = "".join(LINK.format(n) for n in range(count + 1))
    return (
        f"<robot name='r'>{links}{''.join(JOINT.format(n, n, n + 1) for n in range(count))}</robot>"
    )


def star(count: int) -> str:
    links = "".join(LINK.format(n) for n in range(count + 1))
    return (
        f"<robot name='r'>{links}{''.join(JOINT.format(n, 0, n + 1) for n in range(count))}</robot>"
    )


ARM = chain(3)
SHAPE = "<collision><geometry><sphere radius='0.1'/></geometry></collision>"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (chain(20_000), "a robot of 20001 links"),
        (star(3000), "a robot of 3001 links"),
        (star(300), "300 joints that move"),
        (chain(150), "a chain of more than 100 joints"),
        (ARM.replace(LINK.format(2), LINK.format(2) + LINK.format(2)), "two links are named '2'"),
        (ARM.replace("name='j1'", "name='j0'"), "two joints are named 'j0'"),
        (ARM.replace("child link='3'", "child link='1'"), "link '1' is the child of two joints"),
        (ARM.replace("child link='3'", "child link='9'"), "'9' as its child link"),
        (ARM.replace("<parent link='1'/>", ""), "'None' as its parent link"),
        (ARM.replace("parent link='0'", "parent link='3'"), "or a closed loop"),
        (
            ARM.replace("</robot>", "<link name='x'/></robot>"),
            "links do not form one tree: 2 links",
        ),
        (chain(1).replace("parent link='0'", "parent link='1'"), "closed"),
        (ARM.replace("0 0 0.1", "0 0 1e300"), "<origin> has xyz '0 0 1e300'"),
        (ARM.replace("0 0 0.1", "0 0 nan"), "<origin> has xyz '0 0 nan'"),
        (ARM.replace("0 0 0.1", "0 0"), "must have 3 numbers"),
        (ARM.replace("0 0 1'", "0 0 0'"), "not a direction"),
        (ARM.replace("upper='1'", "upper='inf'"), "<limit> has upper 'inf'"),
        (
            ARM.replace("<link name='1'/>", f"<link name='1'>{SHAPE * 400}</link>"),
            "400 collision shapes",
        ),
        (
            ARM.replace("<link name='1'/>", f"<link name='1'>{SHAPE.replace('0.1', '-1')}</link>"),
            "<sphere> has radius '-1'",
        ),
        ("<robot name='r'/>", "no links"),
        ("<robot>" + "<x/>" * 30_000 + "</robot>", "30001 elements"),
        ("<html/>", "outermost element is <html>"),
    ],
)
def test_implausible_robots_are_refused(text: str, says: str):
    begun = time.process_time()
    with pytest.raises(PallasError, match=says):
        parse_urdf(text.encode(), "my.urdf")
    assert time.process_time() - begun < 5


def test_a_plausible_robot_is_read():
    assert parse_urdf(chain(100).encode(), "my.urdf").tag == "robot"
    assert parse_urdf(star(200).encode(), "my.urdf").tag == "robot"


def stl(faces: np.ndarray) -> bytes:
    """Return a binary STL of (F, 3, 3) vertices."""
    rows = np.zeros((len(faces), 50), np.uint8)
    rows[:, 12:48] = faces.reshape(len(faces), 9).astype("<f4").view(np.uint8)
    return bytes(80) + len(faces).to_bytes(4, "little") + rows.tobytes()


FACES = np.random.default_rng(0).uniform(-1, 1, (4, 3, 3))
COLLADA = (
    "<COLLADA><library_geometries><geometry id='g'><mesh><source id='s'><float_array id='a'"
    " count='3'>0 1 2</float_array></source><triangles count='1'><p>0 1"
    " 2</p></triangles></mesh></geometry></library_geometries><library_nodes><node"
    " id='a'><instance_node url='#b'/></node><node id='b'><instance_geometry"
    " url='#g'/></node></library_nodes></COLLADA>"
)
SCENE = (
    "<library_visual_scenes><visual_scene id='s'><node><instance_node url='#a'/></node>"
    "<instance_node url='#b'/></visual_scene></library_visual_scenes>"
)
LAUGHS = "".join(
    f"<node id='n{i}'>{f'<instance_node url=%cn{i + 1}%c/>' % (39, 39) * 10}</node>"
    for i in range(20)
)


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("a.stl", stl(np.where(FACES > 0.9, np.nan, FACES)), "not finite"),
        ("a.stl", stl(FACES * 1e30), "not finite, or implausible"),
        ("a.stl", bytes(80) + b"\xff" * 4 + bytes(100), "states 4294967295 faces"),
        ("a.stl", stl(FACES)[:-1], "states 4 faces and has 283 bytes"),
        ("a.stl", b"", "states 0 faces and has 0 bytes"),
        ("a.stl", b"solid x\nvertex 0 0 nan\nvertex 0 0 0\nvertex 1 1 1\nendsolid", "not finite"),
        ("a.stl", b"solid x\nvertex 0 0 x\nvertex 0 0 0\nvertex 1 1 1\nendsolid", "not a number"),
        ("a.stl", b"solid x\nvertex 0 0", "without complete facets"),
        ("a.obj", b"v 0 0 inf\n", "not finite"),
        ("a.obj", b"v 0 0\n", "three coordinates"),
        ("a.obj", b"v 0 0 0\nf 1 2 999999\n", "a face with vertex 999999"),
        ("a.obj", b"v 0 0 0\nf 1 2 " + b"9" * 500, "a face with vertex"),
        ("a.obj", b"mtllib pipe\n", "a pipe or a device"),
        (
            "a.dae",
            COLLADA.replace("count='3'", "count='4000000000'").encode(),
            "states a count of 4000000000",
        ),
        ("a.dae", COLLADA.replace("0 1 2<", "0 1 nan<").encode(), "not finite"),
        (
            "a.dae",
            COLLADA.replace("triangles count='1'", "triangles count='99999999'").encode(),
            "99999999 faces",
        ),
        (
            "a.dae",
            COLLADA.replace("#g", "#a").replace("geometry url", "node url").encode(),
            "contains itself",
        ),
        (
            "a.dae",
            COLLADA.replace("<node id='a'>", LAUGHS + "<node id='a'>").encode(),
            "expand to more than|stands for",
        ),
        (  # an instance of an instance of it takes assimp and trimesh 20 s
            "a.dae",
            COLLADA.replace("<triangles", 1500 * "<triangles count='1'/>" + "<triangles")
            .replace("</COLLADA>", SCENE + "</COLLADA>")
            .encode(),
            "more than 2000 parts",
        ),
        ("a.dae", COLLADA.replace("<p>0 1 2", "<p>0 1 -2").encode(), "not a number"),
        ("a.dae", b"<html/>", "outermost element is <html>"),
        ("a.foo", COLLADA.encode(), "read from .stl, .obj and .dae"),
        ("a.off", b"OFF\n150000000 1 0\n", "read from .stl, .obj and .dae"),
        ("a.ply", b"ply\nformat ascii 1.0\n", "read from .stl, .obj and .dae"),
        ("a.zip", b"PK\3\4", "read from .stl, .obj and .dae"),
        ("a", b"v 0 0 0\n", "read from .stl, .obj and .dae"),
    ],
)
def test_bad_meshes_are_refused(name: str, data: bytes, says: str, tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / name).write_bytes(data)
    with pytest.raises(PallasError, match=says):
        check_mesh(tmp_path / name)


def test_text_meshes_take_little_memory(tmp_path: Path):
    """Lists of their words took 20 times their size."""
    words = f"<float_array id='b'>{'0 ' * 1_000_000}</float_array>"
    text = COLLADA.replace("<source", f"<source id='t'>{words}</source><source")
    (tmp_path / "a.dae").write_text(text)
    tracemalloc.start()
    try:
        check_mesh(tmp_path / "a.dae")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 15 * len(text) + (32 << 20)


@pytest.mark.parametrize("name", ["a.obj", "a.dae", "a.stl"])
def test_text_meshes_have_their_own_limit(name: str, tmp_path: Path):
    (tmp_path / name).write_bytes(b"solid x" + b" " * (33 << 20))
    with pytest.raises(PallasError, match=r"too large|more than 32 MB"):
        check_mesh(tmp_path / name)


def test_the_points_of_an_obj_are_counted_while_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("pallas_ros.files.mesh._MAX_POINTS", 1000)
    (tmp_path / "a.obj").write_bytes(b"v 0 0 0\n" * 1001 + b"v 0 0 nan\n")
    with pytest.raises(PallasError, match="more than 1000 points"):
        check_mesh(tmp_path / "a.obj")


def test_good_meshes_are_taken(tmp_path: Path):
    for name, data in (
        ("a.stl", stl(FACES)),
        ("b.stl", b"solid x\nvertex 0 0 0\nvertex 0 1 0\nvertex 1 1 1\nendsolid"),
        ("a.obj", b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1/1 2//2 -1\n"),
        ("a.dae", COLLADA.encode()),
    ):
        (tmp_path / name).write_bytes(data)
        check_mesh(tmp_path / name)


@pytest.mark.parametrize("points", ["flat", "line", "thin"])
def test_a_mesh_without_volume_gets_a_box_to_collide_with(points: str, tmp_path: Path):
    """Qhull cannot build its hull, and coal crashes."""
    pytest.importorskip("pinocchio")
    from hpstm_ros.retarget.robots import load_robot

    vertices = np.random.default_rng(0).uniform(0, 0.1, (300, 3))
    vertices *= {"flat": (0, 1, 1), "line": (0, 0, 1), "thin": (1e-6, 1, 1)}[points]
    lines = [f"v {x} {y} {z}" for x, y, z in vertices] + [
        f"f {n} {n + 1} {n + 2}" for n in range(1, 299)
    ]
    (tmp_path / "part.obj").write_text("\n".join(lines))
    shape = "<collision><geometry><mesh filename='part.obj'/></geometry></collision>"
    text = ARM.replace("<link name='1'/>", f"<link name='1'>{shape}</link>")
    (tmp_path / "arm.urdf").write_text(text)
    robot = load_robot(tmp_path / "arm.urdf")
    assert robot.geometry.geometryObjects[0].geometry.num_points == 8


def test_the_loader_counts_before_it_walks_along_the_chains(tmp_path: Path):
    pytest.importorskip("pinocchio")
    from hpstm_ros.retarget.robots import load_robot

    (tmp_path / "arm.urdf").write_text(chain(20_000))
    begun = time.process_time()
    with pytest.raises(PallasError, match="a robot of 20001 links"):
        load_robot(tmp_path / "arm.urdf")
    assert time.process_time() - begun < 10
