"""Baseline of generated motion: recordings of the training split with similar descriptions."""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from hpstm_ros.generation import representation as rep
from hpstm_ros.generation.representation import FPS
from hpstm_ros.language.descriptions import Descriptions
from hpstm_ros.language.encoder import TextEncoder
from pallas_ros.body.errors import PallasError
from pallas_ros.body.motion import Motion
from pallas_ros.data.library import LibraryClip, MotionLibrary

F32 = NDArray[np.float32]
NOISE: Final = 0.05
"""Standard deviation of the noise on the r6d values of a joint, about 3 degrees."""
_SMOOTH_FRAMES: Final = 5.0
_JOINTS: Final = slice(rep.R6D.start + 6, rep.R6D.stop)
"""Columns of the joints without the pelvis."""


def with_noise(features: F32, rng: np.random.Generator) -> F32:
    """Features (T, 137) with noise on the rotations of all joints but the pelvis.

    The noise is smooth in time, and the root path and the contacts stay as they were, so that the
    motion remains plausible.
    """
    white = rng.standard_normal((len(features), _JOINTS.stop - _JOINTS.start))
    noise = gaussian_filter1d(white, _SMOOTH_FRAMES, axis=0, mode="wrap")
    out = np.array(features, np.float32)
    out[:, _JOINTS] += NOISE * noise / noise.std()
    return out


class Retrieval:
    """The training clips with the most similar descriptions, as a `generated.Sampler`.

    Args:
        library: of motion.
        descriptions: of its clips.
        encoder: of sentences.

    Raises:
        PallasError: no training clip has a description.
    """

    def __init__(
        self,
        library: MotionLibrary,
        descriptions: Descriptions,
        encoder: TextEncoder | None = None,
    ) -> None:
        self._library = library
        self._encoder = encoder or TextEncoder.default()
        self._clips: list[LibraryClip] = []
        texts = []
        for clip in library.require("train"):
            if said := descriptions.of(clip):
                self._clips.append(clip)
                texts.append(said[0].text)
        if not texts:
            raise PallasError("no clip of the training split has a description")
        different = list(dict.fromkeys(texts))
        row_of = {text: row for row, text in enumerate(different)}
        self._vectors = self._encoder.encode(different)
        self._rows = np.array([row_of[text] for text in texts])

    def __call__(self, text: str, seed: int, count: int, seconds: float) -> list[Motion]:
        """The ``count`` most similar clips of at least ``seconds``, cut; ``seed`` is not used.

        Raises:
            PallasError: there are fewer clips of this length.
        """
        frames = round(seconds * FPS)
        near = (self._vectors @ self._encoder.encode([text])[0])[self._rows]
        order = np.argsort(-near, kind="stable")
        found: list[Motion] = []
        for clip in (self._clips[row] for row in order):
            if len(found) == count:
                break
            if clip.seconds >= seconds:
                features, _ = rep.from_motion(self._library.motion(clip))
                found.append(rep.to_motion(features[:frames], fps=FPS))
        if len(found) < count:
            raise PallasError(f"fewer than {count} described clips last {seconds:g} s")
        return found
