"""What the viewer shows where several people are in view, and of status messages from before there
was an operator.
"""

from types import SimpleNamespace

from pallas_ros.view.moments import moment, operators_record


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
    assert moment(0.0, 0, None, None, status=old).words == "well\nheld back by nothing"
    new = SimpleNamespace(**vars(old), operator_id="anna", people=["anna", "ben"])
    words = moment(0.0, 0, None, None, status=new).words
    assert "operator: anna" in words
    assert "also in view: ben" in words
