"""Resolve pyproject.toml (all extras) and requirements/venv.in to requirements/lock.txt: one file
for Python 3.10 to 3.12.

Run it as `make lock`, with any Python >= 3.9. It uses `uv` in a temporary environment; `make setup`
installs the result.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements" / "lock.txt"
UV = "uv==0.13.8"
# setup.py installs torch with its dependencies, so torch's CUDA packages are omitted here.
TORCH_OWN = re.compile(r"^(nvidia-|cuda-|triton)")
HEADER = """\
# Made by `make lock` from pyproject.toml (all extras) and requirements/venv.in. Do not edit.
# Every package of the .venv of `make setup`, for Python 3.10 to 3.12; installed with --no-deps.
"""


def resolve(uv: Path, draft: Path) -> list[str]:
    """Return the pinned requirements, one per line.

    `draft` starts as a copy of the current lock file, whose versions uv keeps if they are still
    compatible.
    """
    command = [
        *(str(uv), "pip", "compile", "--universal", "--python-version", "3.10", "--all-extras"),
        *("--no-annotate", "--no-header", "--no-emit-index-url", "--no-emit-find-links", "--quiet"),
        *("--output-file", str(draft), "pyproject.toml", "requirements/venv.in"),
        *sys.argv[1:],  # e.g. --upgrade-package NAME
    ]
    subprocess.run(command, cwd=ROOT, check=True)
    # `extra-index` lines name hosts, and torch's local version (+cpu) exists only on some of them
    lines = [
        line for line in draft.read_text().splitlines() if line and not line.startswith(("-", "#"))
    ]
    return [line.replace("+cpu", "") for line in lines if not TORCH_OWN.match(line)]


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        print(f"installing {UV} in a temporary environment", flush=True)
        venv.create(folder, with_pip=True)
        bin_dir = Path(folder) / "bin"
        subprocess.run([bin_dir / "pip", "install", "--quiet", UV], check=True)
        print("resolving", flush=True)
        draft = Path(folder) / "lock.txt"
        before = LOCK.read_text() if LOCK.exists() else ""
        draft.write_text(before)
        pins = resolve(bin_dir / "uv", draft)
    LOCK.write_text(HEADER + "\n".join(pins) + "\n")
    changed = [pin for pin in pins if pin not in before.splitlines()]
    print(f"{LOCK.relative_to(ROOT)}: {len(pins)} packages, {len(changed)} lines new or changed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
