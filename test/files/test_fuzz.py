"""Mutated files of every format of benchmarks/fuzz_formats.py: they are read, or rejected with one
short sentence.

This is a small budget with the same inputs in every run. `python benchmarks/fuzz.py FORMAT --inputs
100000` runs a long one and also monitors time, memory and crashes.
"""

import random
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pallas_ros.core.errors import LONGEST_MESSAGE, PallasError

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))
try:
    from fuzz_formats import FORMATS
    from fuzz_mutations import VALUES, tree_of
finally:
    sys.path.remove(str(BENCHMARKS))


@pytest.fixture(params=sorted(FORMATS))
def form(request: pytest.FixtureRequest) -> Any:
    return FORMATS[request.param]


def test_the_valid_files_are_read(form: Any, tmp_path: Path):
    """Otherwise the mutated files would test nothing."""
    for number, data in enumerate(form.seeds()):
        path = tmp_path / f"{number}{form.suffix}"
        path.write_bytes(data)
        form.read(path)


@settings(max_examples=20, suppress_health_check=list(HealthCheck))
@given(draw=st.randoms(use_true_random=False))
def test_changed_files_are_read_or_refused(form: Any, tmp_path: Path, draw: random.Random):
    path = tmp_path / f"changed{form.suffix}"
    path.write_bytes(form.mutate(draw.choice(form.seeds()), draw))
    message = refused(form, path)
    assert message is None or 0 < len(message) <= LONGEST_MESSAGE
    assert "\n" not in (message or "")


def refused(form: Any, path: Path) -> str | None:
    """Return why a file is rejected, or None if it is read."""
    try:
        form.read(path)
    except PallasError as error:
        return str(error)
    return None


def test_an_input_does_not_depend_on_those_before_it():
    """Otherwise replaying its number would give another file."""
    before = repr(VALUES)
    for number in range(2000):
        tree_of({"a": {"b": [1, 2]}, "c": 10**400}, random.Random(number))
    assert repr(VALUES) == before


FOUND = (
    ("csv", 77, 39917),  # a quantity of one row
    ("db3", 77, 5225),  # a damaged page that names rows read before: read for ever
    ("db3", 77, 10183),  # the size of a row: MemoryError
    ("smpl", 77, 71985),  # no frames
    ("graph", 91, 48203),  # a file name that is too long
    ("dae", 92, 10290),  # a scene that contains itself: assimp crashes
    ("dae", 92, 66),  # vertices that are not finite after its transformations
    ("obj", 92, 12266),  # a mesh without faces
    ("obj", 92, 87116),  # a null byte that hides a vertex from one of two readers
    ("urdf", 91, 29497),  # an attribute with a prefix that is not declared
    ("urdf", 91, 75568),  # an attribute that ends in a colon
)


@pytest.mark.parametrize(("name", "seed", "number"), FOUND)
def test_what_long_runs_found_is_read_or_refused(name: str, seed: int, number: int, tmp_path: Path):
    form = FORMATS[name]
    draw = random.Random(f"{name} {seed} {number}")  # as in fuzz.py
    path = tmp_path / f"found{form.suffix}"
    path.write_bytes(form.mutate(draw.choice(form.seeds()), draw))
    message = refused(form, path)
    assert message is None or 0 < len(message) <= LONGEST_MESSAGE
