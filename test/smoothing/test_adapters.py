"""Pose formats: every file is valid, bodies are placed correctly, and input that is not a person is
rejected with a sentence.
"""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from hpstm_ros.smoothing.adapters import (
    AXES,
    PoseAdapter,
    formats,
    load_format,
    split_markers,
)
from hpstm_ros.smoothing.transforms import Placement, TransformTree
from pallas_ros.body.errors import PallasError
from pallas_ros.body.names import JOINT_INDEX, JOINTS, MIRROR
from pallas_ros.body.skeleton import Skeleton

F64 = NDArray[np.float64]
POINTS = {
    "coco_17": 17,
    "mediapipe_33": 33,
    "body_25": 25,
    "human36m_17": 17,
    "smpl_24": 24,
    "azure_kinect_32": 32,
    "zed_18": 18,
    "zed_34": 34,
    "zed_38": 38,
}
HERE = Placement(np.eye(3), np.zeros(3))
REST = Skeleton.from_height().rest_positions


def points_of(name: str) -> F64:
    """Return the points an estimator of this format reports for a person in the T-pose: points used
    for a joint are at the joint, others are missing.
    """
    form = load_format(name)
    out = np.full((len(form.points), 3), np.nan)
    for joint in np.argsort((form.weights > 0).sum(1))[::-1]:
        for point in np.flatnonzero(form.weights[joint]):
            out[point] = REST[joint]
    return out


def test_every_format_is_there() -> None:
    assert formats() == sorted(POINTS)


@pytest.mark.parametrize("name", POINTS)
def test_a_format_has_its_points_and_is_symmetric(name: str) -> None:
    form = load_format(name)
    assert len(form.points) == POINTS[name] and len(set(form.points)) == len(form.points)
    np.testing.assert_array_equal(
        (form.weights > 0).sum(1), (form.weights > 0).sum(1)[list(MIRROR)]
    )
    for joint in np.flatnonzero(form.weights.any(axis=1)):
        for point in np.flatnonzero(form.weights[joint]):
            side = JOINTS[joint].split("_")[0]
            assert side not in ("left", "right") or side in form.points[point]


@pytest.mark.parametrize("name", POINTS)
def test_a_person_comes_out_where_they_stand(name: str) -> None:
    form = load_format(name)
    sent = points_of(name) @ AXES[form.axes]  # rows: the inverse rotation
    body = PoseAdapter(form).body(
        sent, Placement.from_xyz_rpy([1.0, 2.0, 0.0, 0.0, 0.0, np.pi / 2]), 7, "anna"
    )
    wrist = JOINT_INDEX["left_wrist"]
    assert body.valid[wrist] and body.stamp == 7 and body.body_id == "anna"
    x, y, z = REST[wrist]
    np.testing.assert_allclose(body.positions[wrist], [1.0 - y, 2.0 + x, z], atol=1e-9)
    assert not body.valid[~form.weights.any(axis=1)].any()


@pytest.mark.parametrize(
    ("factor", "shift", "word"),
    [
        (1000.0, 0.0, "units"),
        (2.5, 0.0, "tall"),
        (1.0, -3.0, "below the floor"),
        (1.0, 2.7, "above the floor"),
    ],
)
def test_bodies_that_are_not_people_on_the_floor_are_rejected(
    factor: float, shift: float, word: str
) -> None:
    with pytest.raises(PallasError, match=word):
        PoseAdapter(load_format("coco_17")).body(
            factor * points_of("coco_17") + np.array([0, 0, shift]), HERE, 0, "a"
        )


def test_millimetres_are_used_if_given() -> None:
    body = PoseAdapter(load_format("coco_17"), units="mm").body(
        1000 * points_of("coco_17"), HERE, 0, "a"
    )
    np.testing.assert_allclose(
        body.positions[JOINT_INDEX["left_knee"]], REST[JOINT_INDEX["left_knee"]]
    )


def test_a_body_upside_down_is_refused() -> None:
    with pytest.raises(PallasError, match="axes"):
        PoseAdapter(load_format("smpl_24")).body(
            points_of("smpl_24") * np.array([1, -1, -1]) + np.array([0, 0, 1.8]), HERE, 0, "a"
        )


LYING = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])
"""Points whose up is y, read as if it were z."""


def test_a_body_lying_from_the_start_is_rejected_unless_axes_are_set() -> None:
    """Regression: with unset optical axes, the body floated in a lying posture without any
    message.
    """
    standing = points_of("coco_17")
    lying = standing @ LYING + np.array([0.0, 0.0, 0.3])
    adapter = PoseAdapter(load_format("coco_17"))
    adapter.body(lying, HERE, 0, "a")  # who bends at the start is believed for a moment
    with pytest.raises(PallasError, match=r"90 degrees from upright.*'axes'"):
        adapter.body(lying, HERE, 3 * 10**9, "a")
    adapter.body(standing, HERE, 4 * 10**9, "a")
    for second in range(5, 60):
        adapter.body(lying, HERE, second * 10**9, "a")  # lies down later
    adapter = PoseAdapter(load_format("coco_17"), axes="as_is")
    for second in range(60):
        adapter.body(lying, HERE, second * 10**9, "a")


def test_wrong_number_of_points_and_zeros() -> None:
    adapter = PoseAdapter(load_format("coco_17"))
    with pytest.raises(PallasError, match="17"):
        adapter.body(np.ones((33, 3)), HERE, 0, "a")
    with pytest.raises(PallasError, match="no joint"):
        adapter.body(np.zeros((17, 3)), HERE, 0, "a")
    points = points_of("coco_17")
    points[9] = 0.0
    assert not adapter.body(points, HERE, 0, "a").valid[JOINT_INDEX["left_wrist"]]


def test_markers_are_split_by_body() -> None:
    form = load_format("azure_kinect_32")
    out = split_markers([("", 100, (1.0, 0.0, 0.0)), ("", 203, (2.0, 0.0, 0.0))], form, "operator")
    assert sorted(out) == ["1", "2"] and out["1"][0, 0] == 1.0 and out["2"][3, 0] == 2.0
    with pytest.raises(PallasError, match="format"):
        split_markers([("", 99, (0.0, 0.0, 0.0))], form, "operator")


def test_transforms_are_followed_through_a_common_ancestor() -> None:
    tree = TransformTree()
    tree.set("camera", "mount", Placement.from_xyz_rpy([0.0, 0.0, 1.0, 0.0, 0.0, 0.0]))
    tree.set("mount", "map", Placement.from_xyz_rpy([2.0, 0.0, 0.0, 0.0, 0.0, np.pi / 2]))
    tree.set("odom", "map", Placement.from_xyz_rpy([0.0, 1.0, 0.0, 0.0, 0.0, 0.0]))
    place = tree.find("camera", "odom")
    np.testing.assert_allclose(
        place.R_world_source @ [1.0, 0.0, 0.0] + place.p_world_source, [2.0, 0.0, 1.0], atol=1e-12
    )
    with pytest.raises(PallasError, match="no transform"):
        tree.find("elsewhere", "odom")


@pytest.mark.parametrize(
    "text",
    [
        "- 1",
        "points: [a]",
        "points: [a]\njoints: {pelvis: b}",
        "points: [a]\njoints: {tail: a}",
        "points: [a]\njoints: {pelvis: {a: 0.5}}",
    ],
)
def test_files_that_are_no_format_are_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(PallasError, match=r"mine\.yaml"):
        load_format(str(path))
