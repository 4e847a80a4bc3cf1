"""Parts of bags and recordings."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bag_samples import STRING, read_texts, text_message, write_texts

from pallas_ros.bags import Bag, BagWriter, Qos
from pallas_ros.cli import main


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_a_part_of_a_bag_with_what_was_latched_before(tmp_path: Path, storage: str) -> None:
    with BagWriter(tmp_path / "bag", storage=storage) as writer:
        writer.add_topic("/description", STRING, Qos(latched=True))
        writer.add_topic("/text", STRING)
        writer.write("/description", 10**9, text_message("a robot"))
        for number in range(100):
            writer.write("/text", 10**9 + number * 10**8, text_message(str(number)))
    assert main(["cut", str(tmp_path / "bag"), "--from", "2", "--to", "3.05"]) == 0
    cut = Bag(tmp_path / "bag_cut")
    assert cut.check() == ""
    assert cut.topics["/description"].qos.latched
    assert read_texts(tmp_path / "bag_cut") == ["a robot", *(str(n) for n in range(20, 31))]
    assert cut.duration == pytest.approx(1.0)


def test_static_transforms_of_several_nodes_are_kept(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "bag") as writer:
        writer.add_topic("/tf_static", STRING, Qos(latched=True))
        writer.add_topic("/text", STRING)
        for text in ("camera", "table", "camera"):
            writer.write("/tf_static", 10**9, text_message(text))
        for number in range(10):
            writer.write("/text", 10**9 + number * 10**9, text_message(str(number)))
    assert main(["cut", str(tmp_path / "bag"), "--from", "7.5"]) == 0
    assert sorted(read_texts(tmp_path / "bag_cut")) == ["8", "9", "camera", "table"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_an_interrupted_cut_leaves_nothing(
    error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_texts(tmp_path / "bag", 100)
    write = BagWriter.write

    def fail_at_fifty(writer: BagWriter, *message: Any) -> None:
        if writer.count == 50:
            raise error
        write(writer, *message)

    monkeypatch.setattr(BagWriter, "write", fail_at_fifty)
    assert main(["cut", str(tmp_path / "bag")]) in (2, 130)
    assert [path.name for path in tmp_path.iterdir()] == ["bag"]


def test_the_whole_of_a_bag_is_all_of_it(tmp_path: Path) -> None:
    texts = write_texts(tmp_path / "bag", 100)
    assert main(["cut", str(tmp_path / "bag"), "-o", str(tmp_path / "all")]) == 0
    assert read_texts(tmp_path / "all") == texts


def test_a_part_of_a_recording(tmp_path: Path) -> None:
    stamp = np.arange(500) / 100 + 7.0
    arrays = {
        "sites": np.array(["pelvis", "neck", "left_wrist", "right_wrist"]),
        "stamp": stamp,
        "orientation": np.tile([0.0, 0, 0, 1], (500, 4, 1)),
        "linear_acceleration": np.tile([0.0, 0, 9.81], (500, 4, 1)),
        "calibrated": np.array(False),
    }
    np.savez(tmp_path / "walk.npz", **arrays)
    words = ["cut", str(tmp_path / "walk.npz"), "--from", "1", "--to", "2"]
    assert main(words) == 0
    with np.load(tmp_path / "walk_cut.npz") as part:
        np.testing.assert_array_equal(part["stamp"], stamp[100:200])
        assert part["orientation"].shape == (100, 4, 4)
        assert part["sites"].tolist() == arrays["sites"].tolist()
    before = (tmp_path / "walk_cut.npz").read_bytes()
    assert main(words) == 2  # nothing is replaced
    assert (tmp_path / "walk_cut.npz").read_bytes() == before


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--from", "5", "--to", "2"], "with the start before the end"),
        (["--from", "nan"], "with the start before the end"),
        (["--from", "99"], "it lasts 1.0 s"),
        (["--from", "1e300"], "it lasts 1.0 s"),
        (["-o", "bag"], "is not empty; give another name"),
    ],
)
def test_what_cannot_be_cut_is_one_sentence(
    tmp_path: Path, words: list[str], says: str, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    write_texts(tmp_path / "bag", 100)
    assert main(["cut", "bag", *words]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert len(error.splitlines()) == 1
    assert len(read_texts(tmp_path / "bag")) == 100
