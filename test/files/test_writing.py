"""Text files are written completely or not at all."""

import os
from pathlib import Path

import pytest

from pallas_ros.body.errors import PallasError
from pallas_ros.files.writing import save_text


def test_a_text_replaces_the_file(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.txt"
    save_text(path, "one")
    save_text(path, "two")
    assert path.read_text() == "two"
    assert os.listdir(path.parent) == ["a.txt"]


@pytest.mark.parametrize(
    ("fault", "raised"),
    [(KeyboardInterrupt(), KeyboardInterrupt), (OSError(28, "full"), PallasError)],
)
def test_nothing_remains_of_an_interrupted_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: BaseException, raised: type
) -> None:
    path = tmp_path / "a.txt"
    save_text(path, "one")

    def fail(*_: object) -> None:
        raise fault

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(raised):
        save_text(path, "two")
    assert path.read_text() == "one"
    assert os.listdir(tmp_path) == ["a.txt"]
