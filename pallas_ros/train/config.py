"""Configuration files of the training of PALLAS."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pallas_ros.body.errors import PallasError
from pallas_ros.data.sequences import AugmentationSettings
from pallas_ros.data.virtual_imu import SensorErrors
from pallas_ros.files.settings import check_ranges, settings
from pallas_ros.files.yaml_text import load_mapping
from pallas_ros.model.config import PallasConfig
from pallas_ros.train.loop import LoopSettings
from pallas_ros.train.losses import LossWeights


@dataclass(frozen=True)
class TrainingConfig:
    """A configuration file: sections ``model``, ``data``, ``augmentation``, ``loss``, ``loop``.

    ``packs`` and ``contents`` restrict training to their clips; empty: all. A folder of motion
    files has no packs. ``share`` restricts it to this share of the duration, in whole subjects.
    ``deviation_margin`` multiplies the standard deviations of the released weights; 0: by factors
    calibrated on the validation subjects (`calibrate`).
    """

    model: PallasConfig
    baseline: str
    frames: int
    batch: int
    development: bool
    augmentation: AugmentationSettings
    loss: LossWeights
    loop: LoopSettings
    deviation_margin: float = 0.0
    contents: tuple[str, ...] = ()
    packs: tuple[str, ...] = ()
    share: float = 1.0


@dataclass(frozen=True)
class DataSettings:
    """The section ``data``: frames and sequences of a batch, and the selection of clips; empty
    lists: all.

    Raises:
        ValueError: a number is out of range.
    """

    frames: int = 120
    batch: int = 48
    development: bool = False
    contents: tuple[str, ...] = ()
    packs: tuple[str, ...] = ()
    share: float = 1.0

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_ranges(self, frames=(16, 100_000), batch=(1, 100_000))


_Section = TypeVar("_Section")


def read_config(path: str | Path) -> TrainingConfig:
    """Read a configuration file.

    Raises:
        PallasError: the file is missing, not YAML, has an unknown key, or a value is out of range.
    """
    document = load_mapping(path, "training configuration")
    known = {"model", "data", "augmentation", "loss", "loop", "baseline", "deviation_margin"}
    for name in document:
        if name not in known:
            raise PallasError(
                f"{path}: unknown section '{name}': known are {', '.join(sorted(known))}"
            )

    def section(name: str, kind: type[_Section], **extra: Any) -> _Section:
        return settings(kind, document.get(name), f"{path}: {name}", **extra)

    augmentation = document.get("augmentation")
    wrong: Any = None
    if isinstance(augmentation, dict):
        wrong = augmentation.pop("errors", None)
    if wrong is None or isinstance(wrong, dict):
        wrong = {"delay": [0, 4], **(wrong or {})}
    errors = settings(SensorErrors, wrong, f"{path}: augmentation.errors")
    data = section("data", DataSettings)
    loop = section("loop", LoopSettings)
    return TrainingConfig(
        model=section("model", PallasConfig),
        baseline=str(document.get("baseline", "")),
        frames=data.frames,
        batch=data.batch,
        development=data.development,
        contents=data.contents,
        packs=data.packs,
        share=_share(path, data.share),
        augmentation=section("augmentation", AugmentationSettings, errors=errors),
        loss=section("loss", LossWeights),
        loop=loop,
        deviation_margin=_margin(path, document.get("deviation_margin", 0.0)),
    )


def _margin(path: str | Path, value: Any) -> float:
    if not isinstance(value, (int, float)) or not (value == 0 or 0.5 <= value <= 5):
        raise PallasError(
            f"{path}: deviation_margin is {value}: it must be a number from 0.5 to 5, or 0 to"
            " determine it"
        )
    return float(value)


def _share(path: str | Path, value: float) -> float:
    if not 0 < value <= 1:
        raise PallasError(f"{path}: data.share is {value}: it must be above 0 and at most 1")
    return value
