"""Inputs and outputs of models are checked when they are opened."""

from types import SimpleNamespace
from typing import Any

import pytest

from pallas_ros.body.errors import PallasError
from pallas_ros.runtime import check_tensors

INPUTS: dict[str, Any] = {"state": ("rows", 3), "text": (5,)}
OUTPUTS: dict[str, Any] = {"end": ("rows", 3)}


def model(**changed: Any) -> Any:
    """A stream with the expected inputs and outputs, except for ``changed`` inputs."""
    inputs = {"state": (1, 7, 3), "text": (1, 5), **changed}
    given = {name: shape for name, shape in inputs.items() if shape is not None}
    return SimpleNamespace(inputs=given, outputs={"end": (1, 7, 3)})


def test_the_expected_model_passes() -> None:
    check_tensors("a.onnx", model(), INPUTS, OUTPUTS)


@pytest.mark.parametrize(
    ("changed", "match"),
    [
        ({"text": None}, "no input 'text'"),
        ({"text": (1, 6)}, "'text' has an unexpected shape"),
        ({"text": (1, 5, 1)}, "'text' has an unexpected shape"),
        ({"state": (1, 8, 3)}, "output 'end' has an unexpected shape"),
        ({"more": (1, 1)}, "unknown input 'more'"),
    ],
)
def test_other_models_are_refused(changed: dict[str, Any], match: str) -> None:
    with pytest.raises(PallasError, match=match):
        check_tensors("a.onnx", model(**changed), INPUTS, OUTPUTS)
