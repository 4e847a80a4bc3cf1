"""The viewer with several people in view, and with older status messages without an operator."""

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from pallas_ros.bags import BagWriter
from pallas_ros.view.figure import Figure, Person
from pallas_ros.view.measure import measure
from pallas_ros.view.moments import BagFile, moment, operators_record, unknown_joints
from pallas_ros.view.report import write_report

sys.path.insert(0, str(Path(__file__).parent))

from test_human import body


def record(name: str, number: int) -> SimpleNamespace:
    return SimpleNamespace(body_id=name, number=number)


def test_the_operators_newest_body_is_shown() -> None:
    status = SimpleNamespace(operator_id="anna")
    newest_first = [record("ben", 4), record("anna", 3), record("ben", 2), record("anna", 1)]
    assert operators_record(iter(newest_first), status).number == 3
    assert operators_record(iter(newest_first), None).number == 4
    assert operators_record(iter([record("ben", 1)]), status).number == 1
    assert operators_record(iter(newest_first), None, "anna").number == 3
    ben = SimpleNamespace(operator_id="ben")
    assert operators_record(iter(newest_first), ben, "anna").number == 4
    assert operators_record(iter(newest_first), None, "carl").number == 4


def test_words_say_who_is_followed_and_who_else_is_there() -> None:
    old = SimpleNamespace(state_name="tracking", speed_scale=1.0, reason="well", limited_by=[])
    assert moment(0.0, 0, None, None, status=old).words == "well\nlimited by nothing"
    new = SimpleNamespace(**vars(old), operator_id="anna", people=["anna", "ben"])
    words = moment(0.0, 0, None, None, status=new).words
    assert "operator: anna" in words
    assert "also in view: ben" in words


def test_the_prediction_is_shown_while_it_is_of_this_body() -> None:
    pytest.importorskip("pallas.msg", reason="needs the generated messages (make setup)")
    from pallas.msg import BodyPrediction

    from pallas_ros.messages.encode import body_to_msg, to_stamp

    second = 10**9
    now = body(stamp=5 * second)
    later = body(stamp=6 * second, positions=now.positions + 0.1)
    prediction = BodyPrediction(body_id="operator", bodies=[body_to_msg(now), body_to_msg(later)])
    prediction.header.stamp = to_stamp(now.stamp)
    shown = moment(0.0, 0, now, None, prediction=prediction).predicted
    np.testing.assert_allclose(shown[:, :3], now.positions + 0.1)
    for other in (body(stamp=7 * second), body(stamp=now.stamp, body_id="another")):
        assert moment(0.0, 0, other, None, prediction=prediction).predicted is None
    prediction.bodies = []
    assert moment(0.0, 0, now, None, prediction=prediction).predicted is None


def bag_of_two(path: Path) -> Path:
    """A bag of 2 s: anna, 3 m in front of ben, who comes a little later and says something."""
    pytest.importorskip("rclpy")
    from pallas_ros.messages.wire import body_to_bytes

    with BagWriter(path) as bag:
        bag.add_topic("/pose/body", "pallas/msg/BodyPose")
        for k in range(120):
            stamp = 10**12 + round(k * 1e9 / 60)
            anna = body(stamp=stamp, body_id="<b>anna")
            anna.positions[:, 0] += 3.0
            ben = body(stamp=stamp + 10**6, body_id="ben", remarks=("far away",))
            ben.positions[:, 2] += 1.0
            for one in (anna, ben) if k > 10 else (anna,):
                bag.write("/pose/body", one.stamp, body_to_bytes(one))
    return path


def test_one_of_several_people_is_shown_all_the_time(tmp_path: Path) -> None:
    """Regression: without an operator, the one whose body came last, thus another every frame."""
    recording = BagFile(bag_of_two(tmp_path / "bag"))
    ahead = [recording.at(time).body[0, 0] for time in np.linspace(0.1, 1.9, 20)]
    assert np.ptp(ahead) < 1e-6
    other = BagFile(tmp_path / "bag")
    other.person = "ben"
    assert other.at(1.0).body[0, 0] == pytest.approx(ahead[0] - 3.0)


def test_the_curves_are_those_of_one_of_several_people(tmp_path: Path) -> None:
    """Regression: the curves jumped between them, and every remark was an event each time."""
    session = measure(bag_of_two(tmp_path / "bag"))
    assert session.person == "<b>anna"
    assert np.ptp(session.wrists.arrays()[1][:, 0]) < 1e-6
    assert len(session.wrists.times) == 120
    assert [what for _, what in session.events] == ["/pose/body: far away"]
    html = write_report(tmp_path / "bag", tmp_path / "bag.html", film=False).page.read_text()
    assert "Height of the wrists of &lt;b&gt;anna, one of 2 people" in html
    assert "<b>anna" not in html


def test_a_joint_that_is_not_known_leaves_the_rest_in_the_picture() -> None:
    """Regression: the whole person was missing, without a word."""
    one = body()
    figure = Figure(size=(160, 120), supersample=1)
    empty = figure.draw()
    whole = figure.draw([Person(one.positions, one.rotations)])
    one.positions[20] = np.nan
    one.rotations[4] = np.nan
    part = figure.draw([Person(one.positions, one.rotations)])
    changed = [int((picture != empty).any(axis=2).sum()) for picture in (part, whole)]
    assert 0.5 * changed[1] < changed[0] < changed[1]
    poses = np.concatenate((one.positions, one.rotations), axis=1)
    assert unknown_joints(poses) == "not known: left_knee, left_wrist"
    poses[:10] = np.nan
    assert unknown_joints(poses).endswith("and 7 more")
    one.positions[:] = np.nan
    assert (figure.draw([Person(one.positions, one.rotations, label="name")]) == empty).all()
