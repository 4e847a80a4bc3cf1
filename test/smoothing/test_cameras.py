"""Behaviour of cameras: joints never in view, constantly changing ids, more people than the
limit.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hpstm_ros.smoothing.bodies import Bodies
from hpstm_ros.smoothing.smoother import Smoother, SmootherSettings
from hpstm_ros.smoothing.unknown import known_joints
from pallas_ros.body import kinematics, rotations
from pallas_ros.body.errors import PallasError
from pallas_ros.body.frames import BodyFrame
from pallas_ros.body.names import JOINT_INDEX, JOINTS
from pallas_ros.body.presence import MOST_BODIES
from pallas_ros.body.skeleton import Skeleton

LEGS = [j for j, n in enumerate(JOINTS) if n.endswith(("_knee", "_ankle", "_foot"))]
FRAME = 33_333_333
SECOND = 1_000_000_000


def person(stamp: int, name: str, at: tuple[float, float] = (0.0, 0.0)) -> BodyFrame:
    """A standing person with hanging arms who sways slightly."""
    skeleton = Skeleton.from_height()
    q = np.tile(rotations.IDENTITY, (len(JOINTS), 1))
    sway = 0.05 * np.sin(stamp * 3e-9)
    for side, sign in (("left", -1.0), ("right", 1.0)):
        for joint in ("shoulder", "elbow", "wrist"):
            turn = np.array([sign * (1.4 + sway), 0.0, 0.0])
            q[JOINT_INDEX[f"{side}_{joint}"]] = rotations.from_rotvec(turn)
    positions = kinematics.forward_kinematics(skeleton, q, np.array([*at, 0.95]))
    everything = np.ones(len(JOINTS), dtype=bool)
    return BodyFrame(
        stamp, q, np.asarray(positions), None, everything, np.ones(22), np.zeros(2), stamp, name
    )


def without(body: BodyFrame, joints: list[int]) -> BodyFrame:
    positions = body.positions.copy()
    valid = body.valid.copy()
    positions[joints] = np.nan
    valid[joints] = False
    return replace(body, positions=positions, valid=valid)


@pytest.mark.parametrize("method", ["kalman", "hpstm"])
def test_legs_that_were_never_in_view_are_unknown(method: str) -> None:
    smoother = Smoother(SmootherSettings(method=method))
    out = [
        smooth
        for k in range(90)
        for smooth in smoother.push(without(person(SECOND + k * FRAME // 2, "1"), LEGS))
    ]
    last = out[-1]
    assert not last.valid[LEGS].any()
    assert not last.confidence[LEGS].any()
    others = [j for j in range(len(JOINTS)) if j not in LEGS]
    assert last.valid[others].all()
    assert last.positions[LEGS, 2].max() < last.positions[JOINT_INDEX["left_hip"], 2]
    assert last.covariance is not None
    assert (last.covariance[LEGS, [0], [0]] >= 1.0).all()
    # once they have been seen they are known, and stay so
    for k in range(90, 120):
        out += smoother.push(person(SECOND + k * FRAME // 2, "1"))
    for k in range(120, 130):
        out += smoother.push(without(person(SECOND + k * FRAME // 2, "1"), LEGS))
    assert out[-1].valid.all()


def test_joints_between_or_near_visible_ones_are_known() -> None:
    seen = np.zeros(len(JOINTS), dtype=bool)
    coco = ("hip", "knee", "ankle", "shoulder", "elbow", "wrist")
    for side in ("left", "right"):
        seen[[JOINT_INDEX[f"{side}_{joint}"] for joint in coco]] = True
    seen[JOINT_INDEX["head"]] = True
    assert known_joints(seen).all()  # spine, neck, collars, feet
    seen[[JOINT_INDEX["left_elbow"], JOINT_INDEX["right_knee"]]] = False
    assert known_joints(seen).all()  # between shoulder and wrist, hip and ankle
    seen[JOINT_INDEX["left_wrist"]] = False
    assert [JOINTS[j] for j in np.flatnonzero(~known_joints(seen))] == ["left_elbow", "left_wrist"]


def settings() -> SmootherSettings:
    return SmootherSettings(method="kalman")


def run(bodies: Bodies, frames: Iterator[list[BodyFrame]]) -> list[BodyFrame]:
    out: list[BodyFrame] = []
    for frame in frames:
        for body in frame:
            out += bodies.push(body, body.stamp + 5_000_000)
        out += bodies.tick(frame[0].stamp + 6_000_000)
    return out


@pytest.mark.parametrize("every", [1, 2, 7])
def test_ids_that_change_all_the_time_do_not_lock_the_only_person_out(every: int) -> None:
    bodies = Bodies(settings())
    frames = ([person(SECOND + k * FRAME, f"{k // every}")] for k in range(90))
    out = run(bodies, frames)
    assert {body.body_id for body in out} == {"0"}
    assert len(out) > 2 * 88  # 60 Hz from 30 Hz: nothing began again
    assert not any("lost" in remark for body in out for remark in body.remarks)


def test_a_new_id_from_another_publisher_is_not_renamed_to_the_previous_one() -> None:
    bodies = Bodies(settings())
    names = ("one", "one_publisher2", "other_publisher2")
    frames = ([person(SECOND + k * FRAME, names[k // 30])] for k in range(90))
    out = [body for body in run(bodies, frames) if not body.remarks]
    assert {body.body_id for body in out} == {"one", "one_publisher2"}


def test_two_people_stay_separate_in_any_order() -> None:
    bodies = Bodies(settings())

    def frames() -> Iterator[list[BodyFrame]]:
        for k in range(60):
            stamp = SECOND + k * FRAME
            both = [person(stamp, "a"), person(stamp, "b", (0.1, 0.15))]
            if k < 10:
                yield both[:1]
            else:
                yield both[::-1] if k % 2 else both

    out = run(bodies, frames())
    late = [body for body in out if body.stamp > SECOND + 40 * FRAME]
    assert {body.body_id for body in late} == {"a", "b"}


def test_somebody_elsewhere_is_not_taken_for_the_one_who_left() -> None:
    bodies = Bodies(settings())

    def frames() -> Iterator[list[BodyFrame]]:
        for k in range(60):
            stamp = SECOND + k * FRAME
            yield [person(stamp, "a")] if k < 30 else [person(stamp, "b", (0.3, 1.2))]

    assert {body.body_id for body in run(bodies, frames())} == {"a", "b"}


def test_who_is_not_seen_any_more_makes_room_and_who_is_seen_does_not() -> None:
    bodies = Bodies(settings())
    places = [(2.0 * n, 0.0) for n in range(MOST_BODIES + 1)]
    for k in range(10):
        for n in range(MOST_BODIES):
            bodies.push(person(SECOND + k * FRAME, f"{n}", places[n]), SECOND + k * FRAME)
    now = SECOND + 10 * FRAME
    with pytest.raises(PallasError, match="body '9' is rejected"):
        bodies.push(person(now, "9", places[-1]), now)
    for k in range(10, 20):  # "0" is gone
        for n in range(1, MOST_BODIES):
            bodies.push(person(SECOND + k * FRAME, f"{n}", places[n]), SECOND + k * FRAME)
    now = SECOND + 20 * FRAME
    bodies.push(person(now, "9", places[-1]), now)
    assert "9" in bodies.figures()
    assert "0" not in bodies.figures()


@pytest.mark.parametrize("later_ms", [4, 10, 14, 25])
def test_a_second_source_at_the_same_place_does_not_take_the_operators_name(later_ms: int) -> None:
    """A bystander's frames come between the operator's, not in the same frame."""
    bodies = Bodies(settings())
    out = []
    for k in range(60):
        stamp = SECOND + k * FRAME
        for body, at in (
            (person(stamp, "operator"), stamp),
            (person(stamp + later_ms * 1_000_000, "bystander"), stamp + later_ms * 1_000_000),
        ):
            if body.body_id == "bystander":
                body.positions[18:] += 0.3
            out += bodies.push(body, at + 1_000_000)
    late = [body for body in out if body.stamp > SECOND + 20 * FRAME]
    assert {body.body_id for body in late} == {"operator", "bystander"}
    truth = person(SECOND, "operator").positions[18:]
    heights = [body.positions[18:] - truth for body in late if body.body_id == "operator"]
    assert len(heights) >= 35
    assert np.abs(np.array(heights)).max() < 0.15


def test_a_stamp_from_the_future_does_not_separate_a_renamed_person_for_good() -> None:
    bodies = Bodies(settings())
    out = run(bodies, ([person(SECOND + k * FRAME, "1")] for k in range(30)))
    frames = ([person(SECOND + k * FRAME, "2")] for k in range(30, 60))
    out = run(bodies, frames)
    assert {body.body_id for body in out} == {"1"}
    ahead = SECOND + 60 * FRAME
    bodies.push(replace(person(ahead + 3600 * SECOND, "2"), stamp=ahead + 3600 * SECOND), ahead)
    out = run(bodies, ([person(SECOND + k * FRAME, "2")] for k in range(61, 120)))
    assert {body.body_id for body in out} == {"1"}


def test_bone_lengths_that_cannot_be_saved_cost_no_body(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a file, not a folder")
    bodies = Bodies(settings(), tmp_path / "file" / "bones.npz")
    out = run(bodies, ([person(SECOND + k * FRAME, "1")] for k in range(300)))
    assert out[-1].stamp >= SECOND + 295 * FRAME
    assert "bones_file" in bodies.recent_remark(SECOND + 300 * FRAME)


def test_two_ids_in_one_frame_are_two_people_although_the_second_is_seen_rarely() -> None:
    bodies = Bodies(settings())
    out = run(bodies, ([person(SECOND + k * FRAME, "a")] for k in range(30)))

    def frames() -> Iterator[list[BodyFrame]]:
        for k in range(31, 120):
            stamp = SECOND + k * FRAME
            bystander = person(stamp, "b", (0.1, 0.15))
            yield [bystander, person(stamp, "a")] if k % 9 == 0 else [bystander]

    out = run(bodies, frames())
    bystander = person(SECOND, "b", (0.1, 0.15)).positions[0, 0]
    late = [body for body in out[-40:] if abs(body.positions[0, 0] - bystander) < 0.03]
    assert late
    assert {body.body_id for body in late} == {"b"}


def test_a_replay_that_starts_again_does_not_separate_a_renamed_person() -> None:
    bodies = Bodies(settings())
    once = [[person(SECOND + k * FRAME, "a" if k < 30 else "b")] for k in range(60)]
    run(bodies, iter(once))
    late = 60 * FRAME
    out = []
    for k, frame in enumerate(once * 2):
        out += bodies.push(frame[0], SECOND + late + k * FRAME)
    assert {body.body_id for body in out[-30:]} == {"a"}
