"""`pallas train expectation`: the network of forecasts and gaps, its covariance calibrated."""

import argparse
import json
from pathlib import Path

import numpy as np

from hpstm_ros.generation import representation as rep
from hpstm_ros.generation.expectation import Expectation
from hpstm_ros.train.expectation import (
    AHEAD,
    PAST,
    ExpectationSettings,
    export,
    kept_clips,
    train,
    validation_windows,
)
from hpstm_ros.train.options import add_training_options, read_settings
from pallas_ros.body.names import JOINTS
from pallas_ros.data.library import MotionLibrary
from pallas_ros.data.licences import licence_of

HELP = "Train the network for forecasts and gap filling; an interrupted run resumes."
_CHI_SQUARE_90 = 6.2514
"""Squared radius of a 90 % ellipsoid, three degrees of freedom."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    add_training_options(parser, "expectation")


def run(args: argparse.Namespace) -> int:
    """Train, calibrate, export."""
    settings = read_settings(
        ExpectationSettings, args.config, batch=(1, 4096), ahead=(0, 1), gap=(0, 1)
    )
    folder = Path(args.out)
    library = MotionLibrary.open(args.data, alignment="bent")
    model, figures = train(library, settings, folder)
    document = {
        "training": json.loads((folder / "checkpoint.json").read_text()),
        "licence": licence_of(clip.pack for clip in kept_clips(library, settings)),
    }
    path = export(model, folder, document)
    scale = deviation_scale(library, Expectation(path))
    path = export(model, folder, {**document, "deviation_scale": scale})
    listed = ", ".join(f"{name} {value:.2f}" for name, value in figures.items())
    print(f"{path}: {listed}; measure it with `pallas eval hpstm_gen --expectation {path}`")
    return 0


def deviation_scale(library: MotionLibrary, expectation: Expectation) -> float:
    """Factor on the standard deviations with which 90 % of the positions of the next second of
    validation subjects are in their 90 % ellipsoids.
    """
    truth = validation_windows(library).features
    seen = np.zeros((*truth.shape[:2], len(JOINTS)), dtype=bool)
    seen[:, :PAST] = True
    ahead = slice(PAST, PAST + AHEAD)
    mean, deviation = expectation.expect(truth, seen)
    away = (rep.positions(mean) - rep.positions(truth))[:, ahead] / deviation[:, ahead]
    squared = (away**2).sum(-1)
    return round(expectation.scale * float(np.sqrt(np.quantile(squared, 0.9) / _CHI_SQUARE_90)), 4)
