"""Recognise paths of bags."""

from pathlib import Path

SUFFIXES = (".mcap", ".db3", ".bag")
"""Extensions of bag files; those of ROS 1 (.bag) are included to be rejected with a message."""


def is_bag(path: Path) -> bool:
    """Whether a path denotes a bag, not a motion file: a folder, or a bag's extension."""
    missing_folder = not path.suffix and not path.exists()
    return path.is_dir() or missing_folder or path.suffix.lower() in SUFFIXES
