"""Tuned settings of the classical filters by filter and look-ahead, written by `pallas eval hpstm
--tune`, for the evaluation and `method: kalman`.
"""

from pathlib import Path
from typing import Any, Final

from pallas_ros.body.errors import PallasError
from pallas_ros.body.resources import resource
from pallas_ros.files.yaml_text import load_mapping

FilterSettings = dict[str, Any]

FILE: Final = "config/training/smoothing_baselines.yaml"


def load(path: str | Path = FILE) -> dict[str, dict[int, FilterSettings]]:
    """Settings by filter and look-ahead.

    Raises:
        PallasError: the file is missing or invalid.
    """
    path = resource(path)
    try:
        document = load_mapping(path, "file of tuned filter settings")
        return {
            name: {
                int(k): {key: value for key, value in own.items() if key != "validation_mm"}
                for k, own in by.items()
            }
            for name, by in document.items()
        }
    except (AttributeError, ValueError) as error:
        raise PallasError(
            f"{path}: not readable as tuned filter settings ({error}): create it again with `pallas"
            " eval hpstm --tune`"
        ) from None


def nearest(name: str, lookahead: int) -> FilterSettings:
    """The settings of a filter at the tuned look-ahead nearest to ``lookahead``.

    Raises:
        PallasError: the file is not readable, or the filter was not tuned.
    """
    by = load().get(name)
    if not by:
        raise PallasError(
            f"{FILE}: filter '{name}' is not tuned there: create it again with `pallas eval hpstm"
            " --tune`"
        )
    return by[min(by, key=lambda tuned: abs(tuned - lookahead))]
