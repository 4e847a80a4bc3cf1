"""The alignment: its input, the judgement of scenes, training and export."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from language_samples import encode, swinging

from hpstm_ros.language.alignment.aligner import Aligner
from hpstm_ros.language.alignment.movement import (
    FRAMES,
    Movement,
    mirrored,
    movement,
    padded,
    windows,
)
from hpstm_ros.language.alignment.scene import (
    BOXES,
    Box,
    box_arrays,
    box_distance,
    load_scene,
    scene_inputs,
)
from hpstm_ros.model.alignment import OUTPUTS, Alignment
from hpstm_ros.train.alignment import scenes
from hpstm_ros.train.alignment.corpus import Corpus
from hpstm_ros.train.alignment.evaluate import bag_of_words, rows_of
from hpstm_ros.train.alignment.measures import clip_vectors, retrieval, sides, text_vectors
from hpstm_ros.train.alignment.released import calibrate, load_model, logistic
from hpstm_ros.train.alignment.training import (
    Labels,
    Stream,
    TrainingSettings,
    contrast,
    loss,
    train,
)
from pallas_ros.body import rotations
from pallas_ros.body.errors import PallasError
from pallas_ros.body.motion import Motion
from pallas_ros.body.names import MIRROR
from pallas_ros.train.loop import LoopSettings


def seated(seat: float = 0.5) -> np.ndarray:
    """Points of a person who sits still at the origin for 4 s, with the feet in front."""
    points = np.zeros((FRAMES, 8, 3), np.float32)
    points[:, 0] = (0, 0, seat + 0.1)
    points[:, 1] = (0, 0, seat + 0.7)
    points[:, 2:4] = [(0.3, 0.2, seat + 0.2), (0.3, -0.2, seat + 0.2)]
    points[:, 4:6] = [(0.45, 0.15, seat), (0.45, -0.15, seat)]
    points[:, 6:8] = [(0.5, 0.15, 0.04), (0.5, -0.15, 0.04)]
    return points


def turned(motion: Motion, angle: float, shift: tuple[float, float, float]) -> Motion:
    """Return the motion at another place and heading."""
    turn = np.broadcast_to(rotations.about_z(angle), motion.rotations.shape)
    p = rotations.rotate(turn[..., :1, :].repeat(22, axis=-2), motion.positions)
    q = rotations.multiply(turn, motion.rotations)
    return replace(motion, positions=np.asarray(p) + shift, rotations=np.asarray(q))


def test_features_do_not_depend_on_place_heading_size_or_rate() -> None:
    motion = swinging(("left_shoulder",))
    base = movement(motion).features
    elsewhere = movement(turned(motion, 1.2, (3.0, -2.0, 0.4))).features
    np.testing.assert_allclose(base, elsewhere, atol=1e-4)
    larger = replace(motion, positions=motion.positions * 1.1)
    np.testing.assert_allclose(base, movement(larger).features, atol=1e-3)
    faster = swinging(("left_shoulder",), fps=60.0)
    np.testing.assert_allclose(base[:45], movement(faster).features[:45], atol=0.02)


def test_mirrored_features_are_those_of_the_mirrored_motion() -> None:
    motion = swinging(("left_shoulder", "right_knee"))
    flip = np.array([1.0, -1.0, 1.0])
    R = rotations.to_matrix(motion.rotations)[:, list(MIRROR)] * (flip[:, None] * flip)
    other = replace(
        motion,
        positions=motion.positions[:, list(MIRROR)] * flip,
        rotations=np.asarray(rotations.from_matrix(R)),
    )
    np.testing.assert_allclose(
        mirrored(movement(motion).features), movement(other).features, atol=1e-4
    )


def test_frames_that_do_not_hold_are_bridged_and_marked() -> None:
    motion = swinging(("left_shoulder",))
    broken = replace(motion, positions=motion.positions.copy())
    broken.positions[30:60] = np.nan
    moved = movement(broken)
    assert np.isfinite(moved.features).all()
    assert not moved.valid[12:19].any()
    assert moved.valid[:9].all()
    with pytest.raises(PallasError, match="smooth it first"):
        movement(replace(motion, positions=np.full_like(motion.positions, np.nan)))


def test_windows_cover_a_motion_to_its_end() -> None:
    assert windows(15) == [(0, 15)]
    assert windows(40) == [(0, 40)]
    assert windows(57) == [(0, 40), (10, 50), (17, 57)]
    features, there = padded(np.ones((57, 85), np.float32), 50, 57)
    assert there.sum() == 7
    assert features[7:].sum() == 0


def test_distance_from_boxes_is_negative_inside() -> None:
    box = Box("table", (1.0, 0.0, 0.5), (2.0, 1.0, 1.0), np.pi / 2)
    points = np.array([[1.0, 0.0, 0.5], [1.0, 1.5, 0.5], [2.0, 0.0, 0.5]], np.float32)
    arrays = (
        np.array([box.centre], np.float32),
        np.array([box.size], np.float32),
        np.array([box.yaw], np.float32),
    )
    np.testing.assert_allclose(box_distance(*arrays, points)[0], [-0.5, 0.5, 0.5], atol=1e-5)


def test_who_sits_needs_a_seat() -> None:
    points = seated()
    chair = Box("chair", (0.0, 0.0, 0.25), (0.5, 0.5, 0.5))
    with_seat, without = (scene_inputs(b, points, 0.0) for b in ([chair], []))
    assert with_seat.need[0] == without.need[0] == 1
    assert (with_seat.need[2], without.need[2]) == (0, 1)
    assert with_seat.meetings[0, 10] == 1
    far = scene_inputs([replace(chair, centre=(2.0, 0.0, 0.25))], points, 0.0)
    assert far.need[2] == 1


def test_of_many_boxes_the_nearest_are_read() -> None:
    boxes = [Box("shelf", (3.0 + 0.1 * i, 0.0, 0.5), (0.4, 0.4, 1.0)) for i in range(10_000)]
    boxes.append(Box("chair", (0.0, 0.0, 0.25), (0.5, 0.5, 0.5)))
    found = scene_inputs(boxes, seated(), 0.0)
    assert len(found.labels) == BOXES
    assert found.labels[0] == "chair"


def test_a_scene_file_has_thousands_of_boxes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Regression: a file of 7000 boxes was refused as not a scene, with a limit of 100000 boxes."""
    path = tmp_path / "scene.yaml"
    row = "  - {label: box, centre: [1.25, 2.0, 0.5], size: [0.5, 0.5, 1], yaw: 0.1}\n"
    path.write_text("boxes:\n" + row * 7000)
    assert len(load_scene(path)) == 7000
    monkeypatch.setattr("hpstm_ros.language.alignment.scene.MAX_BOXES", 10)
    path.write_text("boxes:\n" + row * 11)
    with pytest.raises(PallasError, match="11 boxes, but at most 10"):
        load_scene(path)


def test_scenes_fit_and_their_copies_do_not() -> None:
    rng = np.random.default_rng(0)
    faults = set()
    for _ in range(30):
        drawn = scenes.draw(seated(), rng)
        faults.add(drawn.fault)
        fits = scene_inputs(drawn.fits, seated(), 0.0)
        wrong = scene_inputs(drawn.corrupted, seated(), 0.0)
        assert fits.need[2] == 0
        assert fits.meetings[:, 5:10].sum() == pytest.approx(0, abs=1e-6)
        assert wrong.need[2] > 0 or wrong.meetings[:, 5:10].sum() > 0
    assert faults == {"in the way", "missing", "moved"}


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("boxes: [{label: chair, centre: [0, 0, .nan], size: [1, 1, 1]}]", "finite"),
        ("boxes: [{label: chair, centre: [0, 0, 0], size: [1, 0, 1]}]", "above 0"),
        ("boxes: [{label: '', centre: [0, 0, 0], size: [1, 1, 1]}]", "label"),
        ("boxes: [{label: chair, centre: [0, 0], size: [1, 1, 1]}]", "centre"),
        (
            "boxes: [{label: chair, centre: [0, 0, 0], size: [1, 1, 1], yaw: 1.0e+300}]",
            "box 1: .*yaw",
        ),
        ("boxes: 3", "not a scene"),
        ("chairs: []", "not a scene"),
    ],
)
def test_scenes_that_cannot_be_are_refused(tmp_path: Path, text: str, match: str) -> None:
    path = tmp_path / "scene.yaml"
    path.write_text(text)
    with pytest.raises(PallasError, match=match):
        load_scene(path)


def test_a_scene_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "scene.yaml"
    path.write_text("boxes: [{label: chair, centre: [0, 1, 0.2], size: [1, 1, 0.4], yaw: 0.5}]")
    (box,) = load_scene(path)
    assert box == Box("chair", (0.0, 1.0, 0.2), (1.0, 1.0, 0.4), 0.5)
    assert box.top == pytest.approx(0.4)


def test_padding_and_absent_boxes_change_nothing(model: Alignment) -> None:
    inputs = {k: torch.rand(v.shape) for k, v in model.example_inputs(2).items()}
    inputs["valid"] = torch.ones_like(inputs["valid"])
    inputs["valid"][:, 20:] = 0
    inputs["there"] = torch.zeros_like(inputs["there"])
    inputs["there"][:, :3] = 1
    with torch.no_grad():
        first = model(*inputs.values())
        inputs["movement"][:, 20:] += 5
        inputs["shapes"][:, 3:] += 5
        inputs["labels"][:, 3:] += 5
        inputs["meetings"][:, 3:] += 5
        second = model(*inputs.values())
    for a, b in zip(first, second):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_the_contrast_is_least_where_pairs_agree() -> None:
    same = torch.eye(4, dtype=torch.bool)
    good = contrast(20 * torch.eye(4), same, torch.zeros_like(same))
    bad = contrast(20 * torch.eye(4).roll(1, 0), same, torch.zeros_like(same))
    assert good < 0.01 < 10 < bad
    two = torch.ones(4, 4, dtype=torch.bool)
    assert contrast(torch.rand(4, 4), two, ~two) == pytest.approx(0, abs=1e-5)


def test_training_runs_resumes_and_distinguishes_left_and_right(
    corpus: Corpus, tmp_path: Path
) -> None:
    labels = Labels(encode)
    settings = TrainingSettings(
        batch=8,
        scenes=4,
        model=replace(TrainingSettings().model, width=16, dim=12, parts=2, sentence=16),
        loop=LoopSettings(steps=4, warm_up=1, validate_every=2),
    )
    generator = torch.Generator().manual_seed(0)
    batch = next(Stream(corpus, corpus.select("train"), settings, labels, generator))
    assert batch.positive.diagonal().all()
    assert not (batch.positive & batch.ignored).any()
    sided = (batch.features[:8] != batch.features[8:]).any(1)
    assert not batch.positive[:8, 8:].diagonal()[sided].any()
    model, _ = train(corpus, labels, settings, tmp_path)
    resumed = replace(settings, loop=replace(settings.loop, steps=5))
    model, _ = train(corpus, labels, resumed, tmp_path)
    value, parts = loss(model, batch, 1.0)
    assert torch.isfinite(value)
    assert set(parts) == {"text_motion", "text_scene", "motion_scene", "pairs"}
    assert "pairs" not in loss(model, batch, 0.0)[1]


def test_retrieval_counts_texts_of_equal_meaning(corpus: Corpus) -> None:
    clips = corpus.clips
    texts = np.eye(len(corpus.meanings.tolist()), dtype=np.float32)[corpus.meanings]
    motions = texts[[clip.texts[0] for clip in clips]]
    found = retrieval(corpus, clips, texts, motions, seed=0, pools=3)
    assert found.first.mean() == 1
    assert 0 < found.chance.mean() < 0.5
    sided = sides(corpus, clips, texts, motions, texts[[clip.mirrored[0] for clip in clips]])
    assert sided.right.mean() == 1
    assert set(sided.clip) == {
        i for i, c in enumerate(clips) if c.labels.content.endswith(("left-hand", "right-hand"))
    }


def test_evaluation_prints_every_figure(
    corpus: Corpus, model: Alignment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hpstm_ros.train.alignment.evaluate.SCENES", 30)
    monkeypatch.setattr("hpstm_ros.train.alignment.evaluate.POOLS", 2)
    monkeypatch.setattr("hpstm_ros.train.alignment.released._SCENES", 30)
    more = replace(
        corpus, clips=[replace(c, labels=replace(c.labels, split="seen")) for c in corpus.clips]
    )
    labels = Labels(encode)
    document = calibrate(model, corpus, labels)
    rows = rows_of("alignment", model, document, more, labels, "seen")
    known = replace(corpus, clips=[*corpus.clips, *more.clips])
    rows += bag_of_words(known, "seen")
    assert {(row["name"], row["metric"]) for row in rows} >= {
        ("alignment", "text_to_motion_r1_pct"),
        ("alignment", "corrupted_scenes_detected_pct"),
        ("alignment", "sides_distinguished_pct"),
        ("bag_of_words", "text_to_motion_r3_pct"),
    }
    for row in rows:
        if "low" in row:
            assert 0 <= row["low"] <= row["value"] <= row["high"] <= 100


@pytest.mark.parametrize(("height", "floor"), [(1.55, 0.0), (1.95, 0.0), (1.75, 0.5), (1.6, -2.0)])
def test_boxes_are_in_the_world_of_the_motion(
    aligner: Aligner, height: float, floor: float
) -> None:
    """A scene scaled and moved together with the body fits as well."""
    motion = turned(swinging(("left_shoulder",)), 0.4, (4.0, -7.0, 0.0))
    box = Box("table", (4.3, -6.8, 0.4), (0.6, 0.8, 0.8), 0.3)
    size = height / 1.75
    other = replace(motion, positions=size * motion.positions + [0.0, 0.0, floor])
    x, y, z = (size * c for c in box.centre)
    moved_box = Box("table", (x, y, z + floor), tuple(size * s for s in box.size), box.yaw)
    expected = scene_evidence(motion, box)
    np.testing.assert_allclose(scene_evidence(other, moved_box), expected, atol=1e-3)
    fits = [aligner.scene_fit(m, "wave", [b]) for m, b in ((motion, box), (other, moved_box))]
    assert fits[1] == pytest.approx(fits[0], abs=1e-3)
    stays = scene_evidence(other, box)
    assert np.abs(stays - expected).max() > 0.01


def scene_evidence(motion: Motion, box: Box) -> np.ndarray:
    """Return shape and contacts of a box, as `Aligner.scene_fit` computes them for a motion."""
    moved = movement(motion)
    points = moved.points[:FRAMES]
    at = scene_inputs(
        [box],
        points,
        float(moved.heading[0]),
        box_arrays([box], moved.scale, moved.floor),
    )
    return np.concatenate((at.shapes[0], at.meetings[0]))


def test_the_logistic_regression_finds_the_boundary() -> None:
    x = np.linspace(-1, 1, 201)[:, None]
    slope, offset = logistic(x, (x[:, 0] > 0.3).astype(float))
    assert slope > 0
    assert -offset / slope == pytest.approx(0.3, abs=0.05)


def test_the_exported_network_gives_the_same_embeddings(
    model: Alignment, model_file: Path, aligner: Aligner, corpus: Corpus
) -> None:
    clips = corpus.clips[:3]
    moved = Movement(
        corpus.features[: clips[2].stop].astype(np.float32),
        corpus.points[: clips[2].stop],
        corpus.heading[: clips[2].stop],
        np.ones(clips[2].stop, np.bool_),
    )
    expected = clip_vectors(model, corpus, clips)
    got = [
        aligner.movements(moved, [(c.start, c.stop)])[0]
        for c in clips
        if len(range(c.start, c.stop)) <= 40
    ]
    np.testing.assert_allclose(got, expected[: len(got)], atol=1e-4)
    text = corpus.texts[0]
    np.testing.assert_allclose(aligner.texts([text])[0], text_vectors(model, corpus)[0], atol=1e-4)
    again, document = load_model(model_file.with_suffix(".safetensors"))
    assert again.config == model.config
    assert document["kind"] == "alignment"
    assert tuple(OUTPUTS) == model.output_names


def test_scores_are_percentages_and_a_scene_can_only_lower_them(aligner: Aligner) -> None:
    motion = swinging(("left_shoulder",))
    alone = aligner.score(motion, "raise the left hand")
    chair = Box("chair", (2.0, 0.0, 0.25), (0.5, 0.5, 0.5))
    assert 0 < aligner.score(motion, "raise the left hand", [chair]) < alone < 100
    assert 0 < aligner.score(motion, "raise the left hand", []) < alone
    several = aligner.scores([motion, swinging(("right_knee",))], "raise the left hand")
    assert several[0] == pytest.approx(alone)
    with pytest.raises(PallasError, match="text is empty"):
        aligner.score(motion, "  ")


def test_every_label_of_a_large_scene_is_read_and_boxes_are_converted_once(
    aligner: Aligner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Regression: labels after the first 1000 were zero, and each window converted all boxes."""
    converted = 0

    def counted(boxes: list[Box], *how: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        nonlocal converted
        converted += 1
        return box_arrays(boxes, *how)

    monkeypatch.setattr("hpstm_ros.language.alignment.scene.box_arrays", counted)
    monkeypatch.setattr("hpstm_ros.language.alignment.aligner.box_arrays", counted)
    motion = swinging(("left_shoulder",), 8.0)
    near = [Box("chair", (0.6, 0.2 * i, 0.25), (0.5, 0.5, 0.5)) for i in range(BOXES)]
    far = [Box(f"shelf {i}", (90.0, 0.0, 0.5), (0.4, 0.4, 1.0)) for i in range(1500)]
    fits = [aligner.scene_fit(motion, "wave", scene) for scene in (near, far + near)]
    assert fits[0] == pytest.approx(fits[1], abs=1e-6)
    assert converted == 2
