"""Run time of the token generator: masked Transformer, codebook, decoder; without torch and ROS."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from hpstm_ros.generation import heading_frames, representation
from hpstm_ros.generation.codebook import Codebook
from hpstm_ros.generation.flow import OVERLAP
from hpstm_ros.generation.masked import HIDDEN, Codes, Filling, fill
from hpstm_ros.generation.request import Progress, Request
from hpstm_ros.generation.text import TEXT, check_sentences, text_vectors
from pallas_ros.body.errors import PallasError
from pallas_ros.body.motion import Motion
from pallas_ros.body.resources import resource
from pallas_ros.runtime import BatchedStream, check_tensors

F32 = NDArray[np.float32]

MODEL: Final = "models/tokens.onnx"
ENCODER: Final = "models/tokens_encoder.onnx"
DECODER: Final = "models/tokens_decoder.onnx"
ORIGINAL: Final = "models/tokens_codebook.safetensors"
UNLEARNED: Final = "models/tokens_codebook_unlearned.safetensors"
FRAMES_PER_TOKEN: Final = 4
PAST: Final = 32
"""Number of frames of the start that are used: eight tokens."""


@dataclass(frozen=True)
class TokenSettings:
    """Settings of the token generator.

    Attributes:
        model, encoder, decoder: model files.
        codebook: codebook file; the unlearned one by default.
        filling: settings of the sampling.
    """

    model: str = MODEL
    encoder: str = ENCODER
    decoder: str = DECODER
    codebook: str = UNLEARNED
    filling: Filling = field(default_factory=Filling)


class TokenGenerator:
    """Generates motion for a text, and in-paints: known tokens are kept.

    Args:
        settings: files and sampling.

    Raises:
        PallasError: a file is missing, damaged, or belongs to another model.
    """

    def __init__(self, settings: TokenSettings | None = None) -> None:
        self.settings = settings or TokenSettings()
        self._tokens = self._open("tokens", self.settings.model)
        first = self._tokens.first
        check_tensors(
            self.settings.model,
            first,
            {"tokens": ("tokens",), "used": ("tokens",), "text": ("text",)},
            {"logits": ("tokens", "codes")},
        )
        self.tokens = first.inputs["tokens"][1]
        self.codes = first.outputs["logits"][2]
        check_sentences(self.settings.model, first)
        self.model = str(first.metadata["model"])
        self.codebook = Codebook.load(resource(self.settings.codebook), self.model)
        if len(self.codebook.entries) != self.codes:
            raise PallasError(
                f"{self.settings.codebook}: {len(self.codebook.entries)} codes, but the model has"
                f" {self.codes}: create the codebook again with `pallas unlearn`"
            )

    def _open(self, kind: str, path: str) -> BatchedStream:
        return BatchedStream(
            path,
            {"kind": kind},
            missing="train the token generator with `pallas train tokens` and put its files there",
        )

    @cached_property
    def _encoder(self) -> BatchedStream:
        stream = self._open("tokens_encoder", self.settings.encoder)
        check_tensors(
            self.settings.encoder,
            stream.first,
            {"frames": (PAST, heading_frames.FEATURES)},
            {"entries": (PAST // FRAMES_PER_TOKEN, self.codebook.entries.shape[1])},
        )
        return stream

    @cached_property
    def _decoder(self) -> BatchedStream:
        stream = self._open("tokens_decoder", self.settings.decoder)
        check_tensors(
            self.settings.decoder,
            stream.first,
            {"entries": (self.tokens, self.codebook.entries.shape[1])},
            {"frames": (FRAMES_PER_TOKEN * self.tokens, heading_frames.FEATURES)},
        )
        return stream

    @property
    def longest_s(self) -> float:
        """Longest motion that can be generated, s."""
        return self.tokens * FRAMES_PER_TOKEN / representation.FPS

    def generate(self, request: Request, progress: Progress) -> F32:
        """Generate candidates (K, T, 137) of a checked request; equal seeds give equal candidates.

        Raises:
            PallasError: the request has hand targets, or lasts too long.
        """
        if request.hands:
            raise PallasError("the token generator takes no hand targets: use --model flow")
        past = self._past(request.start)
        n = len(past) + self.length(request.frames)
        if n > self.tokens:
            longest = self.longest_s - len(past) * FRAMES_PER_TOKEN / representation.FPS
            raise PallasError(
                f"a motion of {request.seconds:g} s was requested, but the token generator"
                f" generates at most {longest:.1f} s: request less, or use --model flow"
            )
        known = np.full(n, HIDDEN, dtype=np.int64)
        known[: len(past)] = past
        sentence = np.zeros((1, TEXT), dtype=np.float32)
        if request.text:
            sentence = text_vectors([request.text])
        progress("tokens", 0.1)
        codes = self.draw(known, sentence, request.seed, request.candidates, request.guidance)
        progress("decoding", 0.8)
        skip = len(past) * FRAMES_PER_TOKEN
        return np.stack([_following(self.motion(row), skip)[: request.frames] for row in codes])

    def length(self, frames: int) -> int:
        """Number of tokens for ``frames`` frames."""
        return -(-frames // FRAMES_PER_TOKEN)

    def _past(self, start: Motion | None) -> Codes:
        """The codes of the last second of a start; empty if it is shorter.

        The first body is held until there are `PAST` frames: the node stores 30.
        """
        if start is None:
            return np.empty(0, dtype=np.int64)
        features, _ = representation.from_motion(start)
        if len(features) < OVERLAP:
            return np.empty(0, dtype=np.int64)
        features = np.pad(features, ((max(PAST - len(features), 0), 0), (0, 0)), mode="edge")
        q, root, contacts = representation.decode(features[-PAST:])
        frames = heading_frames.encode(q, root, contacts)
        entries = self._encoder.step({"frames": frames[None]})["entries"][0]
        original = self.codebook.entries
        away = np.linalg.norm(entries[:, None] - original[None], axis=-1)
        return np.asarray(away.argmin(axis=1), dtype=np.int64)

    def draw(
        self, known: Codes, sentence: F32, seed: int, candidates: int = 1, guidance: float = 2.0
    ) -> Codes:
        """Sample the codes (candidates, N) of motions.

        Args:
            known: (N,) codes to keep, `HIDDEN` for those to sample.
            sentence: (1, TEXT) text vector, zeros for none.
            seed: of the random numbers.
            candidates: 1 to 8: guidance doubles the batch, which is limited to 16 by the file.
            guidance: weight of the text; 1 is the weight in training.
        """
        rng = np.random.default_rng(seed)

        def logits(tokens: Codes) -> F32:
            return self._logits(tokens, sentence, guidance)

        return fill(np.tile(known, (candidates, 1)), logits, self.settings.filling, rng)

    def _logits(self, tokens: Codes, sentence: F32, guidance: float) -> F32:
        """Logits with classifier-free guidance, for tokens (K, N)."""
        k, n = tokens.shape
        shown = np.full((2 * k, self.tokens), self.codes, dtype=np.float32)
        shown[:, :n] = np.tile(np.where(tokens == HIDDEN, self.codes, tokens), (2, 1))
        used = np.zeros_like(shown)
        used[:, :n] = 1.0
        text = np.concatenate((np.tile(sentence, (k, 1)), np.zeros((k, TEXT), np.float32)))
        out = self._tokens.step({"tokens": shown, "used": used, "text": text})["logits"][:, :n]
        with_text = out[:k]
        without = out[k:]
        return without + np.float32(guidance) * (with_text - without)

    def frames(self, codes: Codes) -> F32:
        """Decode codes (N,) to frames (4 N, 138) of `heading_frames`."""
        entries = self.codebook.entries[codes]
        padded = np.concatenate((entries, np.repeat(entries[-1:], self.tokens - len(codes), 0)))
        out = self._decoder.step({"entries": padded[None]})["frames"]
        return np.array(out[0, : FRAMES_PER_TOKEN * len(codes)])

    def motion(self, codes: Codes) -> F32:
        """Decode codes (N,) to features (4 N, 137) of `representation`."""
        return heading_frames.to_world(self.frames(codes))


def _following(features: F32, skip: int) -> F32:
    """Features (T, 137) without the first ``skip`` frames, in the frame of the last of these."""
    if not skip:
        return features
    q, root, _ = representation.decode(features[skip - 1])
    return representation.seen_from(features[skip:], representation.place_of(q[0], root))


def original() -> TokenGenerator:
    """The generator before unlearning, which can be violent; for comparison only."""
    return TokenGenerator(TokenSettings(codebook=ORIGINAL))
