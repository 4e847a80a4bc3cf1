"""Style rules that ruff does not provide; `make lint` runs them.

- no tuple assignment of unrelated values: `a, b = x, y` must be two statements, unless it is a
swap;
- no conditional expression inside another;
- no file of more than `FILE_LINES` lines and no function of more than `FUNCTION_LINES`, without
docstring, outside of tests. `LONG` lists the exceptions with reasons.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

FILE_LINES = 400
FUNCTION_LINES = 50

LONG = {
    # files
    "benchmarks/bench_imu.py": "one script for every figure of docs/evidence/sensors.md",
    "benchmarks/fuzz_formats.py": "one script: a function for each file format",
    "hpstm_ros/safety/supervisor.py": "the state machine and its watchdogs are reviewed together",
    "pallas_ros/model/fused.py": "each matrix is built and used here; one explains the other",
    "tools/setup.py": "runs before anything is installed, so it imports nothing of its own",
    # functions
    "benchmarks/*:*": "scripts, read from top to bottom",
    "*/commands/*:configure": "a list of options, without logic",
    "hpstm_ros/model/hpstm.py:forward": "the network, in the order of its computation",
    "hpstm_ros/retarget/building.py:_build": "the order of the steps is what it explains",
    "pallas_ros/model/fused.py:forward": "the network, in the order of its computation",
    "pallas_ros/model/pallas.py:__init__": "the layers, in the order of the weights",
    "pallas_ros/model/scan.py:forward": "the kernel of a recurrence",
    "pallas_ros/model/scan.py:backward": "its derivative, line by line",
    "pallas_ros/ros/entities.py:subscribe": "a message's way from its arrival to the callback",
    "tools/setup.py:setup": "the steps of the set-up, in order",
}
"""Exceptions with reasons: files by path, functions as ``path:name``, both with wildcards."""


def code_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Return the lines of a function without decorators and docstring."""
    lines = (node.end_lineno or node.lineno) - node.lineno + 1
    first = node.body[0]
    if ast.get_docstring(node) is not None:
        lines -= (first.end_lineno or first.lineno) - first.lineno + 1
    return lines


def lengths(tree: ast.Module, text: str) -> Iterator[tuple[int, str, str]]:
    """Return line, name and message for the file (empty name) and each function that is too
    long.
    """
    count = len(text.splitlines())
    if count > FILE_LINES:
        yield 1, "", f"{count} lines, more than {FILE_LINES}: split it by concept"
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            count = code_lines(node)
            if count > FUNCTION_LINES:
                sentence = f"{node.name} has {count} lines, more than {FUNCTION_LINES}: split it"
                yield node.lineno, node.name, sentence


def too_long(name: str, tree: ast.Module, text: str, used: set[str]) -> Iterator[tuple[int, str]]:
    """Return line and message for everything in the file ``name`` that is too long and not in
    `LONG`.

    The exceptions that apply are added to ``used``.
    """
    for line, function, sentence in lengths(tree, text):
        place = f"{name}:{function}" if function else name
        excused = {
            pattern
            for pattern in LONG
            if (":" in pattern) is bool(function) and fnmatch(place, pattern)
        }
        used |= excused
        if not excused:
            yield line, f"{sentence}, or state a reason in LONG of tools/style.py"


def names(node: ast.AST) -> set[str]:
    """Return the names that an expression reads or writes, including attributes and subscripts."""
    found = {inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name)}
    return found | {
        ast.unparse(inner) for inner in ast.walk(node) if isinstance(inner, ast.Attribute)
    }


def depends_on_itself(assignment: ast.Assign) -> bool:
    """Whether a later value of `a, b = x, y` reads an earlier target, as in a swap."""
    targets = assignment.targets[0]
    values = assignment.value
    assert isinstance(targets, ast.Tuple)
    assert isinstance(values, ast.Tuple)
    written: set[str] = set()
    for target, value in zip(targets.elts, values.elts):
        if names(value) & written:
            return True
        written |= names(target)
    return False


def faults(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Return line and message of each violation."""
    for node in ast.walk(tree):
        if isinstance(node, ast.IfExp):
            parts = (node.test, node.body, node.orelse)
            if any(isinstance(inner, ast.IfExp) for part in parts for inner in ast.walk(part)):
                yield node.lineno, "a conditional expression inside another: use statements"
        if not (isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Tuple)):
            continue
        if isinstance(node.value, ast.Tuple) and not depends_on_itself(node):
            yield node.lineno, "a tuple assignment of unrelated values: one statement per line"


def main() -> int:
    """Check the tracked Python files; return 1 if a rule is violated."""
    listed = subprocess.run(
        ["git", "ls-files", "*.py"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    wrong = 0
    used: set[str] = set()
    for name in listed.stdout.split():
        path = ROOT / name
        if not path.exists():
            continue
        text = path.read_text(encoding="utf-8")
        tree = ast.parse(text)
        found = list(faults(tree))
        if not name.startswith("test/"):
            found += too_long(name, tree, text, used)
        for line, sentence in sorted(found):
            print(f"{name}:{line}: {sentence}")
            wrong += 1
    for pattern in sorted(LONG.keys() - used):
        print(f"tools/style.py: LONG names '{pattern}', which is no longer too long: remove it")
        wrong += 1
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
