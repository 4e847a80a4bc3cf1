"""The viewer with several people in view, and with older status messages without an operator."""

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from pallas_ros.view.moments import moment, operators_record

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
