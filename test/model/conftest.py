"""The released weights."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def released() -> Path:
    return Path(__file__).resolve().parents[2] / "models" / "pallas.safetensors"
