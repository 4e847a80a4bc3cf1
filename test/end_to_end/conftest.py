"""Shared fixtures for tests of the whole graph: start it, and end all remaining processes."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from graph_process import Up


@pytest.fixture
def start(tmp_path: Path, ros_domain: int) -> Iterator[Callable[..., Up]]:
    started: list[Up] = []

    def make(*arguments: str) -> Up:
        started.append(Up(tmp_path, *arguments))
        return started[-1]

    yield make
    for up in started:
        if up.process.poll() is None:
            os.killpg(up.process.pid, signal.SIGKILL)
            up.process.wait()
