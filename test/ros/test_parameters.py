"""Described parameters: accepted and rejected values, and the messages."""

import argparse
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpstm_ros.safety.limits import SupervisorSettings
from pallas_ros.body.errors import PallasError
from pallas_ros.body.resources import share
from pallas_ros.files.parameters import Parameter, add_option, describe, described
from pallas_ros.imu.orientation import MODES
from pallas_ros.runtime.stream import BACKENDS

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


def test_an_option_has_the_range_and_the_default_of_its_parameter() -> None:
    parser = argparse.ArgumentParser()
    add_option(parser, "--rate", RATE, "the rate")
    add_option(parser, "--backend", described("pallas_node")["backend"])
    assert "the rate (30 to 400; default: 100)" in " ".join(parser.format_help().split())
    args = parser.parse_args(["--rate", "60", "--backend", "torch"])
    assert (args.rate, args.backend) == (60.0, "torch")
    assert parser.parse_args([]).rate == 100.0
    for wrong in ("7", "nan", "fast"):
        with pytest.raises(PallasError, match=f"--rate is {wrong}, but must be a number from 30"):
            parser.parse_args(["--rate", wrong])
    with pytest.raises(SystemExit):
        parser.parse_args(["--backend", "tpu"])


def test_every_node_offers_the_same_backends() -> None:
    for node in NODES:
        if "backend" in described(node):
            assert set(described(node)["backend"].choices or ()) == set(BACKENDS), node


def test_every_node_offers_the_same_sources_of_orientation() -> None:
    for node in ("imu_driver", "pallas_node"):
        assert described(node)["orientation"].choices == MODES, node


def test_the_supervisor_checks_its_settings_itself_and_agrees_with_the_node() -> None:
    """Safety settings do not rely on parameter descriptions."""
    from hpstm_ros.nodes.retarget_settings import supervisor_settings

    parameters = described("retarget")
    defaults = {name: parameter.default for name, parameter in parameters.items()}
    assert supervisor_settings(defaults) == SupervisorSettings()
    for name in ("max_measurement_age", "delivery_timeout"):
        limits = parameters[f"{name}_s"].range
        assert limits is not None
        for value in limits:
            SupervisorSettings(**{name: value})
        with pytest.raises(PallasError, match=name):
            SupervisorSettings(**{name: limits[1] + 0.01})


@pytest.mark.parametrize("node", NODES)
def test_files_can_be_set_at_start_only(node: str) -> None:
    """Anybody on the graph can set the other parameters while the node runs."""
    words = ("file", "folder", "path", "model;", "network")
    for name, parameter in described(node).items():
        text = parameter.description.lower()
        if parameter.type == "string" and not parameter.choices:
            assert parameter.read_only or not any(word in text for word in words), name
