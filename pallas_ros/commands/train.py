"""`pallas train`: train a model."""

import argparse

from pallas_ros.commands import tasks

HELP = "Train a model from motion data."
EXAMPLE = """\
  pallas train pallas --config config/training/pallas.yaml --data ../shared/data --out runs/pallas
  pallas train pallas --data ~/my_bvh_folder --out runs/mine        on BVH or AMASS files
  torchrun --nproc-per-node 4 -m pallas_ros.cli train pallas --out runs/pallas"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    tasks.configure(parser, "pallas.train")


def run(args: argparse.Namespace) -> int:
    """Train."""
    return tasks.run(args)
