"""Documentation that is true: links lead somewhere, commands exist, and generated pages are current."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from pallas_ros.cli import installed_commands

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_pictures_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)", page.read_text()):
        if not target.startswith(("http:", "https:", "mailto:")):
            assert (page.parent / target).exists(), f"{page.name} points at {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_that_are_named_exist(page: Path) -> None:
    known = set(installed_commands())
    blocks = re.findall(r"`pallas ([a-z][a-z-]*)", page.read_text()) + re.findall(
        r"^\s*pallas ([a-z][a-z-]*)", page.read_text(), re.MULTILINE
    )
    assert set(blocks) <= known | {"x"}


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs" / "index.md").read_text()
    for page in (ROOT / "docs").glob("*.md"):
        assert page.name == "index.md" or f"({page.name})" in index, (
            f"docs/index.md does not name {page.name}"
        )


def test_generated_pages_are_current(tmp_path: Path) -> None:
    before = {name: (ROOT / "docs" / name).read_text() for name in ("parameters.md", "commands.md")}
    run = subprocess.run(
        [sys.executable, "tools/docs.py", "--check"], cwd=ROOT, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert before == {name: (ROOT / "docs" / name).read_text() for name in before}
