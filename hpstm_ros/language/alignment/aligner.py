"""Run time of the alignment model: embeddings, and scores of text, motion and scene."""

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from hpstm_ros.language.encoder import TextEncoder, checked
from hpstm_ros.language.features import FEATURES, encode_features
from pallas_ros.body.errors import PallasError
from pallas_ros.body.motion import Motion
from pallas_ros.body.resources import resource
from pallas_ros.runtime import Sizes, check_tensors, open_stream

from .movement import FRAMES, Movement, movement, padded, windows
from .movement import WIDTH as MOVEMENT_WIDTH
from .scene import (
    BOXES,
    MEETING_WIDTH,
    NEED_WIDTH,
    SHAPE_WIDTH,
    Box,
    SceneInputs,
    box_arrays,
    scene_inputs,
)

F32 = NDArray[np.float32]

MODEL: Final = "models/alignment.onnx"
_BATCH: Final = 16
_STEP: Final = 10
"""Frames (1 s) between the starts of the windows of a motion."""
_INPUTS: Final[dict[str, Sizes]] = {
    "sentence": ("width",),
    "features": (len(FEATURES),),
    "movement": (FRAMES, MOVEMENT_WIDTH),
    "valid": (FRAMES,),
    "shapes": (BOXES, SHAPE_WIDTH),
    "labels": (BOXES, "width"),
    "meetings": (BOXES, MEETING_WIDTH),
    "there": (BOXES,),
    "need": (NEED_WIDTH,),
}
_OUTPUTS: Final[dict[str, Sizes]] = dict.fromkeys(
    ("text", "motion", "scene", "text_motion", "motion_scene"), ("dim",)
)


@dataclass(frozen=True)
class Calibration:
    """Logistic regressions from similarities to the probability of a match.

    Attributes:
        text: slope and offset, for text and motion.
        scene: slopes of the three similarities that include the scene, slopes of the three shares
            of `SceneInputs.unsupported`, and the offset.
    """

    text: tuple[float, float]
    scene: tuple[float, ...]


class Aligner:
    """The alignment model and its sentence encoder; several threads may share it.

    Args:
        model: the ``.onnx`` file.
        encoder: sentence encoder; MiniLM by default.

    Raises:
        PallasError: the model or the encoder cannot be used.
    """

    def __init__(self, model: str | Path = MODEL, encoder: TextEncoder | None = None) -> None:
        path = resource(model)
        self._stream = open_stream(
            path, "onnxruntime", _BATCH, expect={"kind": "alignment", "frames": FRAMES}
        )
        check_tensors(path, self._stream, _INPUTS, _OUTPUTS)
        self._one_at_a_time = threading.Lock()
        self.calibration = _calibration(self._stream.metadata, path)
        self.sha256 = str(self._stream.metadata.get("sha256", ""))
        self._encoder = encoder

    @classmethod
    def default(cls) -> "Aligner":
        """The released model, loaded once per process.

        Raises:
            PallasError: the model or the encoder cannot be used.
        """
        return _default()

    @property
    def width(self) -> int:
        """Size of the embeddings."""
        return self._stream.outputs["motion"][1]

    @property
    def encoder(self) -> TextEncoder:
        """The sentence encoder, loaded on first use."""
        if self._encoder is None:
            self._encoder = TextEncoder.default()
        return self._encoder

    def texts(self, texts: Sequence[str]) -> F32:
        """Embeddings (N, dim) of texts.

        Raises:
            PallasError: a text is empty or too long.
        """
        rows = self._text_inputs([checked(text) for text in texts])
        return self._run(rows, "text")["text"]

    def movements(self, moved: Movement, ranges: Sequence[tuple[int, int]]) -> F32:
        """Embeddings (W, dim) of windows of a movement, given as frame ranges [start, stop)."""
        rows = (_window(moved, a, b) for a, b in ranges)
        return self._run(rows, "motion")["motion"]

    def motion(self, motion: Motion) -> F32:
        """Embedding (dim,) of a whole motion: the mean over its windows.

        Raises:
            PallasError: the motion has fewer than two valid frames.
        """
        moved = movement(motion)
        return unit(self.movements(moved, windows(len(moved), step=_STEP)).mean(0))

    def percent(self, similarity: NDArray[Any]) -> NDArray[np.float64]:
        """Calibrated scores, 0 to 100, for cosine similarities of text and motion of any shape."""
        slope, offset = self.calibration.text
        return np.asarray(100 * expit(slope * np.asarray(similarity, np.float64) + offset))

    def score(self, motion: Motion, text: str, scene: Sequence[Box] | None = None) -> float:
        """Score of the match of a motion, a text and a scene, 0 to 100.

        Args:
            motion: of any rate and body size.
            text: description, in English.
            scene: boxes in the world frame of the motion, or None to ignore the scene. The window
                with the worst fit determines the score.

        Raises:
            PallasError: the text is empty, or the motion has fewer than two valid frames.
        """
        return float(self.scores([motion], text, scene)[0])

    def scores(
        self, motions: Sequence[Motion], text: str, scene: Sequence[Box] | None = None
    ) -> NDArray[np.float64]:
        """`score` of several motions: (N,), 0 to 100."""
        vector = self.texts([text])[0]
        whole = np.stack([self.motion(motion) for motion in motions]) if motions else np.zeros(0)
        score = self.percent(whole @ vector) if motions else np.zeros(0)
        if scene is not None:
            score = score * [self.scene_fit(motion, text, scene) for motion in motions]
        return np.asarray(score)

    def scene_fit(self, motion: Motion, text: str, scene: Sequence[Box]) -> float:
        """Probability that a scene fits a motion and its text: the minimum over the windows."""
        moved = movement(motion)
        (inputs,) = self._text_inputs([checked(text)])
        ranges = windows(len(moved), step=_STEP)
        arrays = box_arrays(scene, moved.scale, moved.floor)
        meetings = [
            scene_inputs(scene, moved.points[a:b], float(moved.heading[a]), arrays)
            for a, b in ranges
        ]
        labels = self._labels(meetings)
        rows = (
            {**inputs, **_window(moved, a, b), **_scene(at, labels, self.encoder.width)}
            for (a, b), at in zip(ranges, meetings)
        )
        found = self._run(rows, "text", "motion", "scene", "text_motion", "motion_scene")
        pairs = (("text", "motion_scene"), ("text_motion", "scene"), ("motion", "scene"))
        similarity = np.stack([(found[a] * found[b]).sum(-1) for a, b in pairs], axis=1)
        *slopes, offset = self.calibration.scene
        unsupported = [at.unsupported for at in meetings]
        evidence = np.concatenate((similarity, unsupported), axis=1)
        return float(expit(evidence @ np.array(slopes) + offset).min())

    def _labels(self, meetings: Sequence[SceneInputs]) -> dict[str, F32]:
        """Sentence vectors (width,) of the labels of the boxes that are used."""
        names = list(dict.fromkeys(label for at in meetings for label in at.labels))
        return dict(zip(names, self.encoder.encode(names))) if names else {}

    def _text_inputs(self, texts: list[str]) -> list[dict[str, F32]]:
        sentence = self.encoder.encode(texts)
        features = encode_features(texts)
        width = self._stream.inputs["sentence"][1]
        if sentence.shape[1] != width:
            raise PallasError(
                f"{self.encoder.folder}: sentence vectors of {sentence.shape[1]} numbers, but the"
                f" alignment was trained with {width}: use the encoder that it was trained with"
            )
        return [{"sentence": s, "features": f} for s, f in zip(sentence, features)]

    def _run(self, rows: Iterable[dict[str, F32]], *outputs: str) -> dict[str, F32]:
        """Run the model on rows that contain some of the inputs; the other inputs are zero.

        Returns:
            The outputs (N, dim) by name.
        """
        found: dict[str, list[F32]] = {name: [] for name in outputs}
        waiting = iter(rows)
        while chunk := list(islice(waiting, _BATCH)):
            inputs = {n: np.zeros(s, np.float32) for n, s in self._stream.inputs.items()}
            for i, row in enumerate(chunk):
                for name, value in row.items():
                    inputs[name][i] = value
            with self._one_at_a_time:  # a stream's buffers serve one thread
                step = self._stream.step(inputs)
                for name, parts in found.items():
                    parts.append(step[name][: len(chunk)].copy())
        widths = {name: self._stream.outputs[name][1] for name in outputs}
        return {
            name: np.concatenate(parts) if parts else np.zeros((0, widths[name]), np.float32)
            for name, parts in found.items()
        }


def score(motion: Motion, text: str, scene: Sequence[Box] | None = None) -> float:
    """Score of the match of a motion with a text and a scene, 0 to 100, by the released model.

    Raises:
        PallasError: the text is empty, the motion has too few frames, or the model is missing.
    """
    return Aligner.default().score(motion, text, scene)


def unit(vector: F32) -> F32:
    """The vector (dim,), scaled to unit length."""
    return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-9), np.float32)


@cache
def _default() -> Aligner:
    return Aligner()


def _window(moved: Movement, start: int, stop: int) -> dict[str, F32]:
    features, there = padded(moved.features, start, stop)
    return {"movement": features, "valid": there}


def _scene(at: SceneInputs, labels: dict[str, F32], width: int) -> dict[str, F32]:
    vectors = np.zeros((BOXES, width), np.float32)
    for i, label in enumerate(at.labels):
        vectors[i] = labels[label]
    return {
        "shapes": at.shapes,
        "labels": vectors,
        "meetings": at.meetings,
        "there": at.there,
        "need": at.need,
    }


def _calibration(metadata: dict[str, Any], path: Path) -> Calibration:
    try:
        found = metadata["calibration"]
        text = tuple(float(x) for x in found["text"])
        scene = tuple(float(x) for x in found["scene"])
        if (len(text), len(scene)) != (2, 7) or not np.isfinite((*text, *scene)).all():
            raise ValueError("wrong number of values")
    except (KeyError, TypeError, ValueError) as error:
        raise PallasError(
            f"model file {path}: its scores are not calibrated ({error}); export it again"
        ) from None
    return Calibration((text[0], text[1]), scene)
