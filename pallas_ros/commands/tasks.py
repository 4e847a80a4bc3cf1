"""Shared code of `pallas train` and `pallas eval`: dispatch to a model's module by entry point."""

import argparse
import importlib.metadata
import os
from typing import Protocol, cast

from pallas_ros.body.errors import PallasError


class Task(Protocol):
    """A module of the groups ``pallas.train`` and ``pallas.eval``."""

    HELP: str

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Add the options to a parser."""
        ...

    def run(self, args: argparse.Namespace) -> int:
        """Run and return the exit status."""
        ...


THREADS = {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0"}
"""Let waiting threads sleep. By default they spin: if another process occupies the core of one
thread, all others spin until it is done. With one other busy process, evaluation took twenty times
as long.
"""


def configure(parser: argparse.ArgumentParser, group: str) -> None:
    """Add a subcommand for each model of the entry-point group.

    Raises:
        PallasError: a required Python package is not installed.
    """
    for name, value in THREADS.items():  # before loading the libraries that read them
        os.environ.setdefault(name, value)
    subparsers = parser.add_subparsers(title="models", dest="model", required=True, metavar="MODEL")
    for entry in sorted(importlib.metadata.entry_points(group=group), key=lambda entry: entry.name):
        try:
            task = cast(Task, entry.load())
        except ModuleNotFoundError as error:
            raise PallasError(
                f"'{entry.name}' needs the Python package {error.name}: run `make setup`, or pip"
                " install 'pallas-ros[train]'"
            ) from error
        model = subparsers.add_parser(
            entry.name,
            help=task.HELP,
            description=task.HELP,
            formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        )
        task.configure(model)
        model.set_defaults(task=task)


def run(args: argparse.Namespace) -> int:
    """Run the chosen model's task."""
    return cast(Task, args.task).run(args)
