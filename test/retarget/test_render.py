"""Videos of an arm have any length, and their name is checked before the work."""

import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpstm_ros.simulation import render
from pallas_ros.body.errors import PallasError
from pallas_ros.cli import main


class Renderer:
    """Replaces the off-screen renderer, which needs EGL; counts the pictures in memory."""

    most = 0

    def __init__(self, *_: object) -> None:
        self._pictures: list[Any] = []

    def picture(self, q: Any) -> Any:
        """Return a grey picture."""
        picture = np.full((48, 64, 3), int(100 * q[0]) % 256, dtype=np.uint8)
        self._pictures.append(weakref.ref(picture))
        alive = sum(one() is not None for one in self._pictures)
        Renderer.most = max(Renderer.most, alive)
        return picture

    def close(self) -> None:
        """Free nothing."""


@pytest.mark.parametrize("suffix", [".mp4", ".gif"])
def test_a_video_needs_no_memory_for_all_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    """Regression: an hour of motion took 100 GB."""
    monkeypatch.setattr(render, "ArmRenderer", Renderer)
    monkeypatch.setattr(Renderer, "most", 0)
    t = np.arange(0, 4, 0.01)
    path = tmp_path / f"arm{suffix}"
    render.render(None, t, t[:, None], path)  # type: ignore[arg-type]
    assert path.stat().st_size > 0
    assert Renderer.most <= 3


def test_a_failed_video_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(render, "ArmRenderer", Renderer)

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Renderer, "picture", fail)
    with pytest.raises(PallasError, match="No space left"):
        render.render(None, np.array([0.0, 1.0]), np.zeros((2, 1)), tmp_path / "a.mp4")  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", ["retarget a.npz b.npz", "generate b.npz sit"])
def test_the_name_of_a_video_is_checked_first(
    command: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.npz").touch()
    assert main([*command.split(), "--video", "film.avi"]) == 2
    assert "film.avi: a video ends in .mp4 or .gif" in capsys.readouterr().err
    assert not (tmp_path / "b.npz").exists()
