"""Training of PALLAS: `pallas train pallas --config config/training/pallas.yaml`."""

import argparse
import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

from pallas_ros.body.errors import PallasError
from pallas_ros.body.names import EXTRA_SITES, JOINTS, LEG_JOINTS, UPPER_JOINTS
from pallas_ros.data.draws import child_generator
from pallas_ros.data.library import LibraryClip, MotionLibrary
from pallas_ros.data.licences import licence_in, licence_of, stricter
from pallas_ros.data.sequences import AugmentationSettings, SequenceSampler
from pallas_ros.data.splits import DEVELOPMENT_CONTENTS
from pallas_ros.data.virtual_imu import SensorErrors, Sequence, joint_positions
from pallas_ros.files.weights import weights_metadata
from pallas_ros.model.gru import GruConfig, GruPallas
from pallas_ros.model.pallas import Pallas
from pallas_ros.motion_files import Overrides, add_options, overrides_from
from pallas_ros.train import processes
from pallas_ros.train.config import TrainingConfig, read_config
from pallas_ros.train.loop import device, fast_bfloat16, fit
from pallas_ros.train.losses import pallas_loss
from pallas_ros.train.selection import clips_of, part_of

CONFIG = Path("config/training/pallas.yaml")
WEIGHTS = "model.safetensors"
PLAIN = AugmentationSettings(
    retime=0,
    mirror=0,
    foreign_arm=0,
    keyed_arm=0,
    free_arm=0,
    foreign_upper=0,
    swing=0,
    arm_turn_deg=0,
    pronation_deg=0,
    trunk_deg=0,
    bend=0,
    leg_deg=0,
    segment_scale=0,
    every_site=True,
    error_scale=(1.0, 1.0),
    errors=SensorErrors(),
)
"""Settings of validation: no augmentation, nominal sensor errors, all optional sensors worn."""
CALIBRATED_SITES: tuple[tuple[str, ...], ...] = ((), EXTRA_SITES[:2], EXTRA_SITES[:4])
"""Optional sensors of the calibration: none, shins, shins and upper arms."""


def validation_batches(
    library: MotionLibrary,
    clips: list[LibraryClip],
    frames: int = 240,
    batch: int = 32,
    count: int = 2,
) -> list[Sequence]:
    """Fixed sequences, the same for every run."""
    sampler = SequenceSampler(library, clips, frames, batch, PLAIN, seed=7)
    return [next(sampler) for _ in range(count)]


def mpjpe_cm(
    model: Pallas, batches: list[Sequence], sites: tuple[str, ...] = ()
) -> dict[str, float]:
    """Root-relative MPJPE in cm of upper body and legs on fixed sequences, with the given optional
    sensors.
    """
    sums = {"upper": 0.0, "legs": 0.0}
    for batch in batches:
        out = model(batch.imu, extra=batch.wearing(sites))
        error = (out.positions - joint_positions(batch.rotations, model.offsets)).norm(dim=-1)
        sums["upper"] += 100 * float(error[..., list(UPPER_JOINTS)].mean()) / len(batches)
        sums["legs"] += 100 * float(error[..., list(LEG_JOINTS)].mean()) / len(batches)
    return sums


def checks(library: MotionLibrary) -> dict[str, tuple[list[Sequence], tuple[str, ...]]]:
    """Fixed validation sequences, and the optional sensors worn in them.

    They are from the validation subjects if the library has them; otherwise from clips like those
    of training and from the development contents.
    """
    subjects = library.select("validation_subjects")
    if subjects:
        batches = validation_batches(library, subjects)
        return {"subjects": (batches, ()), "subjects_6_sites": (batches[:1], EXTRA_SITES[:2])}
    development = [
        c
        for c in library.clips
        if c.content in DEVELOPMENT_CONTENTS and c.split in ("train", "validation")
    ]
    sets = {"validation": library.require("validation", development=False)}
    if development:  # contents of the packs; a folder of motion files has none
        sets["development"] = development
    return {name: (validation_batches(library, some), ()) for name, some in sets.items()}


def build(config: TrainingConfig) -> Pallas:
    """Build the network of a configuration."""
    return (
        GruPallas(GruConfig(2 * config.model.width))
        if config.baseline == "gru"
        else Pallas(config.model)
    )  # of the same size


def train(
    config_path: str | Path,
    data: str | Path,
    out: str | Path,
    overrides: Overrides | None = None,
    init: str | Path | None = None,
) -> Path:
    """Train with a configuration file; return the path of the weights, ``OUT/model.safetensors``.

    Under ``torchrun``, the first process writes them.

    Args:
        config_path: the configuration.
        data: folder of packs, or of motion files.
        out: folder of the run.
        overrides: options for reading motion files, if ``data`` contains any.
        init: weights to start from (fine-tuning); random if None.

    Raises:
        PallasError: a file is invalid, or ``init`` is not the network of the configuration.
    """
    config = read_config(config_path)
    rank = processes.start()
    torch.manual_seed(config.loop.seed)
    library = MotionLibrary.open(data, overrides=overrides)
    clips = _training_clips(library, config)
    seed = config.loop.seed * 1000 + rank
    sampler = SequenceSampler(
        library, clips, config.frames, config.batch, config.augmentation, seed
    )
    validation_sets = checks(library) if rank == 0 else {}  # the first process validates
    where = device()
    model = build(config)
    if init is not None:
        start_from(model, init)
    model = model.to(where)
    model.mixed_precision = fast_bfloat16()
    if rank == 0:
        print(
            f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f} M parameters,"
            f" {len(clips)} clips, {sum(c.seconds for c in clips) / 3600:.2f} h, on {where}"
        )

    def validate(network: Any) -> dict[str, float]:
        figures: dict[str, float] = {}
        for name, (batches, sites) in validation_sets.items():
            moved = [b.to(where) for b in batches]
            figures |= {f"{name}_{k}_cm": v for k, v in mpjpe_cm(network, moved, sites).items()}
        return figures

    def loss(network: Any, batch: Sequence) -> tuple[torch.Tensor, dict[str, float]]:
        noise = child_generator(sampler.generator)  # continues in a resumed run
        return pallas_loss(cast(Pallas, network), batch.to(where), config.loss, noise)

    folder = Path(out)
    trained = fit(model, sampler, loss, config.loop, folder, validate, sampler.generator).cpu()
    if rank != 0:
        return folder / WEIGHTS
    return _release(cast(Pallas, trained), config, library, clips, folder, init)


def _training_clips(library: MotionLibrary, config: TrainingConfig) -> list[LibraryClip]:
    """The training clips of a configuration.

    Development contents are evaluated separately, and used for training only if the configuration
    includes them.
    """
    clips = library.require("train", development=None if config.development else False)
    packs = () if library.is_of_files else config.packs
    clips = clips_of("pack", packs, clips_of("content", config.contents, clips))
    return part_of(clips, config.share)


def _release(
    model: Pallas,
    config: TrainingConfig,
    library: MotionLibrary,
    clips: list[LibraryClip],
    folder: Path,
    init: str | Path | None,
) -> Path:
    """Calibrate the predicted deviations of a trained model, write its weights, return the path."""
    margin = (
        torch.full((len(JOINTS),), config.deviation_margin)
        if config.deviation_margin
        else calibrate(model, library)
    )
    scale_deviations(model, margin)
    licence = licence_of(clip.pack for clip in clips)
    if init is not None:
        licence = stricter(licence, licence_in(json.loads(weights_metadata(init)["pallas"])))
    metadata = {
        "training": {
            **json.loads(json.dumps(asdict(config), default=str)),
            "start": str(init or ""),
        },
        "licence": licence,
        "deviation_margin": [round(float(m), 4) for m in margin],
    }
    return save_model(model, folder / WEIGHTS, metadata)


@torch.no_grad()
def start_from(model: Pallas, weights: str | Path) -> None:
    """Copy trained weights into a network, without the factors on their deviations.

    Raises:
        PallasError: the file is damaged, or contains a different network.
    """
    from pallas_ros.model.step import load_model

    trained = load_model(weights)
    own = model.metadata()
    given = trained.metadata()
    if own != given:
        raise PallasError(
            f"{weights}: its network is not the configuration's ({given}, not {own}); change the"
            " section 'model', or train without --init"
        )
    for parameter, value in zip(model.parameters(), trained.parameters(), strict=True):
        parameter.copy_(value)
    _remove_margin(model, json.loads(weights_metadata(weights)["pallas"]))


def _remove_margin(model: Pallas, document: dict[str, Any]) -> None:
    """Divide the deviations by the factors stated in the document of their weights."""
    margin = document.get("deviation_margin")
    if margin is not None:
        scale_deviations(model, 1 / torch.tensor(margin))


@torch.no_grad()
def scale_deviations(model: Pallas, factors: torch.Tensor) -> None:
    """Multiply the standard deviations of a network by factors (22,)."""
    model.deviation.bias.add_(factors.log())


def recalibrate(
    weights: str | Path, data: str | Path, out: str | Path, overrides: Overrides | None = None
) -> Path:
    """Determine the factors on the deviations of trained weights again, without training; write
    ``OUT/model.safetensors`` and return its path.

    Raises:
        PallasError: a file is invalid, the data contain no clip for validation, the folder contains
            a model, or ``torchrun`` started several processes.
    """
    from pallas_ros.model.step import load_model

    if processes.count() > 1:
        raise PallasError("--calibrate-only runs in one process: start it without torchrun")
    output = Path(out) / WEIGHTS
    for file in (output, output.with_suffix(".onnx")):
        if file.exists():
            raise PallasError(f"{file} exists: give another folder as --out")
    model = load_model(weights)
    document = json.loads(weights_metadata(weights)["pallas"])
    _remove_margin(model, document)
    library = MotionLibrary.open(data, overrides=overrides)
    if not library.select("validation_subjects"):
        library.require("validation")
    margin = calibrate(model, library)
    scale_deviations(model, margin)
    Path(out).mkdir(parents=True, exist_ok=True)
    stated = {"deviation_margin": [round(float(m), 4) for m in margin]}
    return save_model(model, output, {**document, **stated})


@torch.no_grad()
def calibrate(model: Pallas, library: MotionLibrary) -> torch.Tensor:
    """Factors (22,) on the standard deviations with which at least 90 % of the positions of
    validation subjects are in their 90 % ellipsoids, with four, six and eight sensors each.

    There is one factor for the upper body and one for the legs: the largest of those of the sets of
    sensors, since pooled errors would make the ellipsoids of four sensors too small. The clips are
    those of the validation subjects, or of the validation split if there are none.
    """
    clips = library.select("validation_subjects") or library.select("validation")
    if not clips:
        return torch.ones(len(JOINTS))
    batches = validation_batches(library, clips, count=3)
    return torch.stack([_factors(model, batches, sites) for sites in CALIBRATED_SITES]).amax(0)


def _factors(model: Pallas, batches: list[Sequence], sites: tuple[str, ...]) -> torch.Tensor:
    """The factors (22,) of `calibrate` for one set of optional sensors."""
    ratios = []
    for batch in batches:
        truth = joint_positions(batch.rotations, model.offsets)
        out = model(batch.imu, extra=batch.wearing(sites))
        error = (out.positions - truth).square().sum(-1)
        # without the first second, in which a stream is not in its steady state
        ratios.append((error / (2 * out.log_deviation.clamp(-6.5, 0)).exp())[:, 60:])
    ratio = torch.cat(ratios).flatten(0, 1)
    margin = torch.ones(len(JOINTS))
    for joints in (list(UPPER_JOINTS[1:]), list(LEG_JOINTS)):
        # 90 % of a standard 3-D Gaussian are within 6.251 squared deviations; numpy's quantile
        # has no size limit
        margin[joints] = float((np.quantile(ratio[:, joints].numpy(), 0.9) / 6.251) ** 0.5)
    return margin


def save_model(model: nn.Module, path: Path, extra: dict[str, Any]) -> Path:
    """Write weights, with the configuration of the network in the metadata of the file."""
    weights = {name: p.detach().cpu().contiguous() for name, p in model.named_parameters()}
    save_file(weights, path, metadata={"pallas": json.dumps({**model.metadata(), **extra})})  # type: ignore[operator]
    return path


HELP = "Train the network that estimates a body from four IMUs."


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of `pallas train pallas`."""
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help=f"the configuration (default: {CONFIG})"
    )
    parser.add_argument(
        "--data",
        type=Path,
        default=Path(os.environ.get("PALLAS_DATA", "../shared/data")),
        help="folder of the motion packs, or of motion files (BVH, AMASS and others)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        help=(
            "folder of the run; resumed if it contains a checkpoint; with --calibrate-only, a"
            " folder without a model"
        ),
    )
    weights = parser.add_mutually_exclusive_group()
    weights.add_argument(
        "--init",
        type=Path,
        metavar="WEIGHTS",
        help="start from these weights (.safetensors), for example to fine-tune on your own motion",
    )
    weights.add_argument(
        "--calibrate-only",
        type=Path,
        metavar="WEIGHTS",
        help=(
            "do not train; determine the factors on the standard deviations of these weights on"
            " the validation subjects"
        ),
    )
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0: one per core")
    add_options(parser)


def run(args: argparse.Namespace) -> int:
    """Train, or only calibrate, and export the result.

    Raises:
        PallasError: an argument or an input is invalid.
    """
    from pallas_ros.body.resources import resource
    from pallas_ros.model.step import export

    if args.calibrate_only and args.config:
        raise PallasError(
            "--config does not apply to --calibrate-only, which takes the network from its weights:"
            " leave it out"
        )
    if args.threads:
        torch.set_num_threads(args.threads)
    overrides = overrides_from(args)
    path = (
        recalibrate(args.calibrate_only, args.data, args.out, overrides)
        if args.calibrate_only
        else train(resource(args.config or CONFIG), args.data, args.out, overrides, args.init)
    )
    if processes.rank() != 0:
        return 0
    with torch.no_grad():
        onnx = export(path, path.with_suffix(".onnx")) if load_kind(path) == "pallas" else None
    print(f"trained weights in {path}" + (f", streaming model in {onnx}" if onnx else ""))
    return 0


def load_kind(path: Path) -> str:
    """The kind of network in a weights file."""
    return str(json.loads(weights_metadata(path)["pallas"])["kind"])
