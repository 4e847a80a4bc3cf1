"""The command `pallas`: help, one-sentence errors, exit status, completion.

Its subcommands have separate tests.
"""

import io
import os
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from pallas_ros import __version__, cli

GOOD = '''
"""A command for the tests."""
from pallas_ros.body.errors import PallasError
HELP = "Say a word."
EXAMPLE = "pallas say hello"
def configure(parser):
    parser.add_argument("word")
    parser.add_argument("--times", type=int, default=1, help="how often")
def run(args):
    if args.word == "bad":
        raise PallasError("the word is bad: say another")
    if args.word == "fault":
        raise RuntimeError("first line\\nsecond line")
    if args.word == "stop":
        raise KeyboardInterrupt
    if args.word == "fail":
        return 3
    print(args.word * args.times)
    return 0
'''


@pytest.fixture
def say(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Install a command `say`, and `broken`, whose module must only be imported on request."""
    (tmp_path / "say_command.py").write_text(GOOD)
    (tmp_path / "broken_command.py").write_text('HELP = "Breaks."\nimport no_such_package_at_all\n')
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delenv("PALLAS_DEBUG", raising=False)
    entries = {name: EntryPoint(name, f"{name}_command", cli.GROUP) for name in ("say", "broken")}
    entries["gone"] = EntryPoint("gone", "no_such_module_at_all", cli.GROUP)
    monkeypatch.setattr(cli, "installed_commands", lambda: entries)


def run(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """(exit status, standard output, standard error) of `pallas ARGUMENTS`."""
    try:
        status = cli.main(arguments)
    except SystemExit as stop:
        status = int(stop.code or 0)
    return status, *capsys.readouterr()


@pytest.mark.usefixtures("say")
@pytest.mark.parametrize(
    ("arguments", "status", "output", "error"),
    [
        (["say", "hello", "--times", "2"], 0, "hellohello\n", ""),
        (["say", "fail"], 3, "", ""),
        (["say", "bad"], 2, "", "pallas: the word is bad: say another\n"),
        (["say", "stop"], 130, "", "pallas: interrupted\n"),
        (
            ["say"],
            2,
            "",
            "pallas say: the following arguments are required: word (see pallas say --help)\n",
        ),
        (
            ["say", "x", "--times", "y"],
            2,
            "",
            "pallas say: argument --times: invalid int value: 'y' (see pallas say --help)\n",
        ),
        (["sey", "x"], 2, "", "pallas: there is no command 'sey': did you mean 'say'?\n"),
        (["zzzzz"], 2, "", "pallas: there is no command 'zzzzz': `pallas --help` lists them\n"),
        (
            ["gone"],
            2,
            "",
            (
                "pallas: the command 'gone' is not part of this installation (no_such_module_at_all"
                " is missing)\n"
            ),
        ),
        (["--version"], 0, f"pallas {__version__}\n", ""),
    ],
)
def test_outcomes(
    arguments: list[str], status: int, output: str, error: str, capsys: pytest.CaptureFixture[str]
):
    assert run(arguments, capsys) == (status, output, error)


@pytest.mark.usefixtures("say")
def test_a_missing_package_is_named_with_what_to_do(capsys: pytest.CaptureFixture[str]):
    status, _, error = run(["broken"], capsys)
    assert status == 2
    assert error.startswith(
        "pallas: 'broken' needs the Python package no_such_package_at_all, which is not installed:"
        " run `make setup`"
    )
    assert error.count("\n") == 1


@pytest.mark.usefixtures("say")
def test_a_fault_is_one_sentence_and_a_traceback_where_asked(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    status, _, error = run(["say", "fault"], capsys)
    assert (status, error.count("\n")) == (1, 1)
    assert "RuntimeError: first line (" in error
    assert "PALLAS_DEBUG=1" in error
    monkeypatch.setenv("PALLAS_DEBUG", "1")
    with pytest.raises(RuntimeError, match="first line"):
        cli.main(["say", "fault"])


@pytest.mark.usefixtures("say")
def test_help_imports_no_command_and_teaches(capsys: pytest.CaptureFixture[str]):
    for module in ("say_command", "broken_command"):
        sys.modules.pop(module, None)
    status, output, _ = run(["--help"], capsys)
    assert status == 0
    assert "Say a word." in output
    assert "Breaks." in output
    assert "gone" in output
    assert not {"say_command", "broken_command"} & set(sys.modules)
    status, output, _ = run(["say", "--help"], capsys)
    assert "pallas say hello" in output
    assert run([], capsys)[0] == 2


def pallas(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the installed command in a separate process."""
    command = [sys.executable, "-m", "pallas_ros.cli", *arguments]
    return subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=60
    )


def test_help_of_the_real_command_lists_every_subcommand_without_heavy_imports():
    found = pallas("--help")
    assert found.returncode == 0
    for name in cli.installed_commands():
        assert f"\n    {name} " in found.stdout
    code = (
        "import sys; from pallas_ros import cli\ntry: cli.main(['--help'])\nexcept SystemExit:"
        " pass\nprint(*sys.modules, file=sys.stderr)"
    )
    modules = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60
    ).stderr.split()
    assert not {"numpy", "scipy", "torch", "rclpy", "onnxruntime", "mujoco"} & set(modules)


@pytest.mark.parametrize("name", sorted(cli.installed_commands()))
def test_every_command_has_help_with_an_example(name: str):
    entry = cli.installed_commands()[name]
    command = cli.load(entry)
    assert cli.help_line(entry) == command.HELP
    assert f"pallas {name}" in command.EXAMPLE
    text = cli.subparser(cli.build_parser(cli.installed_commands(), name), name).format_help()
    assert command.EXAMPLE.strip().splitlines()[0].strip() in text


def test_completion_is_what_a_shell_can_evaluate():
    for shell in ("bash", "zsh"):
        script = pallas("--completion", shell)
        assert script.returncode == 0
        assert "_python_argcomplete" in script.stdout
    subprocess.run(
        ["bash", "-n"], input=pallas("--completion", "bash").stdout, text=True, check=True
    )


def test_completion_offers_commands(tmp_path: Path):
    answer = tmp_path / "answer"
    line = "pallas ca"
    asked = {
        "_ARGCOMPLETE": "1",
        "_ARGCOMPLETE_STDOUT_FILENAME": str(answer),
        "COMP_LINE": line,
        "COMP_POINT": str(len(line)),
        "_ARGCOMPLETE_IFS": "\n",
    }
    pallas(**asked)
    assert answer.read_text().split() == [
        name for name in cli.installed_commands() if name.startswith("ca")
    ]


def test_output_into_a_closed_pipe_is_no_fault():
    found = subprocess.run(
        f'"{sys.executable}" -m pallas_ros.cli --completion bash | true; exit ${{PIPESTATUS[0]}}',
        shell=True,
        executable="/bin/bash",
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert found.stderr == ""
    assert found.returncode in (0, 141)


@pytest.mark.usefixtures("say")
def test_names_that_are_not_utf8_are_escaped(monkeypatch: pytest.MonkeyPatch):
    """Regression: printing them raised UnicodeEncodeError."""
    out = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(out, "utf-8"))
    assert cli.main(["say", "a\udcff"]) == 0
    sys.stdout.flush()
    assert out.getvalue().startswith(rb"a\udcff")
