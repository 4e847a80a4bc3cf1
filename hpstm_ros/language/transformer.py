"""Forward passes in numpy: BERT (Devlin 2019) and CLIP's text tower (Radford 2021).

Sentences are short, so a pass takes a few milliseconds, and no other runtime is needed.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import erf, expit

Array = NDArray[np.float32]
Weights = dict[str, Array]


@dataclass(frozen=True)
class Shape:
    """Architecture parameters that the weights do not contain."""

    layers: int
    heads: int
    epsilon: float
    activation: str = "gelu"


def bert(weights: Weights, shape: Shape, ids: NDArray[np.int64], mask: NDArray[np.bool_]) -> Array:
    """Last hidden states (N, L, D) for tokens (N, L); ``mask`` (N, L) is False for padding."""
    x = (
        weights["embeddings.word_embeddings.weight"][ids]
        + weights["embeddings.position_embeddings.weight"][: ids.shape[1]]
        + weights["embeddings.token_type_embeddings.weight"][0]
    )
    x = _norm(weights, "embeddings.LayerNorm", x, shape)
    bias = np.where(mask, 0.0, -1e9).astype(np.float32)[:, None, None, :]
    for i in range(shape.layers):
        at = f"encoder.layer.{i}"
        query, key, value = (
            _linear(weights, f"{at}.attention.self.{name}", x) for name in ("query", "key", "value")
        )
        mixed = _attention(query, key, value, shape.heads, bias)
        mixed = _linear(weights, f"{at}.attention.output.dense", mixed)
        x = _norm(weights, f"{at}.attention.output.LayerNorm", x + mixed, shape)
        inner = _activate(_linear(weights, f"{at}.intermediate.dense", x), shape)
        inner = _linear(weights, f"{at}.output.dense", inner)
        x = _norm(weights, f"{at}.output.LayerNorm", x + inner, shape)
    return x


def clip_text(
    weights: Weights, shape: Shape, ids: NDArray[np.int64], mask: NDArray[np.bool_]
) -> Array:
    """Last hidden states (N, L, D) of CLIP's text tower, after its final norm.

    Args:
        weights: tensors by name.
        shape: architecture parameters.
        ids: (N, L) token ids.
        mask: (N, L), False for padding.
    """
    length = ids.shape[1]
    x = (
        weights["embeddings.token_embedding.weight"][ids]
        + weights["embeddings.position_embedding.weight"][:length]
    )
    causal = np.triu(np.full((length, length), -1e9, np.float32), 1)
    bias = causal + np.where(mask, 0.0, -1e9).astype(np.float32)[:, None, None, :]
    for i in range(shape.layers):
        at = f"encoder.layers.{i}"
        y = _norm(weights, f"{at}.layer_norm1", x, shape)
        query, key, value = (
            _linear(weights, f"{at}.self_attn.{name}_proj", y) for name in ("q", "k", "v")
        )
        mixed = _attention(query, key, value, shape.heads, bias)
        x = x + _linear(weights, f"{at}.self_attn.out_proj", mixed)
        y = _norm(weights, f"{at}.layer_norm2", x, shape)
        y = _activate(_linear(weights, f"{at}.mlp.fc1", y), shape)
        x = x + _linear(weights, f"{at}.mlp.fc2", y)
    return _norm(weights, "final_layer_norm", x, shape)


def _linear(weights: Weights, name: str, x: Array) -> Array:
    return np.asarray(x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"], dtype=np.float32)


def _norm(weights: Weights, name: str, x: Array, shape: Shape) -> Array:
    mean = x.mean(-1, keepdims=True)
    deviation = np.sqrt(x.var(-1, keepdims=True) + np.float32(shape.epsilon))
    y = (x - mean) / deviation * weights[f"{name}.weight"] + weights[f"{name}.bias"]
    return np.asarray(y, dtype=np.float32)


def _attention(query: Array, key: Array, value: Array, heads: int, bias: Array) -> Array:
    n, length, width = query.shape

    def split(x: Array) -> Array:
        return x.reshape(n, length, heads, width // heads).transpose(0, 2, 1, 3)

    scale = np.float32((width // heads) ** -0.5)
    scores = split(query) @ split(key).transpose(0, 1, 3, 2) * scale + bias
    scores = np.exp(scores - scores.max(-1, keepdims=True))
    scores /= scores.sum(-1, keepdims=True)
    mixed = (scores @ split(value)).transpose(0, 2, 1, 3)
    return np.asarray(mixed.reshape(n, length, width), dtype=np.float32)


def _activate(x: Array, shape: Shape) -> Array:
    if shape.activation == "quick_gelu":
        return np.asarray(x * expit(np.float32(1.702) * x), dtype=np.float32)
    return np.asarray(0.5 * x * (1.0 + erf(x * np.float32(0.5**0.5))), dtype=np.float32)
