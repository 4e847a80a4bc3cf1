"""`pallas train latent`: the length-aware VAE, then the flow in its space."""

import argparse
import json
from dataclasses import dataclass, field
from pathlib import Path

from hpstm_ros.language.descriptions import Descriptions
from hpstm_ros.model.latent import LatentConfig, LatentModel
from hpstm_ros.train.heading_windows import Clips
from hpstm_ros.train.latent_data import SHORTEST, Spans, latents, spans
from hpstm_ros.train.latent_export import export
from hpstm_ros.train.latent_training import train_flow, train_vae
from hpstm_ros.train.options import add_training_options, read_settings
from hpstm_ros.train.violence import sort_clips
from pallas_ros.body.errors import PallasError
from pallas_ros.data.library import LibraryClip, MotionLibrary
from pallas_ros.data.licences import licence_of
from pallas_ros.train.loop import LoopSettings

HELP = "Train the length-aware generator; an interrupted run resumes."


@dataclass(frozen=True)
class LatentTraining:
    """Settings of the training (config/training/latent.yaml).

    Attributes:
        packs: motion packs to train on; empty for all.
        without_violence: exclude clips with violent descriptions.
        batch: motions per step of the VAE.
        flow_batch: motions per step of the flow.
        pack_share: maximum share of `bandai_namco` in the samples.
        seed: of the parts of long clips.
        model: shapes.
        vae, flow: settings of the two training loops.
    """

    packs: tuple[str, ...] = ()
    without_violence: bool = True
    batch: int = 24
    flow_batch: int = 64
    pack_share: float = 0.5
    seed: int = 1
    model: LatentConfig = field(default_factory=LatentConfig)
    vae: LoopSettings = field(default_factory=LoopSettings)
    flow: LoopSettings = field(default_factory=LoopSettings)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    add_training_options(parser, "latent")


def run(args: argparse.Namespace) -> int:
    """Train both networks and export them."""
    settings = read_settings(
        LatentTraining, args.config, batch=(2, 4096), flow_batch=(2, 4096), pack_share=(0, 1)
    )
    folder = Path(args.out)
    library = MotionLibrary.open(args.data, alignment="bent")
    descriptions = Descriptions.open(args.data)
    labelled = {clip.name: clip for clip in library.clips}
    training = _chosen(library.require("train"), settings, descriptions)
    held_out = library.select("validation") + library.select("validation_subjects")
    data = _spans(library, training, settings)
    checked = _spans(library, _chosen(held_out, settings, descriptions), settings)
    model = LatentModel(settings.model)
    train_vae(model, data, checked, settings.batch, settings.vae, folder / "vae")
    encoded, judged = (latents(model, *part, labelled, descriptions) for part in (data, checked))
    train_flow(model, encoded, judged, settings.flow_batch, settings.flow, folder / "flow")
    history = {
        part: json.loads((folder / part / "checkpoint.json").read_text())
        for part in ("vae", "flow")
    }
    facts = {"packs": list(settings.packs), "clips": len(data[0].names), **history}
    licence = licence_of(clip.pack for clip in training)
    path = export(model.eval(), folder, {"training": facts, "licence": licence})
    print(f"{path}: {len(data[1])} spans of {len(data[0].names)} clips; measure it with")
    print(f"`pallas eval latent --model {path}`")
    return 0


def _chosen(
    clips: list[LibraryClip], settings: LatentTraining, descriptions: Descriptions
) -> list[LibraryClip]:
    """The clips of the selected packs, without those with violent descriptions."""
    kept = [c for c in clips if not settings.packs or c.pack in settings.packs]
    if settings.without_violence:
        violent = sort_clips(kept, descriptions).violent
        kept = [clip for clip in kept if clip.name not in violent]
    if not kept:
        raise PallasError(f"no clip of {', '.join(settings.packs)} is left: give other packs")
    return kept


def _spans(
    library: MotionLibrary, chosen: list[LibraryClip], settings: LatentTraining
) -> tuple[Clips, Spans]:
    clips = Clips.of(library, chosen, SHORTEST)
    packs = {clip.name: clip.pack for clip in chosen}
    found = spans(clips, packs, settings.model.longest, settings.pack_share, settings.seed)
    return clips, found
