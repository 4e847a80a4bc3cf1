"""Which paths are bags."""

from pathlib import Path

SUFFIXES = (".mcap", ".db3", ".bag")
"""Endings of files that are bags; those of ROS 1 (.bag) are recognised to be refused by name."""


def is_bag(path: Path) -> bool:
    """Whether a path is meant as a bag rather than a motion file: a folder, or a file of a bag by
    its name.
    """
    missing_folder = not path.suffix and not path.exists()
    return path.is_dir() or missing_folder or path.suffix.lower() in SUFFIXES
