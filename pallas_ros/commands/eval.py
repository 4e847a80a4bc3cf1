"""`pallas eval`: measure a model's accuracy."""

import argparse

from pallas_ros.commands import tasks

HELP = "Evaluate a model on motion not used for training, and compare it with baselines."
EXAMPLE = """\
  pallas eval pallas --data ../shared/data
      seen, unseen and real, compared with T-pose and mean pose
  pallas eval pallas --data ../shared/data --json eval.json
      also write {"rows": [{"name", "case", "metric", "value", "unit"}, ...]}"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    tasks.configure(parser, "pallas.eval")


def run(args: argparse.Namespace) -> int:
    """Run the evaluation, and print or write the figures.

    Raises:
        PallasError: an input is missing or invalid.
    """
    return tasks.run(args)
