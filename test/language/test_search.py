"""`pallas search` and `pallas score`: correct moments, cached indices, and invalid input."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from language_samples import StandIn, swinging
from numpy.typing import NDArray

from hpstm_ros.commands import search as search_command
from hpstm_ros.language.alignment.aligner import Aligner
from hpstm_ros.language.alignment.movement import movement
from hpstm_ros.language.search import Index, open_index, search
from hpstm_ros.language.search.index import _movements, _piece, index_path
from hpstm_ros.language.search.ranking import moments
from pallas_ros.bags import BagWriter, Qos
from pallas_ros.body import rotations
from pallas_ros.body.errors import PallasError
from pallas_ros.body.frames import BodyFrame
from pallas_ros.body.motion import Motion, save_motion
from pallas_ros.body.names import TOPIC_HPSTM_BODY
from pallas_ros.body.skeleton import Skeleton
from pallas_ros.cli import main
from pallas_ros.imu.motions import demo_motion


def joined(*motions: Motion) -> Motion:
    """Concatenate motions."""
    return replace(
        motions[0],
        positions=np.concatenate([m.positions for m in motions]),
        rotations=np.concatenate([m.rotations for m in motions]),
    )


@pytest.fixture
def released(model_file: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The untrained network with a replacement for the sentence encoder, as found by the
    command.
    """
    monkeypatch.setattr(
        "hpstm_ros.language.alignment.aligner.TextEncoder.default", lambda: StandIn()
    )
    monkeypatch.setattr(
        search_command,
        "_aligner",
        lambda model: Aligner(model, StandIn()),  # type: ignore[arg-type]
    )
    return str(model_file)


def write_bag(
    path: Path,
    *motions: Motion,
    gap_s: float = 0.0,
    valid: NDArray[np.bool_] | None = None,
) -> Path:
    """Write a bag of smoothed bodies: motions separated by a gap; ``valid`` (T,) frames."""
    from pallas_ros.messages.wire import body_to_bytes

    start = 1_000_000_000
    with BagWriter(path) as bag:
        bag.add_topic(TOPIC_HPSTM_BODY, "pallas/msg/BodyPose", Qos())
        for motion in motions:
            for i in range(len(motion)):
                stamp = start + round(i * 1e9 / motion.fps)
                body = BodyFrame(
                    stamp,
                    motion.rotations[i],
                    motion.positions[i],
                    None,
                    np.full(22, valid is None or valid[i]),
                    np.ones(22),
                    np.zeros(2),
                    stamp,
                )
                bag.write(TOPIC_HPSTM_BODY, stamp, body_to_bytes(body))
            start = stamp + round(max(gap_s, 1 / motion.fps) * 1e9)
    return path


def test_bags_are_indexed_in_the_time_of_the_bag(tmp_path: Path, aligner: Aligner) -> None:
    reach = swinging(("left_shoulder",), 4.0, fps=60.0)
    still = swinging((), 8.0, fps=60.0)
    bag = write_bag(tmp_path / "bag", still, reach, gap_s=20.0)
    index = open_index(bag, aligner)
    assert open_index(bag, aligner).cached
    between = (index.start_s > 8.5) & (index.start_s < 27.5)
    assert not between.any()
    best, *_ = search(aligner, aligner.motion(reach), [index], by_example=True)
    assert best.start_s == pytest.approx(28.0, abs=0.5)
    path = tmp_path / "same.npz"
    save_motion(path, reach)
    alone = open_index(path, aligner)
    row = index.vectors[index.start_s > 27][0].astype(np.float32)
    assert row @ alone.vectors[0].astype(np.float32) > 0.99


@pytest.mark.parametrize("height", [1.45, 2.0])
def test_the_size_of_the_person_in_a_bag_does_not_matter(tmp_path: Path, height: float) -> None:
    """Regression: motion files were scaled to the default body, the bodies of bags were not."""
    reach = swinging(("left_shoulder",), 8.0)
    other = replace(reach, positions=reach.positions * height / Skeleton.from_height().height)
    ((_, found),) = _movements(write_bag(tmp_path / "bag", other))
    expected = movement(reach)
    assert found.scale == pytest.approx(height / Skeleton.from_height().height, rel=1e-3)
    count = min(len(found), len(expected))
    np.testing.assert_allclose(found.features[:count], expected.features[:count], atol=0.02)


def test_a_sign_change_of_a_quaternion_at_a_gap_does_not_turn_the_body() -> None:
    """Regression: an incomplete body hid that the quaternions after it had the other sign."""
    reach = swinging(("left_shoulder",), 4.0)
    q = rotations.from_rotvec(np.array([0.0, 0.0, 0.8]))
    stamps = [i / 30 for i in range(len(reach))]
    rows = [(p, np.asarray(q)) for p in reach.positions]
    rows[60] = (np.full((22, 3), np.nan), np.full(4, np.nan))
    rows[61:] = [(p, -q) for p, q in rows[61:]]
    ((_, found),) = _piece(stamps, rows)
    np.testing.assert_allclose(found.heading, 0.8, atol=1e-3)


def test_bodies_without_a_valid_joint_are_not_searched(tmp_path: Path, aligner: Aligner) -> None:
    """Regression: the posture that is published while nobody is seen was indexed as motion."""
    still = swinging((), 8.0)
    bag = write_bag(tmp_path / "bag", still, valid=np.arange(len(still)) < 120)
    assert open_index(bag, aligner).end_s.max() == pytest.approx(4.0, abs=0.11)


def test_people_of_a_bag_are_indexed_separately(tmp_path: Path, aligner: Aligner) -> None:
    """Regression: the bodies of all ids were read as one body that jumps between them."""
    from pallas_ros.messages.wire import body_to_bytes

    people = {"a": swinging(("left_shoulder",), 8.0), "b": swinging(("right_knee",), 8.0)}
    with BagWriter(tmp_path / "bag") as bag:
        bag.add_topic(TOPIC_HPSTM_BODY, "pallas/msg/BodyPose", Qos())
        for i in range(240):
            for name, motion in people.items():
                stamp = 1_000_000_000 + round(i * 1e9 / 30) + (16_000_000 if name == "b" else 0)
                body = BodyFrame(
                    stamp,
                    motion.rotations[i],
                    motion.positions[i] + (3.0 if name == "b" else 0.0),
                    None,
                    np.ones(22, bool),
                    np.ones(22),
                    np.zeros(2),
                    stamp,
                    body_id=name,
                )
                bag.write(TOPIC_HPSTM_BODY, stamp, body_to_bytes(body))
    both = open_index(tmp_path / "bag", aligner)
    for name, motion in people.items():
        save_motion(tmp_path / f"{name}.npz", motion)
        alone = open_index(tmp_path / f"{name}.npz", aligner).vectors.astype(np.float32)
        likeness = alone @ both.vectors.astype(np.float32).T
        assert (likeness.max(axis=1) > 0.99).all()


def test_a_bag_without_bodies_is_refused(tmp_path: Path, aligner: Aligner) -> None:
    with BagWriter(tmp_path / "bag") as bag:
        bag.add_topic("/text", "std_msgs/msg/String", Qos())
        bag.write("/text", 1, b"\0\1\0\0\1\0\0\0\0")
    with pytest.raises(PallasError, match="contains no bodies"):
        open_index(tmp_path / "bag", aligner)


def test_an_index_is_kept_beside_the_recording(tmp_path: Path, aligner: Aligner) -> None:
    path = tmp_path / "motion.npz"
    save_motion(path, swinging(("left_shoulder",), 9.0))
    made = open_index(path, aligner)
    assert not made.cached
    assert made.vectors.dtype == np.float16
    assert made.end_s.max() == pytest.approx(9.0, abs=0.11)
    kept = open_index(path, aligner)
    assert kept.cached
    np.testing.assert_array_equal(kept.vectors, made.vectors)
    save_motion(path, swinging(("right_knee",), 7.0))
    again = open_index(path, aligner)
    assert not again.cached
    assert again.end_s.max() == pytest.approx(7.0, abs=0.11)
    index_path(path).write_bytes(b"PK damaged")
    assert not open_index(path, aligner).cached
    assert open_index(path, aligner).cached
    assert not list(tmp_path.glob(".*.tmp*"))


def test_the_moment_is_found_by_example(tmp_path: Path, aligner: Aligner) -> None:
    still = swinging((), 8.0)
    save_motion(tmp_path / "a.npz", still)
    save_motion(tmp_path / "b.npz", joined(still, swinging(("left_shoulder",), 4.0), still))
    query = aligner.motion(swinging(("left_shoulder",), 4.0))
    indices = [open_index(tmp_path / f"{name}.npz", aligner) for name in "ab"]
    best, *others = search(aligner, query, indices, count=5, by_example=True)
    assert best.path.endswith("b.npz")
    assert best.start_s < 10.0 < best.end_s
    assert all(best.score >= other.score for other in others)


def test_a_recording_that_disappears_during_the_search_does_not_stop_it(
    tmp_path: Path,
    released: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Regression: it was read again after indexing, and its absence ended the command."""
    for name in ("gone", "kept"):
        save_motion(tmp_path / f"{name}.npz", swinging(("left_shoulder",), 5.0))
    index = search_command._index

    def then_remove(*arguments: Any) -> dict[Path, str]:
        failed = index(*arguments)
        (tmp_path / "gone.npz").unlink()
        return failed

    monkeypatch.setattr(search_command, "_index", then_remove)
    assert main(["search", "wave", str(tmp_path), "--model", released, "--jobs", "1"]) == 0
    shown = capsys.readouterr()
    assert "in 1 recordings" in shown.out
    assert "gone.npz" in shown.err


def test_one_moment_is_shown_once() -> None:
    index = Index(
        Path("x"),
        np.array([0.0, 1.0, 1.0, 6.0]),
        np.array([4.0, 5.0, 3.0, 10.0]),
        np.zeros((4, 2), np.float16),
    )
    assert moments(index, np.array([0.5, 0.9, 0.8, 0.1]), 10) == [1, 3]


def test_a_folder_is_searched_and_what_cannot_be_read_is_named(
    tmp_path: Path, released: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "recordings"
    folder.mkdir()
    for i in range(3):
        save_motion(folder / f"{i}.npz", swinging(("left_shoulder",), 5.0))
    (folder / "broken.npz").write_bytes(b"nothing")
    sheet = tmp_path / "sheet.png"
    hits = tmp_path / "hits.json"
    command = ["search", "wave the hand", str(folder), "--model", released, "--jobs", "1"]
    assert main([*command, "--json", str(hits), "--sheet", str(sheet), "--count", "2"]) == 0
    out = capsys.readouterr()
    assert "broken.npz" in out.err
    assert "pallas view" in out.out
    found = json.loads(hits.read_text())["hits"]
    assert len(found) == 2
    assert set(found[0]) == {"path", "start_s", "end_s", "score"}
    assert sheet.read_bytes().startswith(b"\x89PNG")
    like = ["search", "--like", str(folder / "1.npz"), str(folder / "0.npz"), "--model", released]
    assert main([*like, "--jobs", "1"]) == 0
    assert " 100  " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["search", "", "."], "text is empty"),
        (["search", "walk"], "nothing to search"),
        (["search", "walk", "missing"], "no such file"),
        (["search", "walk", "empty"], "no bag and no motion file"),
        (["search", "walk", "empty", "--count", "0"], "give 1 to 1000"),
        (["search", "walk", "empty", "--sheet", "a.txt"], r"ends in .png"),
        (["search", "walk", "empty", "--jobs", "-1"], "--jobs"),
        (["search", "walk", "empty", "--scheduler", "host"], "tcp://"),
        (["score", "missing.npz", "walk"], "no such file"),
        (["score", "missing.npz", " "], "text is empty"),
    ],
)
def test_errors_are_reported_in_one_sentence(
    arguments: list[str],
    match: str,
    tmp_path: Path,
    released: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    assert main([*arguments, "--model", released]) == 2
    error = capsys.readouterr().err
    assert match in error.replace("\\", "")
    assert len(error.strip().splitlines()) == 1


def test_score_writes_json(
    tmp_path: Path, released: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "motion.npz"
    out = tmp_path / "score.json"
    save_motion(path, swinging(("left_shoulder",)))
    assert main(["score", str(path), "wave", "--model", released, "--json", str(out)]) == 0
    assert 0 <= json.loads(out.read_text())["score"] <= 100
    scene = tmp_path / "scene.yaml"
    scene.write_text("boxes: [{label: chair, centre: [0, 0, 0.2], size: [1, 1, 0.4]}]")
    assert main(["score", str(path), "wave", "--scene", str(scene), "--model", released]) == 0
    assert "of 100" in capsys.readouterr().out


def test_the_released_model_finds_the_demonstrations_moments(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "demo", demo_motion(27.5))
    aligner = Aligner.default()
    index = open_index(bag, aligner)
    # the script of `demo_motion`: walk from 5 to 11 s, the right hand waves around 22.5 s,
    # the left hand is up around 14.5 s (reach) and 26 s (wave)
    for text, moments_s in (
        ("a person walks", [(5.0, 11.0)]),
        ("wave the right hand", [(19.7, 24.5)]),
        ("reach up with the left hand", [(13.0, 16.5), (24.0, 28.0)]),
    ):
        best = search(aligner, aligner.texts([text])[0], [index], 1)[0]
        middle = (best.start_s + best.end_s) / 2
        assert any(start <= middle <= end for start, end in moments_s), (text, middle)


def test_the_released_model_finds_one_bag_of_twenty(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    demo = demo_motion(27.5, fps=30.0)

    def piece(start: float, stop: float) -> Motion:
        at = slice(round(start * 30), round(stop * 30))
        return replace(demo, positions=demo.positions[at], rotations=demo.rotations[at], extra=None)

    for i in range(20):
        at = (24.2, 27.4) if i == 13 else (5.5 + 0.1 * i, 8.5 + 0.1 * i)
        write_bag(tmp_path / f"bag{i:02d}", piece(*at))
    hits = tmp_path / "hits.json"
    command = ["search", "raise the left hand", str(tmp_path), "--json", str(hits), "--jobs", "1"]
    assert main(command) == 0
    assert "20 recordings" in capsys.readouterr().out
    assert json.loads(hits.read_text())["hits"][0]["path"] == str(tmp_path / "bag13")


@pytest.mark.parametrize(
    "wrong",
    [
        {"start_s": np.array(1.0)},
        {"end_s": np.array("late")},
        {"start_s": np.array(["a", "b"])},
        {"end_s": np.array([np.nan, 1.0])},
        {"vectors": np.zeros((2, 5), np.float16)},
        {"vectors": np.zeros(2, np.float16)},
        {"vectors": np.full((2, 12), np.inf, np.float16)},
        {"start_s": np.zeros(0), "end_s": np.zeros(0), "vectors": np.zeros((0, 12), np.float16)},
    ],
)
def test_an_invalid_index_is_rebuilt(
    wrong: dict[str, np.ndarray], tmp_path: Path, aligner: Aligner
) -> None:
    """Regression: an index that came with a recording could stop the whole search."""
    path = tmp_path / "motion.npz"
    save_motion(path, swinging(("left_shoulder",), 4.0))
    made = open_index(path, aligner)
    good = {
        "key": np.load(index_path(path))["key"],
        "start_s": np.zeros(2),
        "end_s": np.ones(2),
        "vectors": np.zeros((2, aligner.width), np.float16),
    }
    np.savez(index_path(path), **{**good, **wrong})
    again = open_index(path, aligner)
    assert not again.cached
    np.testing.assert_array_equal(again.vectors, made.vectors)


def test_a_recording_whose_name_is_not_utf8_is_found(tmp_path: Path, released: str) -> None:
    """Regression: printing the name failed before the hits were written."""
    path = tmp_path / os.fsdecode(b"a\xff.npz")
    save_motion(tmp_path / "a.npz", swinging(("left_shoulder",), 4.0))
    (tmp_path / "a.npz").rename(path)
    hits = tmp_path / "hits.json"
    command = ["search", "wave", str(tmp_path), "--model", released, "--jobs", "1"]
    assert main([*command, "--json", str(hits)]) == 0
    assert json.loads(hits.read_text())["hits"][0]["path"] == str(path)
