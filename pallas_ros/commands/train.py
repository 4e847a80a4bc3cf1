"""`pallas train`: train a model."""

import argparse

from pallas_ros.commands import tasks
from pallas_ros.files.overwriting import check_released

HELP = "Train a model from motion data."
EXAMPLE = """\
  pallas train pallas --config config/training/pallas.yaml --data ../shared/data --out runs/pallas
  pallas train pallas --data ~/my_bvh_folder --out runs/mine        on BVH or AMASS files
  torchrun --nproc-per-node 4 -m pallas_ros.cli train pallas --out runs/pallas"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    tasks.configure(parser, "pallas.train")


def run(args: argparse.Namespace) -> int:
    """Train.

    Raises:
        PallasError: ``--out`` is the folder of the released models, or as the training raises.
    """
    check_released([getattr(args, "out", None)])
    return tasks.run(args)
