"""Generated motion in the viewer and in the report: its request, score and candidates."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pallas_ros.body.motion import Motion, load_motion, save_motion
from pallas_ros.body.origin import GENERATED, Origin, request_in
from pallas_ros.imu.motions import demo_motion
from pallas_ros.view.moments import MotionFile
from pallas_ros.view.motion_report import write_motion_report

ORIGIN = Origin("wave <b>now</b>", "flow", 3, 91.2, (91.2, 80.1, math.nan))
LINES = ("request: wave <b>now</b>", "flow, seed 3, alignment 91 of 100, best of 3 (91, 80, ?)")


@pytest.fixture
def generated(tmp_path: Path) -> Path:
    """A motion file as `pallas generate` writes it."""
    motion = demo_motion(duration=2.0)
    path = tmp_path / "wave.npz"
    extra = ORIGIN.arrays()
    save_motion(path, Motion(motion.fps, motion.positions, motion.rotations, extra=extra))
    return path


def test_words_of_a_request() -> None:
    assert ORIGIN.lines() == LINES
    assert Origin("a\n b", "tokens", 0).lines() == ("request: a b", "tokens, seed 0")
    assert len(Origin(1000 * "x", "flow", 0).lines()[0]) < 140
    assert request_in(["late", *LINES]) == (LINES[0].removeprefix("request: "), LINES[1])
    assert request_in([GENERATED, "at rest"]) is None


@given(st.text(max_size=30), st.floats(0, 100), st.lists(st.floats(0, 100), max_size=8))
def test_there_and_back(text: str, alignment: float, candidates: list[float]) -> None:
    origin = Origin(text.rstrip("\0"), "flow", 7, alignment, tuple(candidates))
    assert Origin.of(origin.arrays()) == origin


@pytest.mark.parametrize("extra", [None, {}, {"text": np.zeros(3), "seed": np.array("x")}])
def test_a_motion_that_was_not_generated_has_no_provenance(
    extra: dict[str, np.ndarray] | None,
) -> None:
    assert Origin.of(extra) is None


def test_a_file_of_before_candidates_were_kept_is_read() -> None:
    arrays = ORIGIN.arrays()
    del arrays["candidates"]
    found = Origin.of(arrays)
    assert found is not None
    assert found.lines()[1] == "flow, seed 3, alignment 91 of 100"


def test_the_viewer_shows_the_request(generated: Path) -> None:
    assert Origin.of(load_motion(generated).extra) is not None
    assert MotionFile(generated).at(1.0).words.splitlines() == list(LINES)


def test_the_page_of_a_motion_file_contains_the_request(generated: Path, tmp_path: Path) -> None:
    page = tmp_path / "wave.html"
    write_motion_report(generated, page, film=False)
    html = page.read_text()
    assert "Generated motion" in html
    assert "wave &lt;b&gt;now&lt;/b&gt;" in html
    assert "best of 3 (91, 80, ?)" in html
    plain = demo_motion(duration=1.0)
    save_motion(tmp_path / "plain.npz", plain)
    write_motion_report(tmp_path / "plain.npz", page, film=False)
    assert "Generated motion" not in page.read_text()
