"""Warnings about the text of a request: far from the training descriptions, or too long."""

from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hpstm_ros.language.encoder import TextEncoder, ignored_warning
from pallas_ros.body.errors import PallasError
from pallas_ros.body.motion import save_npz
from pallas_ros.body.resources import resource
from pallas_ros.files.npz import load_npz

FILE = "models/hpstm_gen_texts.npz"
FAR = 0.55
"""Cosine similarity to the nearest description below which a request counts as far. Paraphrases of
training descriptions are above it, other subjects ("a cat sleeps") below."""


def save(path: str | Path, texts: list[str], vectors: NDArray[np.float32]) -> None:
    """Write unit vectors (N, 384) of descriptions, quantised to 8 bits per value."""
    largest = np.abs(vectors).max(axis=1, keepdims=True)
    rounded = np.round(vectors / largest * 127).astype(np.int8)
    save_npz(path, {"texts": np.array(texts), "vectors": rounded})


@cache
def _known() -> tuple[list[str], NDArray[np.float32]]:
    arrays = load_npz(resource(FILE), "list of the training descriptions")
    vectors = arrays["vectors"].astype(np.float32)
    return [str(t) for t in arrays["texts"]], vectors / np.linalg.norm(vectors, axis=1)[:, None]


def warning(text: str) -> str:
    """Warning about a text that is far from the training descriptions, or not read to its end.

    Returns:
        The reasons, the nearest training descriptions among them; "" if there is none.

    Raises:
        PallasError: the encoder is not installed.
    """
    reasons = (ignored_warning(TextEncoder.default().ignored(text)), _far(text))
    return "; ".join(reason for reason in reasons if reason)


def _far(text: str) -> str:
    try:
        texts, vectors = _known()
    except PallasError:
        return ""
    near = vectors @ TextEncoder.default().encode([text])[0]
    best = np.argsort(-near, kind="stable")[:3]
    if near[best[0]] >= FAR:
        return ""
    named = ", ".join(f"'{texts[i][:60]}'" for i in best)
    return f"the request is far from the training descriptions; the nearest are {named}"
