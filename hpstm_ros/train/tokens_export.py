"""Export of the token generator: weights, three ONNX graphs and the codebook."""

import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from hpstm_ros.generation.codebook import Codebook, fingerprint
from hpstm_ros.generation.tokens import PAST
from hpstm_ros.model.tokens import MaskedConfig, MaskedTransformer, VqConfig, VqVae
from hpstm_ros.train.released import document_of_run
from pallas_ros.body.errors import PallasError
from pallas_ros.files.json_text import parse_json
from pallas_ros.files.settings import settings
from pallas_ros.files.weights import weights_metadata
from pallas_ros.torch_runtime.backend import export_stream

FILES = (
    "tokens.safetensors",
    "tokens_encoder.onnx",
    "tokens_decoder.onnx",
    "tokens_codebook.safetensors",
    "tokens.onnx",
)
"""Files that `export_tokens` writes."""


class TokensStep(nn.Module):
    """One round of the masked Transformer, for motions padded to the longest."""

    output_names = ("logits",)

    def __init__(self, model: MaskedTransformer) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor, used: Tensor, text: Tensor) -> tuple[Tensor]:
        """Like `MaskedTransformer.forward`: logits (B, N, codes)."""
        return (self.model(tokens, used, text),)

    def example_inputs(self, batch: int) -> dict[str, Tensor]:
        """Example inputs (batch, ...) of `forward`, by name, in its order."""
        c = self.model.config
        return {
            "tokens": torch.zeros(batch, c.tokens),
            "used": torch.ones(batch, c.tokens),
            "text": torch.zeros(batch, c.text),
        }


class EncoderStep(nn.Module):
    """Encodes the frames of a start as vectors."""

    output_names = ("entries",)

    def __init__(self, model: VqVae) -> None:
        super().__init__()
        self.model = model

    def forward(self, frames: Tensor) -> tuple[Tensor]:
        """Map frames (B, 32, 138) to vectors (B, 8, code_width)."""
        return (self.model.encoder(self.model.normalised(frames)),)

    def example_inputs(self, batch: int) -> dict[str, Tensor]:
        """Example inputs (batch, ...) of `forward`, by name, in its order."""
        return {"frames": torch.zeros(batch, PAST, self.model.config.features)}


class DecoderStep(nn.Module):
    """Decodes codebook entries to frames, for motions padded to the longest."""

    output_names = ("frames",)

    def __init__(self, model: VqVae, tokens: int) -> None:
        super().__init__()
        self.model = model
        self.tokens = tokens

    def forward(self, entries: Tensor) -> tuple[Tensor]:
        """Map entries (B, N, code_width) to frames (B, 4 N, 138)."""
        return (self.model.frames(entries),)

    def example_inputs(self, batch: int) -> dict[str, Tensor]:
        """Example inputs (batch, ...) of `forward`, by name, in its order."""
        return {"entries": torch.zeros(batch, self.tokens, self.model.config.code_width)}


def export_tokens(
    vq: VqVae, masked: MaskedTransformer, folder: str | Path, document: dict[str, Any]
) -> Path:
    """Write ``tokens.safetensors``, ``tokens.onnx``, its encoder and decoder, the codebook.

    Args:
        vq, masked: in evaluation mode.
        folder: created if it does not exist.
        document: training facts, for the metadata.

    Returns:
        The path of ``tokens.onnx``.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    weights, encoder_file, decoder_file, codebook_file, step_file = (folder / f for f in FILES)
    entries = vq.codebook.detach().numpy()
    shapes = {"vq": vq.config.as_dict(), "masked": masked.config.as_dict()}
    document = {
        "model": fingerprint(entries),
        "config": shapes,
        **document_of_run(),
        **document,
    }
    tensors = {f"vq.{name}": value for name, value in vq.state_dict().items()}
    tensors |= {f"masked.{name}": value for name, value in masked.state_dict().items()}
    partial = folder / f".tokens.{os.getpid()}.safetensors"
    meta = {"kind": "tokens", "config": json.dumps(shapes), "pallas": json.dumps(document)}
    try:
        save_file({k: v.contiguous() for k, v in tensors.items()}, partial, metadata=meta)
        partial.replace(weights)
    finally:
        partial.unlink(missing_ok=True)
    encoder = EncoderStep(vq)
    export_stream(encoder, encoder_file, {**document, "kind": "tokens_encoder"})
    decoder = DecoderStep(vq, masked.config.tokens)
    export_stream(decoder, decoder_file, {**document, "kind": "tokens_decoder"})
    Codebook(entries, document["model"]).save(codebook_file)
    return export_stream(TokensStep(masked), step_file, {**document, "kind": "tokens"})


def load_tokens(path: str | Path) -> tuple[VqVae, MaskedTransformer, dict[str, Any]]:
    """The models of ``tokens.safetensors`` and its document.

    Raises:
        PallasError: the file does not contain such a model.
    """
    meta = weights_metadata(path)
    if meta.get("kind") != "tokens":
        raise PallasError(f"{path}: not the weights of a token generator")
    try:
        shapes = parse_json(meta["config"], str(path), "shape of a model")
        vq = VqVae(settings(VqConfig, shapes["vq"], f"{path}: vq"))
        masked = MaskedTransformer(settings(MaskedConfig, shapes["masked"], f"{path}: masked"))
        tensors = load_file(path)
        for prefix, model in (("vq.", vq), ("masked.", masked)):
            own = {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}
            model.load_state_dict(own)
        document: dict[str, Any] = json.loads(meta["pallas"])
    except PallasError:
        raise
    except Exception as error:  # torch and safetensors raise their own exceptions
        raise PallasError(
            f"{path}: not the weights of a token generator ({str(error).splitlines()[0][:100]})"
        ) from None
    return vq.eval(), masked.eval(), document
