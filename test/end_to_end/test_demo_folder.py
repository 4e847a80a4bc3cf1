"""The folder of `pallas demo`: what it may clear away, and what it must leave alone."""

from pathlib import Path

import pytest

pytest.importorskip("pinocchio", reason="needs the extra [robot]")

from hpstm_ros.commands.demo import _empty
from pallas_ros.body.errors import PallasError


def test_a_demo_and_the_report_of_it_make_room_for_the_next(tmp_path: Path) -> None:
    """Found by trying: demo, `pallas report out/demo/bag`, and the next demo refused the page
    beside the bag.
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
