"""The folder of `pallas demo`: which files it may remove, and which it must keep."""

from pathlib import Path

import pytest

pytest.importorskip("pinocchio", reason="needs the extra [robot]")

from hpstm_ros.commands.demo import _empty
from pallas_ros.body.errors import PallasError


def test_a_demo_replaces_the_previous_demo_and_its_report(tmp_path: Path) -> None:
    """Regression: after `pallas report out/demo/bag` the next demo rejected the page beside the
    bag.
    """
    out = tmp_path / "demo"
    (out / "bag").mkdir(parents=True)
    for name in ("index.html", "summary.json", "demo.mp4", "bag.html"):
        (out / name).write_text("")
    _empty(out)
    assert list(out.iterdir()) == []


def test_other_files_than_demo_results_are_kept(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(PallasError, match="--out"):
        _empty(tmp_path)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"
