"""Options of commands that process many recordings."""

import argparse

from pallas_ros.archive.tasks import Workers


def add_worker_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--jobs`` and ``--scheduler``."""
    parser.add_argument(
        "--jobs",
        type=int,
        default=0,
        metavar="N",
        help="recordings at a time (default: one per core)",
    )
    parser.add_argument(
        "--scheduler",
        default="",
        metavar="ADDRESS",
        help="address of a Dask scheduler whose workers do the work, such as tcp://host:8786",
    )


def workers_from(args: argparse.Namespace) -> Workers:
    """Return the requested workers.

    Raises:
        PallasError: a value is invalid.
    """
    return Workers(args.jobs, args.scheduler)
