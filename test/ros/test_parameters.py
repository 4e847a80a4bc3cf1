"""Described parameters: what they take, what they refuse and with which words."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pallas_ros.body.errors import PallasError
from pallas_ros.body.resources import share
from pallas_ros.ros.parameters import Parameter, describe

RATE = Parameter("rate_hz", "float", 100.0, "Rate.", range=(30.0, 400.0), unit="Hz")
NODES = sorted(path.stem for path in (share() / "config" / "parameters").glob("*.yaml"))


@given(st.floats(allow_nan=True, allow_infinity=True) | st.integers() | st.booleans() | st.text())
def test_a_float_is_taken_exactly_within_its_range(value: object) -> None:
    allowed = (
        isinstance(value, (int, float)) and not isinstance(value, bool) and 30.0 <= value <= 400.0
    )
    if allowed:
        assert RATE.check(value) == value
        assert type(RATE.check(value)) is float
    else:
        with pytest.raises(
            PallasError, match=r"'rate_hz' is .* must be a float from 30.0 to 400.0 Hz"
        ):
            RATE.check(value)


def test_lists_are_checked_item_by_item_and_by_length() -> None:
    ports = Parameter("ports", "strings", ["a"], "Ports.", length=(1, 4))
    assert ports.check(["a", "b"]) == ["a", "b"]
    for wrong in (["a", 1], [], ["a"] * 5, "a"):
        with pytest.raises(PallasError, match="a list of strings"):
            ports.check(wrong)


@pytest.mark.parametrize("node", NODES)
def test_every_description_is_sound_and_every_parameter_file_fits_it(node: str) -> None:
    import yaml

    described = describe(node)
    assert all(
        parameter.description.strip().endswith((".", "?")) for parameter in described.values()
    )
    for path in (share() / "config").glob(f"{node}*.yaml"):
        for section in yaml.safe_load(path.read_text()).values():
            for name, value in section["ros__parameters"].items():
                assert name in described, f"{path}: {name}"
                described[name].check(value)


def test_a_description_that_is_wrong_is_refused_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(
        "rate: {type: float, default: 5.0, range: [10.0, 20.0], description: A rate.}"
    )
    with pytest.raises(PallasError, match=r"'rate' is 5\.0"):
        describe("x", tmp_path)
    (tmp_path / "x.yaml").write_text("rate: {type: number, default: 5.0, description: A rate.}")
    with pytest.raises(PallasError, match="type 'number'"):
        describe("x", tmp_path)
