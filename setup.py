"""pip's part of the build: everything static is in pyproject.toml and setup.cfg.

What is left is data: launch files, configuration, robots and models go to `share/pallas`, where
colcon puts them too.
"""

from pathlib import Path

from setuptools import setup

DATA = ("launch", "config", "urdf", "models")


def data_files() -> list[tuple[str, list[str]]]:
    """(folder under the prefix, files of it), for each folder below those of DATA."""
    folders: dict[str, list[str]] = {}
    for path in sorted(file for top in DATA for file in Path(top).rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            folders.setdefault(f"share/pallas/{path.parent.as_posix()}", []).append(path.as_posix())
    return sorted(folders.items())


setup(data_files=data_files())
