# PYTHON_ARGCOMPLETE_OK
"""The command `pallas`: finds its subcommands in the entry-point group ``pallas.commands`` and runs
one.

A command is a module with ``HELP`` (one sentence), ``EXAMPLE`` (lines to type),
``configure(parser)`` and ``run(args) -> int``. Only the module of the selected command is imported;
`HELP` of the others is read from their source, so that `pallas --help` stays fast.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import importlib
import importlib.util
import io
import os
import shlex
import sys
from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import NoReturn, Protocol, cast

from pallas_ros import __version__
from pallas_ros.core.errors import PallasError, readable

GROUP = "pallas.commands"
EXAMPLE = """\
examples:
  pallas up --duration 20                   the whole graph: simulated sensors, body, smoothing, arm
  pallas process walk.npz motion.npz        an IMU recording into a motion
  pallas smooth motion.npz smooth.npz
  pallas retarget smooth.npz arm.npz --robot panda --arm right

`pallas COMMAND --help` describes each. Completion: eval "$(pallas --completion bash)"
    (or zsh, fish)"""


class Command(Protocol):
    """Interface of a module in the group ``pallas.commands``."""

    HELP: str
    EXAMPLE: str

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Add the options to a parser."""
        ...

    def run(self, args: argparse.Namespace) -> int:
        """Run and return the exit status."""
        ...


class Parser(argparse.ArgumentParser):
    """argparse with one-sentence errors."""

    def error(self, message: str) -> NoReturn:
        """Print one sentence and where to find help."""
        self.exit(2, f"{self.prog}: {readable(message)} (see {self.prog} --help)\n")


def installed_commands() -> dict[str, EntryPoint]:
    """Return the subcommands by name, sorted."""
    return {
        entry.name: entry
        for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name)
    }


def help_line(entry: EntryPoint) -> str:
    """Return `HELP` of a command's module, read from its source without importing it."""
    try:
        spec = importlib.util.find_spec(entry.value)
        source = Path(spec.origin).read_bytes() if spec and spec.origin else b""
        for statement in ast.parse(source).body:
            target = (
                statement.targets[0]
                if isinstance(statement, ast.Assign)
                else getattr(statement, "target", None)
            )
            if isinstance(target, ast.Name) and target.id == "HELP":
                return str(ast.literal_eval(cast("ast.Assign", statement).value))
    except (ImportError, OSError, SyntaxError, ValueError):
        pass
    return "(not available in this installation)"


def load(entry: EntryPoint) -> Command:
    """Import a command's module.

    Raises:
        PallasError: it, or a package it needs, is not installed.
    """
    try:
        return cast(Command, importlib.import_module(entry.value))
    except ModuleNotFoundError as error:
        if error.name == entry.value:
            raise PallasError(
                f"the command '{entry.name}' is not part of this installation ({error.name} is"
                " missing)"
            ) from error
        if (error.name or "").split(".")[0] in ("rclpy", "pallas"):
            raise PallasError(
                f"'{entry.name}' needs ROS 2 ({error.name} is missing): run `make setup`, or source"
                " a ROS 2 workspace"
            ) from error
        raise PallasError(
            f"'{entry.name}' needs the Python package {error.name}, which is not installed: run"
            " `make setup`, or pip install 'pallas-ros[sim,view,robot,train]'"
        ) from error


def build_parser(commands: dict[str, EntryPoint], chosen: str | None) -> Parser:
    """Build the parser of the whole command.

    Only the subcommand ``chosen`` is imported and has its arguments.
    """
    parser = Parser(
        prog="pallas",
        description="Four IMUs in, a live body and a moving robot arm out.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"pallas {__version__}")
    parser.add_argument(
        "--completion",
        choices=("bash", "zsh", "fish"),
        help="print the completion script of this shell, and exit",
    )
    subparsers = parser.add_subparsers(
        title="commands", dest="command", metavar="COMMAND", parser_class=Parser
    )
    for name, entry in commands.items():
        if name != chosen:
            subparsers.add_parser(name, help=help_line(entry), add_help=False)
            continue
        command = load(entry)
        example = command.EXAMPLE.strip("\n")
        subparser = subparsers.add_parser(
            name,
            help=command.HELP,
            description=command.HELP,
            epilog=example if example.startswith("example") else f"example:\n  {example.lstrip()}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.configure(subparser)
        subparser.set_defaults(run=command.run)
    return parser


def subparser(parser: Parser, name: str) -> argparse.ArgumentParser:
    """Return the parser of one subcommand from a `build_parser` result."""
    actions = [
        action for action in parser._actions if isinstance(action, argparse._SubParsersAction)
    ]
    return cast(argparse.ArgumentParser, actions[0].choices[name])


def choose(arguments: Sequence[str], commands: dict[str, EntryPoint]) -> str | None:
    """Return the subcommand in ``arguments``: the first word that is not an option.

    Raises:
        PallasError: there is no such command.
    """
    words = [word for word in arguments if not word.startswith("-")]
    if (
        not words
        or "--completion" in arguments[: arguments.index(words[0])]
        or words[0] in commands
    ):
        return words[0] if words and words[0] in commands else None
    near = difflib.get_close_matches(words[0], commands, n=1)
    raise PallasError(
        f"there is no command '{words[0]}': "
        + (f"did you mean '{near[0]}'?" if near else "`pallas --help` lists them")
    )


def complete(commands: dict[str, EntryPoint]) -> None:
    """Answer a shell's completion request (argcomplete's protocol) and exit, if there is one."""
    if "_ARGCOMPLETE" not in os.environ:
        return
    import argcomplete

    try:
        words = shlex.split(os.environ.get("COMP_LINE", ""))[1:]
        chosen = next((word for word in words if word in commands), None)
        parser = build_parser(commands, chosen)
    except (PallasError, ValueError):
        parser = build_parser(commands, None)
    argcomplete.autocomplete(parser)


def dispatch(arguments: Sequence[str]) -> int:
    """Run the command given by ``arguments``; exceptions propagate."""
    commands = installed_commands()
    complete(commands)
    parser = build_parser(commands, choose(arguments, commands))
    args = parser.parse_args(arguments)
    if args.completion:
        from argcomplete.shell_integration import shellcode

        print(shellcode(["pallas"], shell=args.completion))
        return 0
    if args.command is None:
        parser.print_help()
        return 2
    return int(args.run(args) or 0)


def _escape_output() -> None:
    """Escape characters that the output cannot encode, such as those of file names that are not
    UTF-8.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `pallas` and return the exit status.

    0, 2 for invalid input, 130 when interrupted, 1 for a bug in pallas. With ``PALLAS_DEBUG=1`` in
    the environment every exception is shown with its traceback.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    _escape_output()
    try:
        return dispatch(arguments)
    except KeyboardInterrupt:
        print("pallas: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `pallas ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 141
    except PallasError as error:
        if os.environ.get("PALLAS_DEBUG"):
            raise
        print(f"pallas: {error}", file=sys.stderr)
        return 2
    except Exception as error:
        if os.environ.get("PALLAS_DEBUG"):
            raise
        if isinstance(error, OSError) and error.filename and error.strerror:
            # system error: no permission, no space, a name that is too long
            print(f"pallas: {readable(f'{error.filename}: {error.strerror}')}", file=sys.stderr)
            return 2
        lines = readable(str(error).strip().splitlines()[0]) if str(error).strip() else ""
        what = f"{type(error).__name__}: {lines}" if lines else type(error).__name__
        print(
            f"pallas: {what} (a fault of pallas itself; PALLAS_DEBUG=1 in the environment shows"
            " where)",
            file=sys.stderr,
        )
        return 1


if __name__ == "__main__":
    sys.exit(main())
