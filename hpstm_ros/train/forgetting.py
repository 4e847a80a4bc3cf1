"""Unlearning in trained generators: forget and retain sets, and removal of a concept."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hpstm_ros.generation import unlearning
from hpstm_ros.generation.codebook import Codebook
from hpstm_ros.generation.concepts import Concept
from hpstm_ros.generation.guard import MODEL, MotionGuard
from hpstm_ros.generation.text import text_vectors
from hpstm_ros.generation.violent_words import is_violent
from hpstm_ros.language.descriptions import Descriptions
from hpstm_ros.model.hpstm_gen import HpstmGen
from hpstm_ros.model.tokens import VqVae
from hpstm_ros.train.generator_export import export as export_flow
from hpstm_ros.train.generator_export import load_model as load_flow
from hpstm_ros.train.heading_windows import Clips
from hpstm_ros.train.tokens_export import export_tokens, load_tokens
from hpstm_ros.train.violence import PACKS, guard_windows
from pallas_ros.body.errors import PallasError
from pallas_ros.data.library import LibraryClip, MotionLibrary

Codes = NDArray[np.int64]
VIOLENCE = "violence"
_FRAMES = 64
"""Frames of a motion in the forget and retain sets: 2 s, the window of the classifier."""


@dataclass(frozen=True)
class Sets:
    """Forget and retain set, as codes.

    Attributes:
        forget, retain: codes (16,) of each motion.
    """

    forget: list[Codes]
    retain: list[Codes]


def concept_clips(
    concept: Concept, clips: Iterable[LibraryClip], descriptions: Descriptions
) -> frozenset[str]:
    """Names of the clips whose descriptions mention the concept."""
    names = set()
    for clip in clips:
        trial = clip.name.split(".")[0]
        texts = [descriptions.trials.get(clip.name, ""), *descriptions.sentences.get(trial, ())]
        texts += [d.text for d in descriptions.of(clip)]
        spoken = is_violent if concept.name == VIOLENCE else concept.mentioned
        if any(spoken(text) for text in texts):
            names.add(clip.name)
    return frozenset(names)


@torch.no_grad()
def forget_and_retain(
    vq: VqVae, clips: Clips, named: frozenset[str], guard: MotionGuard | None
) -> Sets:
    """Cut clips into motions of 2 s and encode them.

    Args:
        vq: the model.
        clips: the training clips.
        named: names of the clips whose descriptions mention the concept.
        guard: classifier of violent motion. If given, flagged motions are in the forget set
            regardless of their descriptions, and harmless motions of a named clip (a boxer who
            stands still) are in neither set.
    """
    sets = Sets([], [])
    for index, name in enumerate(clips.names):
        for flip in (False, True):
            parts = _parts(clips.clip(index, flip))
            codes = vq.encode(parts).numpy()
            flagged = np.zeros(len(parts), dtype=bool)
            if guard is not None:
                seen = guard_windows(parts).numpy()
                flagged = np.array([guard.probability(x[None]) >= guard.threshold for x in seen])
            forget = flagged if guard is not None else np.full(len(parts), name in named)
            retain = ~flagged & (name not in named)
            sets.forget.extend(codes[forget])
            sets.retain.extend(codes[retain])
    return sets


def _parts(frames: NDArray[np.float32]) -> Tensor:
    """Split frames (T, 138) into motions (W, 64, 138); the remainder is dropped."""
    count = len(frames) // _FRAMES
    whole = np.array(frames[: count * _FRAMES])
    return torch.from_numpy(whole.reshape(count, _FRAMES, -1))


def open_guard(concept: Concept, path: str | Path = MODEL) -> MotionGuard | None:
    """The classifier, if the concept is violence; other concepts are identified by words only."""
    return MotionGuard.open(path) if concept.name == VIOLENCE else None


def forget_codes(codebook: Codebook, sets: Sets, r: int, concept: str, seed: int = 0) -> Codebook:
    """The codebook after latent code replacement (`unlearning.replace_codes`)."""
    size = len(codebook.entries)
    forget, retain = (
        unlearning.motions_with_code(motions, size) for motions in (sets.forget, sets.retain)
    )
    rng = np.random.default_rng(seed)
    entries = codebook.entries.astype(np.float64)
    done = unlearning.replace_codes(entries, forget, retain, r, rng)
    document = {
        "concept": concept,
        "replaced": done.replaced.tolist(),
        "safe": done.safe,
        "forget": len(sets.forget),
        "retain": len(sets.retain),
        "seed": seed,
    }
    return replace(codebook, entries=done.codebook.astype(np.float32), document=document)


def refuse(layer: nn.Linear, with_concept: Tensor, without: Tensor, rank: int) -> None:
    """Remove the directions of a concept from a linear layer, in place.

    Args:
        layer: layer whose outputs contain the concept.
        with_concept, without: (N, inputs) inputs of the layer for pairs of requests.
        rank: directions to remove.
    """
    with torch.no_grad():
        activations = [layer(x).double().numpy() for x in (with_concept, without)]
        directions = unlearning.refusal_directions(activations[0], activations[1], rank)
        bias = None if layer.bias is None else layer.bias.double().numpy()
        centre = None if bias is None else activations[1].mean(axis=0)
        weight, shift = unlearning.without_directions(
            layer.weight.double().numpy(), bias, directions, centre
        )
        layer.weight.copy_(torch.from_numpy(weight))
        if shift is not None:
            layer.bias.copy_(torch.from_numpy(shift))


class Forgetting:
    """The motion to forget and to retain for a concept, in the codes of a token generator.

    Args:
        weights: ``tokens.safetensors``.
        data: folder of the motion packs.
        concept: what to forget.
        replaced: codes that will be replaced, to reject a wrong number before the motion is
            encoded, which takes minutes.

    Raises:
        PallasError: a file or ``replaced`` is invalid, or no motion shows the concept.
    """

    def __init__(
        self, weights: str | Path, data: str | Path, concept: Concept, replaced: int = 1
    ) -> None:
        vq, _, document = load_tokens(weights)
        unlearning.check_replacement(replaced, len(vq.codebook))
        library = MotionLibrary.open(data, alignment="bent")
        packs = document.get("training", {}).get("packs", PACKS)
        chosen = [c for c in library.require("train") if c.pack in packs]
        named = concept_clips(concept, chosen, Descriptions.open(data))
        clips = Clips.of(library, chosen, _FRAMES)
        self.sets = forget_and_retain(vq, clips, named, open_guard(concept))
        if not self.sets.forget:
            raise PallasError(
                f"no motion in {data} shows '{concept.name}', so there is nothing to unlearn from"
            )
        entries = vq.codebook.detach().numpy()
        self._original = Codebook(entries, document["model"])
        self._concept = concept.name

    def codebook(self, r: int, seed: int = 0) -> Codebook:
        """The codebook with ``r`` codes replaced."""
        return forget_codes(self._original, self.sets, r, self._concept, seed)


def refuse_tokens(weights: str | Path, concept: Concept, rank: int, folder: str | Path) -> Path:
    """Write the token generator into ``folder``, with the directions of a concept removed from its
    text layer.

    Raises:
        PallasError: the weights are not those of a token generator, or the pairs do not define
            ``rank`` directions.
    """
    vq, masked, document = load_tokens(weights)
    refuse(masked.text, *_requests(concept), rank)
    return export_tokens(vq, masked, folder, {**document, "refused": concept.name, "rank": rank})


def refuse_flow(weights: str | Path, concept: Concept, rank: int, folder: str | Path) -> Path:
    """Like `refuse_tokens`, for the weights of HPSTM-Gen."""
    model, document = load_flow(weights)
    without_concept(model, concept, rank)
    return export_flow(model, folder, {**document, "refused": concept.name, "rank": rank})


@torch.no_grad()
def without_concept(model: HpstmGen, concept: Concept, rank: int) -> None:
    """Remove the directions of a concept from the text layers of HPSTM-Gen, in place."""
    first, activation, last = model.text
    hidden = []
    for vectors in _requests(concept):
        given = torch.ones(len(vectors), 1)
        hidden.append(activation(first(torch.cat((vectors, given), -1))))
    refuse(cast(nn.Linear, last), hidden[0], hidden[1], rank)


def _requests(concept: Concept) -> tuple[Tensor, Tensor]:
    """Text vectors (N, TEXT) of the requests with and without a concept."""
    both = (text_vectors([pair[side] for pair in concept.pairs]) for side in (0, 1))
    with_it, without = (torch.from_numpy(vectors) for vectors in both)
    return with_it, without
