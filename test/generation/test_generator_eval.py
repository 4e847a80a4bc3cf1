"""Baselines and figures of generated motion, on a small library and with tiny networks."""

from pathlib import Path

import numpy as np
import pytest

from hpstm_ros.generation import representation as rep
from hpstm_ros.generation.expectation import Expectation
from hpstm_ros.generation.flow import Flow
from hpstm_ros.language.descriptions import Descriptions
from hpstm_ros.train import generator_measures as measures
from hpstm_ros.train.generator_eval import GeneratorEvaluation
from hpstm_ros.train.retrieval import Retrieval, with_noise
from pallas_ros.body import rotations
from pallas_ros.body.errors import PallasError
from pallas_ros.data.library import LibraryClip, MotionLibrary
from pallas_ros.imu.motions import demo_motion

SPLITS = ("train", "train", "seen", "unseen_subjects")
SECONDS = 20.0


@pytest.fixture(scope="module")
def library() -> MotionLibrary:
    """Four clips of smooth motion; the second one is short."""
    motion = demo_motion(duration=4 * SECONDS)
    frames = round(SECONDS * 60)
    starts = [k * frames for k in range(4)]
    stops = [frames, frames + 180, 3 * frames, 4 * frames]
    clips = tuple(
        LibraryClip("cmu_full", f"c{k}", "", "", split, start, stop)
        for k, (split, start, stop) in enumerate(zip(SPLITS, starts, stops, strict=True))
    )
    return MotionLibrary(
        clips,
        np.round(motion.rotations[: 4 * frames] * 32767).astype(np.int16),
        motion.positions[: 4 * frames, 0].astype(np.float32),
        np.ones((4 * frames, 2), np.bool_),
    )


def test_noise_of_the_baseline_is_smooth_and_leaves_the_root() -> None:
    """Regression: white noise of 5 cm moved the root in every frame."""
    clean = rep.from_motion(demo_motion(duration=8.0))[0][:120]
    noisy = with_noise(clean, np.random.default_rng(0))
    same = np.r_[0:9, 135:137]
    np.testing.assert_array_equal(noisy[:, same], clean[:, same])
    q = rep.decode(clean)[0]
    angle = np.degrees(rotations.angle_between(q, rep.decode(noisy)[0]))[:, 1:]
    assert 2.0 < np.sqrt((angle**2).mean()) < 5.0
    p = rep.positions(clean)
    white = np.random.default_rng(0).standard_normal(clean.shape)
    white[:, same] = 0.0
    rough = rep.positions(clean + 0.05 * white)
    assert measures.jerk(rep.positions(noisy)) - measures.jerk(p) < 0.02 * measures.jerk(rough)


def test_hover_does_not_depend_on_declared_contacts() -> None:
    features = rep.from_motion(demo_motion(duration=8.0))[0][:120]
    p = rep.positions(features)
    height = measures._lowest_foot(p)[..., None, None]
    p[..., 2:] -= height
    assert measures.hover_cm(p) == pytest.approx(0.0, abs=1e-9)
    assert measures.hover_cm(p + [0, 0, 0.25]) == pytest.approx(25.0)
    assert measures.mean_penetration_cm(p - [0, 0, 0.1]) == pytest.approx(10.0)
    features[:, rep.CONTACTS] = 0.0
    assert measures.slide_cm_s(features, p) == 0.0
    assert measures.contact_percent(features) == 0.0


def test_units_follow_the_names_of_the_metrics() -> None:
    names = ("hover_cm", "slide_cm_s", "bone_variation_mm", "contact_percent", "jerk_ratio")
    assert [measures.unit_of(name) for name in names] == ["cm", "cm/s", "mm", "%", ""]


def test_samples_and_hands_have_figures_on_the_floor(
    library: MotionLibrary, tiny_flow: Flow, tiny_expectation: Expectation, tmp_path: Path
) -> None:
    evaluation = GeneratorEvaluation(library, tmp_path, tiny_flow, tiny_expectation, 2)
    evaluation.samples()
    found = {(row["name"], row["metric"]): row["value"] for row in evaluation.rows}
    for name in ("real", "hpstm_gen", "no_corrections", "retrieval_with_noise"):
        for metric in ("hover_cm", "mean_penetration_cm", "contact_percent", "slide_cm_s"):
            assert found[name, metric] >= 0
    _, train = evaluation._windows("train", 12, seed=1)
    (drawn,) = evaluation._retrieved([""], train)
    assert any(np.array_equal(drawn[:, rep.ROOT], one[:, rep.ROOT]) for one in train)


class Letters:
    """A stand-in for the sentence encoder: unit vectors of letter counts."""

    def encode(self, texts: list[str]) -> np.ndarray:
        """See `TextEncoder.encode`."""
        rows = np.array([[text.count(c) for c in "abcdefghijklmnopqrstuvwxyz"] for text in texts])
        return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def test_retrieval_returns_the_most_similar_clips_that_are_long_enough(
    library: MotionLibrary,
) -> None:
    texts = Descriptions({"c0": "a person walks", "c1": "jump", "c2": "jumping", "c3": "jump"})
    draw = Retrieval(library, texts, Letters())  # type: ignore[arg-type]
    (near,) = draw("jump", 0, 1, 2.0)
    expected = rep.from_motion(library.motion(library.clips[1]))[0][:60]
    np.testing.assert_allclose(near.rotations, rep.to_motion(expected, fps=30).rotations)
    (long,) = draw("jump", 0, 1, 4.0)
    assert (len(long), long.fps) == (120, 30.0)
    assert len(draw("jump", 0, 2, 2.0)) == 2
    with pytest.raises(PallasError, match="fewer than 2"):
        draw("jump", 0, 2, 4.0)
    with pytest.raises(PallasError, match="no clip"):
        Retrieval(library, Descriptions(), Letters())  # type: ignore[arg-type]
