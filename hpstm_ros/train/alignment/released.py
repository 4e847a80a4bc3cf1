"""Export of a trained alignment model, with calibrated scores."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

from hpstm_ros.language.alignment.movement import FRAMES, RATE_HZ
from hpstm_ros.language.features import FEATURES
from hpstm_ros.model.alignment import Alignment, AlignmentConfig
from hpstm_ros.train.alignment import scenes
from hpstm_ros.train.alignment.corpus import Clip, Corpus
from hpstm_ros.train.alignment.measures import clip_vectors, text_vectors
from hpstm_ros.train.alignment.training import Labels, _window, relations, scene_batch
from hpstm_ros.train.released import document_to_carry_over, load_released, save_both
from pallas_ros.torch_runtime.backend import export_stream

F64 = NDArray[np.float64]

KIND = "alignment"
_NEGATIVES = 4
_SCENES = 600


def export(model: Alignment, folder: str | Path, document: dict[str, Any]) -> Path:
    """Write ``alignment.safetensors`` and ``alignment.onnx``; the path of the latter."""
    document = {
        "kind": KIND,
        "rate_hz": RATE_HZ,
        "frames": FRAMES,
        "features": list(FEATURES),
        "config": model.config.as_dict(),
        **document,
    }
    return save_both(model, model, folder, KIND, document)


def load_model(path: str | Path) -> tuple[Alignment, dict[str, Any]]:
    """A model from ``alignment.safetensors``, and its document.

    Raises:
        PallasError: the file does not contain such a model.
    """
    return load_released(path, "an alignment", AlignmentConfig, Alignment)


def export_file(weights: Path, path: Path, git: str) -> Path:
    """Write the ``.onnx`` file of released weights for `pallas export`; their metadata are
    preserved.

    Raises:
        PallasError: the file does not contain such weights.
    """
    model, document = load_model(weights)
    return export_stream(model, path, document_to_carry_over(document, git))


def step_module(weights: Path) -> Alignment:
    """The network with released weights, as the torch backend runs it."""
    return load_model(weights)[0]


def calibrate(model: Alignment, corpus: Corpus, labels: Labels) -> dict[str, Any]:
    """Fit logistic regressions that convert similarities to scores, on the validation splits.

    ``text``: slope and offset for text and motion, with equal numbers of matching and other pairs.
    ``scene``: for the three similarities that include the scene and the unsupported shares, with
    matching and corrupted scenes.
    """
    clips = corpus.select("validation", "validation_subjects")
    texts = text_vectors(model, corpus)
    motions = clip_vectors(model, corpus, clips)
    rng = np.random.default_rng(0)
    own = []
    matches = []
    for i, clip in enumerate(clips):
        for wanted in clip.texts[: clip.written]:
            own.append(float(texts[wanted] @ motions[i]))
            matches.append(1.0)
            for other in rng.integers(len(clips), size=_NEGATIVES):
                same, alike = relations(corpus, np.array([wanted, *clips[other].texts]))
                if not (same | alike)[0, 1:].any():
                    own.append(float(texts[wanted] @ motions[other]))
                    matches.append(0.0)
    fits, corrupted = scene_evidence(model, corpus, labels, clips, _SCENES, seed=5)
    scene = logistic(
        np.concatenate((fits, corrupted)), np.repeat([1.0, 0.0], (len(fits), len(corrupted)))
    )
    text = logistic(np.array(own)[:, None], np.array(matches), balanced=True)
    return {"calibration": {"text": text.round(4).tolist(), "scene": scene.round(4).tolist()}}


def scene_evidence(
    model: Alignment, corpus: Corpus, labels: Labels, clips: list[Clip], count: int, seed: int
) -> tuple[F64, F64]:
    """Evidence (N, 6) for windows with matching scenes, and for their corrupted copies.

    It consists of three similarities and three unsupported shares.
    """
    fits, corrupted, _, _ = scene_trials(model, corpus, labels, clips, count, seed)
    return fits, corrupted


def scene_trials(
    model: Alignment, corpus: Corpus, labels: Labels, clips: list[Clip], count: int, seed: int
) -> tuple[F64, F64, list[str], NDArray[np.int64]]:
    """Like `scene_evidence` (N, 6), with the fault in each copy, and the clip of each window."""
    rng = np.random.default_rng(seed)
    owner = rng.integers(len(clips), size=count)
    ranges = []
    texts = []
    drawn = []
    for i in owner:
        clip = clips[i]
        length = min(FRAMES, clip.stop - clip.start)
        start = clip.start + int(rng.integers(clip.stop - clip.start - length + 1))
        ranges.append((start, start + length))
        texts.append(clip.texts[int(rng.integers(clip.written))])
        drawn.append(scenes.draw(corpus.points[start : start + length], rng))
    windows = [_window(corpus, at) for at in ranges]
    with torch.no_grad():
        t = model.hidden_text(
            torch.from_numpy(corpus.vectors[texts]), torch.from_numpy(corpus.explicit[texts])
        )
        m = model.motion(*(torch.from_numpy(np.stack(part)) for part in zip(*windows)))

        def evidence(kind: str) -> F64:
            rows = [
                (getattr(one, kind), corpus.points[a:b], float(corpus.heading[a]))
                for one, (a, b) in zip(drawn, ranges)
            ]
            batch = scene_batch(rows, labels)
            s, met = model.hidden_scene(*batch.arguments())
            scene = model.embed("scene", s)
            pairs = (
                (model.embed("text", t), model.embed("motion_scene", m, s, met)),
                (model.embed("text_motion", t, m), scene),
                (model.embed("motion", m), scene),
            )
            columns = [(a * b).sum(-1).numpy() for a, b in pairs]
            return np.column_stack((*columns, batch.unsupported.numpy())).astype(np.float64)

        return evidence("fits"), evidence("corrupted"), [d.fault for d in drawn], owner


def logistic(x: F64, y: F64, balanced: bool = False) -> F64:
    """Weights (D + 1,) of a logistic regression of labels y (n,) on x (n, D), the offset last, with
    slight regularisation.
    """
    weight = np.where(y > 0, 1 / max(y.sum(), 1), 1 / max((1 - y).sum(), 1)) if balanced else None
    weight = np.full(len(y), 1 / len(y)) if weight is None else weight / 2
    inputs = np.column_stack((x, np.ones(len(x))))

    def objective(w: F64) -> tuple[float, F64]:
        z = inputs @ w
        value = (weight * (np.logaddexp(0, z) - y * z)).sum() + 1e-4 * w @ w
        return float(value), inputs.T @ (weight * (expit(z) - y)) + 2e-4 * w

    return np.asarray(minimize(objective, np.zeros(inputs.shape[1]), jac=True).x)
