"""The style rules of `tools/style.py`."""

import ast
import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def style() -> ModuleType:
    spec = importlib.util.spec_from_file_location("style", ROOT / "tools" / "style.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def function(lines: int, docstring: str = "") -> str:
    """Return a function of ``lines`` lines without its docstring."""
    body = [f'    """{docstring}"""'] if docstring else []
    return "\n".join(["def f():", *body, *["    pass"] * (lines - 1)]) + "\n"


def found(style: ModuleType, text: str, name: str = "pallas_ros/new.py") -> list[str]:
    return [sentence for _, sentence in style.too_long(name, ast.parse(text), text, set())]


def test_a_file_of_400_lines_passes_and_one_of_401_does_not(style: ModuleType) -> None:
    assert found(style, "x = 1\n" * 400) == []
    (sentence,) = found(style, "x = 1\n" * 401)
    assert "401 lines" in sentence
    assert "tools/style.py" in sentence


def test_a_docstring_does_not_count_as_length(style: ModuleType) -> None:
    assert found(style, function(50, "One.\n" * 30)) == []
    (sentence,) = found(style, function(51))
    assert "f has 51 lines" in sentence


def test_exceptions_are_by_file_and_by_function(style: ModuleType) -> None:
    long = function(60).replace("def f", "def configure")
    assert found(style, long, "pallas_ros/commands/new.py") == []
    assert found(style, long, "pallas_ros/imu/new.py")
    assert found(style, function(60), "pallas_ros/commands/new.py")
    assert found(style, "x = 1\n" * 401, "benchmarks/new.py"), "only its functions are excused"


def test_every_exception_has_a_reason_and_is_needed(style: ModuleType) -> None:
    assert all(len(reason) > 10 for reason in style.LONG.values())
    used: set[str] = set()
    for path in (*ROOT.glob("[!.]*/**/*.py"), *ROOT.glob("*.py")):
        name = str(path.relative_to(ROOT))
        if name.startswith(("pallas_ros/", "hpstm_ros/", "benchmarks/", "tools/")):
            text = path.read_text(encoding="utf-8")
            list(style.too_long(name, ast.parse(text), text, used))
    assert used == set(style.LONG)


def test_tuple_assignments_and_nested_conditions_are_found(style: ModuleType) -> None:
    assert list(style.faults(ast.parse("a, b = 1, 2")))
    assert not list(style.faults(ast.parse("a, b = b, a")))
    assert list(style.faults(ast.parse("x = a if b else c if d else e")))


def test_the_checkout_passes(style: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    assert style.main() == 0, capsys.readouterr().out
