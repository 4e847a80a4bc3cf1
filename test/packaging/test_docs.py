"""The documentation is correct: links resolve, commands exist, and generated pages are up to
date.
"""

import ast
import hashlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pallas_ros.cli import installed_commands

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
    ROOT / "examples" / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]


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


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_scripts_that_are_named_exist(page: Path) -> None:
    """Scripts named as the source of a table or picture exist."""
    named = re.findall(r"\b((?:benchmarks|tools|examples)/[\w/]+\.py)\b", page.read_text())
    for script in named:
        assert (ROOT / script).is_file(), f"{page.name} names {script}"


@pytest.mark.parametrize(
    "path",
    sorted(
        path for path in (ROOT / "models").iterdir() if path.suffix in (".onnx", ".safetensors")
    ),
    ids=lambda path: path.name,
)
def test_a_model_file_is_the_one_its_card_describes(path: Path) -> None:
    """Detects a file replaced without its card, and vice versa."""
    begin = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
    cards = [card.read_text() for card in path.parent.glob("*.md")]
    assert any(f"`{path.name}` {begin}" in card for card in cards)


PACKAGES_ROW = re.compile(r"^\| (`(?:pallas|hpstm)_ros/.*) \| .* \|(.*)\|$", re.MULTILINE)


def table_of_packages() -> dict[str, set[str]]:
    """Return the allowed imports of each package (or top-level module) from the architecture
    page.
    """
    page = (ROOT / "docs" / "guide" / "architecture.md").read_text()
    table: dict[str, set[str]] = {}
    foundations: set[str] = set()
    for packages, imports in PACKAGES_ROW.findall(page):
        for package in re.findall(r"`([^`]+)`", packages):
            top = package.split("/")[0]
            named = {name.strip() for name in imports.split(",")} - {""}
            table[package] = foundations | {
                name if "." in name or name in ("all", "torch", "rclpy") else f"{top}.{name}"
                for name in named
            }
            if package in ("pallas_ros/core", "pallas_ros/files", "pallas_ros/body"):
                foundations = foundations | {package.replace("/", ".")}
    return table


def imports_of(package: str) -> set[str]:
    """Return the packages of this project, torch and rclpy imported by the modules of a package."""
    found = set()
    path = ROOT / package
    for file in [path] if path.is_file() else path.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module]
                if node.module in ("pallas_ros", "hpstm_ros"):
                    names = [f"{node.module}.{alias.name}" for alias in node.names]
            for name in names:
                if name.startswith(("pallas_ros.", "hpstm_ros.")):
                    found.add(".".join(name.split(".")[:2]))
                elif name.split(".")[0] in ("torch", "rclpy"):
                    found.add(name.split(".")[0])
    return found - {package.replace("/", "."), "pallas_ros.__version__"}


def test_the_table_of_packages_is_complete() -> None:
    there = {
        f"{top}/{path.name}"
        for top in ("pallas_ros", "hpstm_ros")
        for path in (ROOT / top).iterdir()
        if (path / "__init__.py").is_file()
        or (path.suffix == ".py" and not path.stem.startswith("_"))
    }
    assert table_of_packages().keys() == there


@pytest.mark.parametrize("package", table_of_packages())
def test_a_package_imports_what_the_table_allows(package: str) -> None:
    allowed = table_of_packages()[package]
    assert "all" in allowed or imports_of(package) <= allowed


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs" / "index.md").read_text()
    site = (ROOT / "mkdocs.yml").read_text()
    for page in (ROOT / "docs").rglob("*.md"):
        name = page.relative_to(ROOT / "docs").as_posix()
        assert name == "index.md" or f"({name})" in index, f"docs/index.md does not name {name}"
        assert f"- {name}\n" in site, f"mkdocs.yml does not name {name}"


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    """Broken links and missing anchors are errors (`strict` in mkdocs.yml)."""
    build = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(tmp_path)]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "search" / "search_index.json").exists()


def test_generated_pages_are_current(tmp_path: Path) -> None:
    before = {name: (ROOT / "docs" / name).read_text() for name in ("parameters.md", "commands.md")}
    run = subprocess.run(
        [sys.executable, "tools/docs.py", "--check"], cwd=ROOT, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert before == {name: (ROOT / "docs" / name).read_text() for name in before}
