"""Text as the generators take it: a sentence vector and explicit features."""

import numpy as np
from numpy.typing import NDArray

from hpstm_ros.language.encoder import TextEncoder
from hpstm_ros.language.features import FEATURES as EXPLICIT
from hpstm_ros.language.features import encode_features

SENTENCE = 384
"""Numbers of a sentence vector of MiniLM."""
TEXT = SENTENCE + len(EXPLICIT)
"""Numbers that describe a text."""
_SENTENCE_SCALE = SENTENCE**0.5
"""Unit vectors get components of about 1, like the explicit features."""


def text_vectors(texts: list[str]) -> NDArray[np.float32]:
    """(N, TEXT) of some texts.

    Raises:
        PallasError: the encoder is not installed, or a text is empty or too long.
    """
    sentences = TextEncoder.default().encode(texts) * np.float32(_SENTENCE_SCALE)
    return np.concatenate((sentences, encode_features(texts)), axis=1)
