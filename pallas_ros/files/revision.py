"""The commit that the code is at, for the files that it writes."""

import subprocess
from pathlib import Path


def revision() -> str:
    """The commit that the code is at, or "unknown" outside a checkout."""
    try:
        command = ["git", "rev-parse", "--short", "HEAD"]
        return subprocess.run(
            command,
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"
