"""Text input of the generators: a sentence vector and explicit features."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hpstm_ros.language.encoder import TextEncoder
from hpstm_ros.language.features import FEATURES as EXPLICIT
from hpstm_ros.language.features import encode_features
from pallas_ros.body.errors import PallasError
from pallas_ros.runtime import Stream

SENTENCE = 384
"""Size of a sentence vector of MiniLM."""
TEXT = SENTENCE + len(EXPLICIT)
"""Size of a text vector."""
_SENTENCE_SCALE = SENTENCE**0.5
"""Scale of sentence vectors, so that their components are about 1, like the explicit features."""


def text_vectors(texts: list[str]) -> NDArray[np.float32]:
    """Text vectors (N, TEXT) of N texts.

    Raises:
        PallasError: the encoder is not installed, or a text is empty or too long.
    """
    sentences = TextEncoder.default().encode(texts) * np.float32(_SENTENCE_SCALE)
    return np.concatenate((sentences, encode_features(texts)), axis=1)


def check_sentences(path: str | Path, stream: Stream) -> None:
    """Check that a generator takes texts as `text_vectors` gives them.

    Raises:
        PallasError: it was trained with another encoder.
    """
    taken = stream.inputs["text"][1]
    if taken != TEXT:
        raise PallasError(
            f"{path}: takes texts of {taken} values, but the sentence encoder gives {TEXT}: train"
            " it again"
        )
