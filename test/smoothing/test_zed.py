"""ZED's own message: people, formats and confidences as reported by the camera."""

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from hpstm_ros.smoothing import zed
from hpstm_ros.smoothing.adapters import PoseAdapter, load_format
from hpstm_ros.smoothing.transforms import Placement
from pallas_ros.body.errors import PallasError
from pallas_ros.body.names import JOINT_INDEX
from pallas_ros.body.skeleton import Skeleton

REST = Skeleton.from_height().rest_positions
HERE = Placement(np.eye(3), np.zeros(3))
KINDS = {0: "zed_18", 1: "zed_34", 2: "zed_38"}


def someone(kind: int = 2, number: int = 7, shift: float = 0.0, **changes: Any) -> SimpleNamespace:
    """An object as zed_msgs/Object has it: 70 keypoints, those of the format first."""
    form = load_format(KINDS.get(kind, "zed_38"))
    points = np.full((len(form.points), 3), np.nan)
    for joint in np.argsort((form.weights > 0).sum(1))[::-1]:
        points[form.weights[joint] > 0] = REST[joint] + np.array([shift, 0.0, 0.0])
    keypoints = np.zeros((70, 3), np.float32)
    keypoints[: len(points)] = points
    confidence = np.zeros(70, np.float32)
    confidence[: len(points)] = 80.0
    fields = {
        "label": "Person",
        "label_id": number,
        "tracking_available": True,
        "tracking_state": 1,
        "skeleton_available": True,
        "body_format": kind,
        "skeleton_3d": SimpleNamespace(keypoints=[SimpleNamespace(kp=kp) for kp in keypoints]),
        "skeleton_keypoint_confidence": confidence,
    }
    return SimpleNamespace(**(fields | changes))


def message(*objects: SimpleNamespace) -> SimpleNamespace:
    return SimpleNamespace(objects=list(objects))


@pytest.mark.parametrize("kind", KINDS)
def test_every_body_format_becomes_the_body(kind: int) -> None:
    (person,) = zed.people(message(someone(kind)), "operator")
    assert (person.body_id, person.format) == ("7", KINDS[kind])
    form = load_format(person.format)
    body = PoseAdapter(form).body(person.points, HERE, 1, person.body_id, person.confidence)
    for joint in ("left_wrist", "right_knee", "left_shoulder", "right_hip"):
        np.testing.assert_allclose(
            body.positions[JOINT_INDEX[joint]], REST[JOINT_INDEX[joint]], atol=1e-6
        )
        assert body.confidence[JOINT_INDEX[joint]] == pytest.approx(0.8)


def test_left_is_left_in_every_format() -> None:
    for kind in KINDS:
        (person,) = zed.people(message(someone(kind)), "operator")
        names = load_format(person.format).points
        left, right = (person.points[names.index(f"{side}_wrist")] for side in ("left", "right"))
        assert left[1] > 0 > right[1]


def test_people_keep_their_ids_and_a_car_is_ignored() -> None:
    car = someone(number=3, skeleton_available=False, label="Vehicle")
    found = zed.people(message(someone(number=1), car, someone(0, 2, 2.0)), "operator")
    assert [person.body_id for person in found] == ["1", "2"]
    assert found[1].format == "zed_18"


@pytest.mark.parametrize(("state", "there"), [(0, False), (1, True), (2, False), (3, False)])
def test_whom_the_camera_only_predicts_is_left_out(state: int, there: bool) -> None:
    assert bool(zed.people(message(someone(tracking_state=state)), "operator")) is there


def test_without_tracking_the_person_has_the_given_id() -> None:
    untracked = someone(number=-1, tracking_available=False, tracking_state=0)
    (person,) = zed.people(message(untracked), "operator")
    assert person.body_id == "operator"


def test_confidences_that_are_no_numbers_are_none() -> None:
    unsure = np.full(70, np.nan, np.float32)
    (person,) = zed.people(message(someone(skeleton_keypoint_confidence=unsure)), "operator")
    assert not person.confidence.any()


def test_a_format_without_an_adapter_is_named() -> None:
    with pytest.raises(PallasError, match=r"body format 3.*BODY_38"):
        zed.people(message(someone(3)), "operator")


def test_a_missing_package_is_named_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("zed_msgs", "zed_interfaces"):
        monkeypatch.setitem(sys.modules, f"{name}.msg", None)
    with pytest.raises(PallasError, match=r"zed_msgs is not installed.*zed-ros2-interfaces"):
        zed.message_type()
    older = ModuleType("zed_interfaces.msg")
    older.ObjectsStamped = SimpleNamespace  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "zed_interfaces", ModuleType("zed_interfaces"))
    monkeypatch.setitem(sys.modules, "zed_interfaces.msg", older)
    assert zed.message_type() is SimpleNamespace
