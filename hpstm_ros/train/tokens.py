"""`pallas train tokens`: the VQ-VAE, then the masked Transformer over its codes."""

import argparse
from dataclasses import dataclass, field
from pathlib import Path

from hpstm_ros.generation.heading_frames import FEATURES
from hpstm_ros.generation.text import TEXT
from hpstm_ros.language.descriptions import Descriptions
from hpstm_ros.model.tokens import MaskedConfig, VqConfig
from hpstm_ros.train.heading_windows import Clips
from hpstm_ros.train.masked import corpus, train_masked
from hpstm_ros.train.options import read_settings
from hpstm_ros.train.tokens_export import export_tokens
from hpstm_ros.train.violence import sort_clips
from hpstm_ros.train.vq import WINDOW, train_vq
from pallas_ros.body.errors import PallasError
from pallas_ros.data.library import LibraryClip, MotionLibrary
from pallas_ros.train.loop import LoopSettings

HELP = "Train the token generator; an interrupted run resumes."


@dataclass(frozen=True)
class TokenTraining:
    """Settings of the training.

    Attributes:
        packs: motion packs to train on; empty for all.
        without_violence: exclude clips with violent descriptions (for comparison).
        batch: windows per step, of the VQ-VAE and of the Transformer.
        width: channels of the VQ-VAE.
        codes: entries of the codebook, 64 to 8192.
        masked: shape of the Transformer, except ``codes`` and ``text``, which are derived.
        vq, transformer: settings of the two training loops.
    """

    packs: tuple[str, ...] = ("cmu_actions", "cmu_full")
    without_violence: bool = False
    batch: int = 32
    width: int = 96
    codes: int = 512
    masked: MaskedConfig = field(default_factory=MaskedConfig)
    vq: LoopSettings = field(default_factory=lambda: LoopSettings(steps=2000))
    transformer: LoopSettings = field(default_factory=lambda: LoopSettings(steps=2000))


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("--config", default="config/training/tokens.yaml", help="training settings")
    parser.add_argument("--data", default="../shared/data", help="folder of the motion packs")
    parser.add_argument(
        "--out", default="runs/tokens", help="folder of checkpoints and the exported model"
    )


def run(args: argparse.Namespace) -> int:
    """Train both networks and export them."""
    settings = read_settings(
        TokenTraining, args.config, batch=(2, 4096), width=(8, 1024), codes=(64, 8192)
    )
    folder = Path(args.out)
    library = MotionLibrary.open(args.data, alignment="bent")
    descriptions = Descriptions.open(args.data)
    training = training_clips(library, descriptions, settings)
    held_out = validation_clips(library, settings)
    labelled = {clip.name: clip for clip in library.clips}
    clips, checked = (Clips.of(library, part, WINDOW) for part in (training, held_out))
    shape = VqConfig(FEATURES, settings.width, settings.codes)
    vq = train_vq(clips, checked, shape, settings.batch, settings.vq, folder / "vq")
    data, judged = (corpus(vq, part, labelled, descriptions) for part in (clips, checked))
    config = MaskedConfig(**{**settings.masked.as_dict(), "codes": settings.codes, "text": TEXT})
    masked = train_masked(
        data, judged, config, settings.batch, settings.transformer, folder / "transformer"
    )
    document = {"training": {"packs": list(settings.packs), "clips": len(data.clips)}}
    path = export_tokens(vq, masked, folder, document)
    print(
        f"{path}: {len(data.clips)} clips; measure it with `pallas eval tokens --folder {folder}`"
    )
    return 0


def training_clips(
    library: MotionLibrary, descriptions: Descriptions, settings: TokenTraining
) -> list[LibraryClip]:
    """The clips of the training split, of the selected packs.

    Raises:
        PallasError: there are none.
    """
    packs = settings.packs
    clips = [c for c in library.require("train") if not packs or c.pack in packs]
    if settings.without_violence:
        violent = sort_clips(clips, descriptions).violent
        clips = [clip for clip in clips if clip.name not in violent]
    if not clips:
        raise PallasError(f"{', '.join(packs)} have no training clip: give other packs")
    return clips


def validation_clips(library: MotionLibrary, settings: TokenTraining) -> list[LibraryClip]:
    """The validation clips, used for choosing settings."""
    both = library.select("validation") + library.select("validation_subjects")
    return [c for c in both if not settings.packs or c.pack in settings.packs]
