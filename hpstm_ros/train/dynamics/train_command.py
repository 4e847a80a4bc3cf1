"""`pallas train dynamics`."""

import argparse
import json
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from tqdm import tqdm

from hpstm_ros.train.dynamics.data import (
    HELD_OUT,
    Domain,
    from_library,
    from_trial,
    join,
    stretches,
)
from hpstm_ros.train.dynamics.markers import marker_offsets
from hpstm_ros.train.dynamics.released import export
from hpstm_ros.train.dynamics.training import DOMAINS, TrainingSettings, train
from hpstm_ros.train.measured import Trial, read_trials
from hpstm_ros.train.released import document_of_run
from pallas_ros.body.errors import PallasError
from pallas_ros.body.names import MODEL_RATE_HZ
from pallas_ros.body.resources import cache_folder, resource
from pallas_ros.data.library import MotionLibrary
from pallas_ros.files.settings import settings as from_mapping
from pallas_ros.files.yaml_text import load_mapping

HELP = "Train HDyS, forces from motion; an interrupted run resumes."
MEASURED = "dynamics_real.npz"
_CHECKED_MINUTES = 3.0


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument(
        "--config", default="config/training/dynamics.yaml", help="training settings"
    )
    parser.add_argument("--data", default="../shared/data", help="folder of the motion packs")
    parser.add_argument(
        "--measured", metavar="F", help=f"trials with force plates (default: DATA/{MEASURED})"
    )
    parser.add_argument(
        "--out",
        default="runs/dynamics",
        help="folder of checkpoints, TensorBoard logs and the exported model",
    )
    parser.add_argument(
        "--init", metavar="F", help="weights (.safetensors) to begin with, where their shapes fit"
    )


def run(args: argparse.Namespace) -> int:
    """Train and export."""
    settings = read_settings(resource(args.config))
    trials = read_trials(args.measured or Path(args.data) / MEASURED)
    library = MotionLibrary.open(args.data, alignment="bent")
    parts = split_domains(
        library,
        trials,
        ("train",),
        settings.minutes,
        held_out=False,
        simulated=settings.simulated_minutes if "simulated" in settings.domains else 0.0,
    )
    checked = split_domains(
        library, trials, ("validation", "validation_subjects"), _CHECKED_MINUTES, held_out=False
    )
    folder = Path(args.out)
    start = _weights(args.init) if args.init else None
    step = train(parts, {"rigid_body": checked["rigid_body"]}, settings, folder, start)
    training = json.loads((folder / "checkpoint.json").read_text())
    document = {
        "training": {**training, "seed": settings.seed, "domains": list(settings.domains)},
        **({"begun_with": Path(args.init).name} if args.init else {}),
        "held_out": list(HELD_OUT),
        **document_of_run(),
    }
    path = export(step, folder, document)
    print(f"{path}: measure it with `pallas eval dynamics --model {path.with_suffix('')}`")
    return 0


def split_domains(
    library: MotionLibrary,
    trials: list[Trial],
    splits: tuple[str, ...],
    minutes: float,
    *,
    held_out: bool,
    simulated: float = 0.0,
) -> dict[str, Domain]:
    """The domains of a split: segments of the library, the held-out trials or the others, and
    ``simulated`` minutes of the segments, followed in MuJoCo.

    Raises:
        PallasError: a domain contains no motion.
    """
    training = [trial for trial in trials if trial.name not in HELD_OUT]
    if not training:
        raise PallasError("all measured trials are held out: give others to train on")
    chosen = [trial for trial in trials if (trial.name in HELD_OUT) is held_out]
    parts = stretches(library, splits, minutes)
    if not parts:
        raise PallasError(f"the data contain no CMU motion of the splits {', '.join(splits)}")
    frames = sum(last - first for _, first, last in parts)
    label = f"forces of {frames / MODEL_RATE_HZ / 60:.0f} min"
    with tqdm(total=frames, unit=" frames", desc=label, disable=None) as bar:
        offsets = marker_offsets(training)
        motion = from_library(library, parts, offsets, cache_folder(), bar.update)
    domains = {
        "rigid_body": motion,
        "measured": join("measured", [from_trial(trial) for trial in chosen]),
    }
    if simulated:
        from hpstm_ros.train.dynamics.simulated import from_simulation  # needs MuJoCo

        some = stretches(library, splits, simulated)
        frames = sum(last - first for _, first, last in some)
        label = f"simulation of {frames / MODEL_RATE_HZ / 60:.0f} min"
        with tqdm(total=frames, unit=" frames", desc=label, disable=None) as bar:
            domains["simulated"] = from_simulation(
                library, some, offsets, cache_folder(), bar.update
            )
    return domains


def _weights(path: str) -> dict[str, Tensor]:
    """Tensors of a safetensors file.

    Raises:
        PallasError: the file is not a safetensors file.
    """
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise PallasError(f"{path}: not weights in safetensors format: {error}") from None


def read_settings(path: Path) -> TrainingSettings:
    """Settings of a YAML file.

    Raises:
        PallasError: the file is not readable, or contains an unknown key or an invalid value.
    """
    settings = from_mapping(
        TrainingSettings, load_mapping(path, "file of training settings"), f"{path}"
    )
    for name, low, high in (
        ("minutes", 0.1, 600),
        ("simulated_minutes", 0.1, 600),
        ("share", 0.01, 1),
        ("batch", 2, 4096),
        ("encoders", 1, 4),
    ):
        value = getattr(settings, name)
        if not low <= value <= high:
            raise PallasError(f"{path}: {name} is {value}, must be from {low} to {high}")
    if not settings.domains or not set(settings.domains) <= set(DOMAINS):
        raise PallasError(f"{path}: domains must be of {', '.join(DOMAINS)}")
    return settings
