"""Check the inputs and outputs of a model: ``kind`` alone does not guarantee them."""

from collections.abc import Mapping
from pathlib import Path

from pallas_ros.body.errors import PallasError
from pallas_ros.runtime.base import Stream
from pallas_ros.runtime.model_file import Shape

Sizes = tuple[int | str, ...]
"""Sizes of the axes after the batch: numbers, or names; axes of the same name have equal sizes."""


def check_tensors(
    path: str | Path, stream: Stream, inputs: Mapping[str, Sizes], outputs: Mapping[str, Sizes]
) -> None:
    """Check that a model has these inputs and outputs, and no other inputs.

    Args:
        path: the model file, for messages.
        stream: the opened model.
        inputs: sizes by name.
        outputs: sizes by name.

    Raises:
        PallasError: one is missing, or has another shape.
    """
    found: dict[str, int] = {}
    for what, given, expected in (
        ("input", stream.inputs, inputs),
        ("output", stream.outputs, outputs),
    ):
        for name, sizes in expected.items():
            if name not in given:
                raise PallasError(f"model file {path}: it has no {what} '{name}'; export it again")
            if not _fits(given[name], sizes, found):
                shape = ", ".join(map(str, given[name][1:]))
                raise PallasError(
                    f"model file {path}: its {what} '{name}' has an unexpected shape ({shape});"
                    " export it again"
                )
    if others := sorted(set(stream.inputs) - set(inputs)):
        raise PallasError(f"model file {path}: unknown input '{others[0]}'; export it again")


def _fits(shape: Shape, sizes: Sizes, found: dict[str, int]) -> bool:
    """Whether a shape with a batch axis has these sizes; adds those of new names to ``found``."""
    if len(shape) != len(sizes) + 1:
        return False
    return all(
        size == (found.setdefault(expected, size) if isinstance(expected, str) else expected)
        for size, expected in zip(shape[1:], sizes)
    )
