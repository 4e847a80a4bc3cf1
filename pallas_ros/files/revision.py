"""Git commit of the code, recorded in generated files."""

import subprocess
from pathlib import Path


def revision() -> str:
    """Return the current commit of the code, or "unknown" outside a checkout."""
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
