"""The classifier of violent motion, the list of violent words, and concepts."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from hpstm_ros.generation.concepts import Concept
from hpstm_ros.generation.guard import (
    WINDOW,
    MotionGuard,
    guard_frames,
    released_refusal,
    windows,
)
from hpstm_ros.generation.heading_frames import encode
from hpstm_ros.generation.producer import Producer
from hpstm_ros.generation.representation import from_motion
from hpstm_ros.generation.request import Request
from hpstm_ros.generation.violent_words import is_violent
from hpstm_ros.model.violence import ViolenceClassifier, ViolenceStep
from hpstm_ros.train.violence import area_under_curve, guard_windows
from pallas_ros.body.errors import PallasError
from pallas_ros.body.motion import Motion
from pallas_ros.imu.motions import demo_motion
from pallas_ros.torch_runtime.backend import export_stream


@pytest.mark.parametrize(
    "text",
    [
        "Left_Punch_Sequence001",
        "A person is doing kickboxing with his left leg.",
        "violence - A picks up high stool, threatens to strike B",
        "Front_Kicking",
        "push another person away",
        "someone fights",
        "Heiansyodan",
    ],
)
def test_words_of_violence(text: str) -> None:
    assert is_violent(text)


@pytest.mark.parametrize(
    "text",
    [
        "pick up box, bend from waist",
        "kick a soccer ball",
        "pushing a broom",
        "strike a pose",
        "KickFlip",
        "HandStandKicks",
        "wave with the right hand",
        "shovel snow",
        "push heavy object",
    ],
)
def test_harmless_words(text: str) -> None:
    assert not is_violent(text)


def _part(motion: Motion) -> Motion:
    return Motion(motion.fps, motion.positions[240:480], motion.rotations[240:480])


def test_training_and_guard_see_the_same() -> None:
    motion = _part(demo_motion(duration=10.0))
    seen = guard_frames(motion)[:WINDOW]
    q = motion.rotations[::2]
    root = motion.positions[::2, 0]
    frames = encode(q, root, np.zeros((len(q), 2)))
    trained = guard_windows(torch.from_numpy(frames[None, :WINDOW]))[0].numpy()
    np.testing.assert_allclose(seen, trained, atol=2e-3)


@pytest.mark.parametrize("frames", [1, 10, 64, 65, 100, 200])
def test_windows_reach_the_end(frames: int) -> None:
    x = np.arange(frames, dtype=np.float32)[:, None]
    cut = windows(x)
    assert cut.shape[1:] == (WINDOW, 1)
    assert cut[0, 0, 0] == 0
    assert cut[-1, -1, 0] == frames - 1


@pytest.fixture(scope="module")
def guard(tmp_path_factory: pytest.TempPathFactory) -> MotionGuard:
    """An untrained classifier."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("guard") / "violence.onnx"
    export_stream(ViolenceStep(ViolenceClassifier(8)), path, {"kind": "violence", "threshold": 0.5})
    return MotionGuard.open(path)


def test_guard_scores_and_refuses(guard: MotionGuard) -> None:
    motion = _part(demo_motion(duration=10.0))
    score = guard.score(motion)
    assert 0 < score < 1
    guard.threshold = score + 1e-6
    assert guard.refusal(motion) is None
    guard.threshold = score
    refusal = guard.refusal(motion)
    assert refusal is not None
    assert "violent" in refusal
    motion.positions[3, 4, 0] = np.nan
    with pytest.raises(PallasError, match="not finite"):
        guard.score(motion)


@pytest.mark.parametrize("where", [0, -1])
def test_a_score_that_is_not_a_number_refuses(
    guard: MotionGuard, where: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Regression: NaN is not above the threshold, so the motion was accepted."""
    motion = _part(demo_motion(duration=10.0))
    scores = np.full(len(windows(guard_frames(motion))), 0.1)
    scores[where] = np.nan
    each = iter(scores)
    monkeypatch.setattr(guard, "probability", lambda window: next(each))
    monkeypatch.setattr(guard, "threshold", 0.5)
    assert len(scores) > 1
    assert guard.refusal(motion) is not None


@pytest.mark.parametrize("threshold", [float("nan"), -1, 2, True, "0.5", None, [0.5]])
def test_an_invalid_threshold_is_refused(guard: MotionGuard, threshold: object) -> None:
    """Regression: a threshold that is not a number accepted every motion."""
    stream = replace_metadata(guard, {"threshold": threshold})
    with pytest.raises(PallasError, match="threshold"):
        MotionGuard(stream)


def replace_metadata(guard: MotionGuard, changed: dict[str, object]) -> Any:
    stream = guard._stream
    metadata = {**stream.metadata, **changed}
    return SimpleNamespace(inputs=stream.inputs, outputs=stream.outputs, metadata=metadata)


def test_other_models_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PallasError):
        MotionGuard.open("models/hpstm.onnx")
    with pytest.raises(PallasError):
        MotionGuard.open(tmp_path / "none.onnx")


def test_area_under_curve() -> None:
    labels = np.array([False, True, False, True])
    assert area_under_curve(np.array([0.1, 0.9, 0.2, 0.8]), labels) == 1.0
    assert area_under_curve(np.array([0.9, 0.1, 0.8, 0.2]), labels) == 0.0


def test_concepts_are_their_words() -> None:
    dance = Concept.named("dance")
    assert dance.mentioned("A person dances the salsa")
    assert not dance.mentioned("a person walks in circles")
    assert len(Concept.named("violence").pairs) > 10


def test_a_concept_without_pairs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PallasError, match="has no pairs"):
        Concept.named("juggling")
    path = tmp_path / "empty.yaml"
    path.write_text("name: empty\npairs: []\n")
    with pytest.raises(PallasError, match="has no pairs"):
        Concept.load(path)
    path.write_text("pairs:\n  - [only one]\n")
    with pytest.raises(PallasError, match="pair 1 is not two sentences"):
        Concept.load(path)


class Drawn:
    """A generator that returns the demonstration motion twice."""

    def generate(self, request: Request, progress: object) -> np.ndarray:
        """See the class."""
        frames = from_motion(_part(demo_motion(duration=10.0)))[0][:60]
        return np.stack((frames, frames))


def test_what_the_guard_refuses_is_not_produced() -> None:
    answers = iter(["violent", None, "violent", "violent"])
    producer = Producer(
        score=lambda motion, text: 1.0,
        generators={"drawn": Drawn()},
        refuses=lambda motion: next(answers),
    )
    request = Request(text="wave", seconds=2.0, candidates=2)
    assert len(producer.produce(request, "drawn").candidates) == 1
    with pytest.raises(PallasError, match=r"^violent$"):
        producer.produce(request, "drawn")


def test_released_guard_lets_harmless_motion_pass() -> None:
    assert released_refusal(_part(demo_motion(duration=10.0))) is None


@pytest.mark.parametrize("text", ["punch someone", "a man kicks the opponent", "Boxing_03"])
def test_a_request_in_words_of_violence_is_refused_before_anything_is_drawn(text: str) -> None:
    class Never:
        def generate(self, request: object, progress: object) -> None:
            pytest.fail("drawn")

    producer = Producer(score=lambda motion, text: 50.0, generators={"flow": Never()})
    with pytest.raises(PallasError, match="describes violence"):
        producer.produce(Request(text=text))


def test_candidates_that_the_robot_can_follow_come_first() -> None:
    stretches = iter([1.6, 1.0, 3.0, 2.0])
    producer = Producer(
        score=lambda motion, text: 1.0,
        generators={"drawn": Drawn()},
        refuses=lambda motion: None,
        stretch=lambda motion: next(stretches),
    )
    request = Request(text="wave", seconds=2.0, candidates=2)
    outcome = producer.produce(request, "drawn")
    assert [candidate.stretch for candidate in outcome.candidates] == [1.0, 1.6]
    assert "the robot" not in " ".join(outcome.warnings)
    outcome = producer.produce(request, "drawn")
    assert [candidate.stretch for candidate in outcome.candidates] == [2.0, 3.0]
    assert "the robot needs 2.0 times as long" in outcome.warnings[-1]
