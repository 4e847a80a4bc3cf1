"""Style rules that ruff does not have; `make lint` runs them.

- no tuple assignment of unrelated values: `a, b = x, y` is two statements, unless it swaps;
- no conditional expression inside another.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def names(node: ast.AST) -> set[str]:
    """Names that an expression reads or writes, attributes and subscripted values included."""
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
    """Line and sentence of each violation."""
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
    """Check the tracked Python files; 1 where a rule is violated."""
    listed = subprocess.run(
        ["git", "ls-files", "*.py"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    wrong = 0
    for name in listed.stdout.split():
        path = ROOT / name
        if not path.exists():
            continue
        for line, sentence in sorted(faults(ast.parse(path.read_text(encoding="utf-8")))):
            print(f"{name}:{line}: {sentence}")
            wrong += 1
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
