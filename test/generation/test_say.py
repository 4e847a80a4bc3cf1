"""Durations that `pallas say` adapts to an arm."""

from argparse import Namespace

import pytest

from hpstm_ros.commands import say


@pytest.mark.parametrize(
    ("seconds", "model", "asked"),
    [(8.0, "", [8.0, 10.0]), (12.0, "", [12.0, 24.0]), (8.0, "flow", [8.0, 16.0])],
)
def test_the_longest_duration_is_that_of_the_generator_that_answers(
    monkeypatch: pytest.MonkeyPatch, seconds: float, model: str, asked: list[float]
) -> None:
    """Regression: requests that go to the flow were never lengthened beyond 10 s."""
    found: list[float] = []
    monkeypatch.setattr(say, "_ask", lambda args, text, length, play: found.append(length))
    monkeypatch.setattr(say, "_motion", lambda result: None)
    monkeypatch.setattr(say, "needed_stretch", lambda motion, robot: 2.0)
    say._adapted(Namespace(seconds=seconds, model=model), "wave", None)
    assert found == asked
