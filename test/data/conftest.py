"""Location of the motion packs; tests that need them are skipped if they are missing."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def packs() -> Path:
    folder = Path(
        os.environ.get("PALLAS_DATA", Path(__file__).resolve().parents[3] / "shared" / "data")
    )
    if not (folder / "bandai_namco.npz").is_file():
        pytest.skip(f"the motion packs are not in {folder} (set PALLAS_DATA)")
    return folder
