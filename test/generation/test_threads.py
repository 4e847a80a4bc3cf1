"""A preempted job and its successor share the models, and a cancelled job has no outcome."""

import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from hpstm_ros.generation import poses
from hpstm_ros.generation.guard import VALUES, WINDOW, MotionGuard
from hpstm_ros.generation.job import Job
from hpstm_ros.generation.poses import ROWS, TOKENS, WIDTH, PoseSampler
from hpstm_ros.generation.producer import Outcome
from hpstm_ros.generation.request import Request
from hpstm_ros.language.alignment import aligner
from hpstm_ros.language.alignment.aligner import Aligner


class SlowStream:
    """Like `pallas_ros.runtime.Stream`, with one buffer for each input and time to overwrite it."""

    def __init__(
        self,
        inputs: Mapping[str, tuple[int, ...]],
        outputs: Mapping[str, tuple[int, ...]],
        model: Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]],
        metadata: Mapping[str, Any],
    ) -> None:
        self.inputs = inputs
        self.outputs = outputs
        self.metadata = metadata
        self._model = model
        self._buffers = {name: np.zeros(shape, np.float32) for name, shape in inputs.items()}

    def step(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """See `Stream.step`."""
        for name, buffer in self._buffers.items():
            buffer[...] = inputs[name]
        time.sleep(0.02)
        return self._model(self._buffers)


def at_once(work: Callable[[float], Any], values: list[float]) -> list[Any]:
    """Results of ``work`` for the values, each in a thread of its own."""
    barrier = threading.Barrier(len(values))

    def one(value: float) -> Any:
        barrier.wait()
        return work(value)

    with ThreadPoolExecutor(len(values)) as pool:
        return list(pool.map(one, values))


def test_the_guard_judges_the_motion_of_its_own_thread() -> None:
    """Regression: buffers were shared, so that violent motion could get the score of another."""
    stream = SlowStream(
        {"frames": (1, WINDOW, VALUES)},
        {"logit": (1, 1)},
        lambda given: {"logit": given["frames"][:, 0, :1]},
        {},
    )
    guard = MotionGuard(stream)  # type: ignore[arg-type]
    logits = [-4.0, 0.0, 4.0]
    found = at_once(
        lambda x: guard.probability(np.full((1, WINDOW, VALUES), x, np.float32)), logits
    )
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-np.array(logits))), atol=1e-6)


def test_the_alignment_scores_the_motion_of_its_own_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = SlowStream(
        {"movement": (16, 2)},
        {"motion": (16, 2)},
        lambda given: {"motion": given["movement"]},
        {"calibration": {"text": [1, 0], "scene": [0] * 7}},
    )
    monkeypatch.setattr(aligner, "open_stream", lambda *args, **options: stream)
    monkeypatch.setattr(aligner, "check_tensors", lambda *args: None)  # one input suffices here
    scorer = Aligner()
    found = at_once(lambda x: scorer._run([{"movement": np.full(2, x)}], "motion"), [1.0, 2.0, 3.0])
    assert [float(each["motion"][0, 0]) for each in found] == [1.0, 2.0, 3.0]


def test_poses_are_those_of_their_own_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = {
        "pose": (16, ROWS, WIDTH),
        "time": (16, 1),
        "tokens": (16, TOKENS, 2),
        "mask": (16, TOKENS),
        "explicit": (16, 1),
    }
    stream = SlowStream(
        shapes,
        {"clean": shapes["pose"], "attention": shapes["mask"]},
        lambda given: {"clean": given["pose"], "attention": given["mask"]},
        {"mean": np.zeros((ROWS, WIDTH)), "deviation": np.ones((ROWS, WIDTH))},
    )
    monkeypatch.setattr(poses, "open_stream", lambda *args, **options: stream)
    monkeypatch.setattr(poses, "check_tensors", lambda *args: None)
    sampler = PoseSampler(encoder=SimpleNamespace())  # type: ignore[arg-type]
    text = poses.TextInputs(np.zeros((TOKENS, 2)), np.ones(TOKENS), np.zeros(1), ())

    def predicted(x: float) -> float:
        noise = np.full((8, ROWS, WIDTH), x)
        noise[:, 0] = -x
        return float(sampler._predict(noise, 0, text, 1.0)[0][0, 1, 0])

    np.testing.assert_allclose(at_once(predicted, [1.0, 2.0, 3.0]), [1.0, 2.0, 3.0], atol=1e-6)


def test_a_job_that_is_cancelled_after_the_last_stage_has_no_outcome() -> None:
    """Regression: no progress is reported after the candidates are corrected."""
    begun = threading.Event()
    released = threading.Event()

    class LateProducer:
        def produce(self, request: Request, model: str, progress: object) -> Outcome:
            """See `Producer.produce`."""
            begun.set()
            released.wait(5.0)
            return Outcome([])

    job = Job(LateProducer(), Request("wave"), "flow")  # type: ignore[arg-type]
    assert begun.wait(5.0)
    job.cancel()
    released.set()
    job.wait(5.0)
    assert job.outcome is None
    assert job.error == "cancelled"
