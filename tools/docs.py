"""Generate docs/parameters.md (all nodes) and docs/commands.md (the command `pallas`) from the
code.

make docs            writes both pages
... --check          exits with status 1 if a page is out of date
"""

from __future__ import annotations

import os
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
NOTICE = "<!-- Made by `make docs`. Do not edit. -->\n"


def parameters() -> str:
    """Return docs/parameters.md: a table per node, from config/parameters/."""
    from pallas_ros.files.parameters import describe

    text = f"# Parameters of the nodes\n\n{NOTICE}\n"
    text += "Set a parameter with `--ros-args -p NAME:=VALUE` or in a parameter file (`config/`). "
    text += (
        "An invalid value is rejected with a message that states the name and the valid values."
        " *Start* marks parameters that can only be set at start.\n"
    )
    for name in sorted(entry.name for entry in entry_points(group="pallas.nodes")):
        text += (
            f"\n## {name}\n\n| parameter | default | valid values | description |\n"
            "|---|---|---|---|\n"
        )
        for parameter in describe(name).values():
            when = " *Start.*" if parameter.read_only else ""
            cells = (
                f"`{parameter.name}`",
                f"`{shown(parameter.default)}`",
                parameter.valid_values(),
                f"{parameter.description}{when}",
            )
            text += (
                "| "
                + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells)
                + " |\n"
            )
    return text


def shown(value: Any) -> str:
    """Format a default as in YAML."""
    if isinstance(value, bool):
        return str(value).lower()
    return '""' if value == "" else str(value)


def commands() -> str:
    """Return docs/commands.md: the output of `pallas COMMAND --help` for each command."""
    from pallas_ros import cli

    os.environ["COLUMNS"] = "120"
    installed = cli.installed_commands()
    text = (
        "# The command"
        f" `pallas`\n\n{NOTICE}\n```\n{cli.build_parser(installed, None).format_help()}```\n"
    )
    for name in installed:
        help_text = cli.subparser(cli.build_parser(installed, name), name).format_help()
        text += f"\n## pallas {name}\n\n```\n{help_text.rstrip()}\n```\n"
    return text


def main() -> int:
    from pallas_ros.body.errors import PallasError

    stale = []
    for name, make in (("parameters.md", parameters), ("commands.md", commands)):
        try:
            path = ROOT / "docs" / name
            text = make()
        except PallasError as error:
            print(f"docs/{name}: {error}", file=sys.stderr)
            return 2
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(name)
        if "--check" not in sys.argv[1:]:
            path.write_text(text, encoding="utf-8")
            print(f"docs/{name}: written")
    if "--check" in sys.argv[1:] and stale:
        print(f"docs: {', '.join(stale)} are out of date: run `make docs`", file=sys.stderr)
        return 1
    print("docs: up to date" if not stale else f"docs: {len(stale)} changed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
