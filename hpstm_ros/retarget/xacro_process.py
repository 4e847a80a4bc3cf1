"""The process that expands one xacro file, with limits on its time, memory and abilities.

The package `xacro` passes expressions to Python's ``eval``, and opens what a file names. Here its
expressions are evaluated by `expressions`, its files are read by `pallas_ros.files`, and the
process has neither the environment of its parent nor more than ``MEMORY`` bytes.
"""

import json
import resource
import sys
import xml.dom.minidom
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from hpstm_ros.retarget.expressions import evaluate
from pallas_ros.core.errors import PallasError
from pallas_ros.files.opening import read_bytes, read_text
from pallas_ros.files.xml_text import MAX_BYTES, parse_xml
from pallas_ros.files.yaml_text import parse_yaml

MEMORY = 512 << 20
"""Address space of the process; a robot of 500 links takes 100 MB."""
_LONGEST_REASON = 1000
_TOO_LARGE = f"it needs more than {MEMORY >> 20} MB of memory"
_PYTHON = (
    ("abs", "all", "any", "bool", "dict", "divmod", "enumerate", "float", "int", "len", "list")
    + ("map", "max", "min", "range", "reversed", "round", "set", "sorted", "str", "sum", "tuple")
    + ("zip",)
)
_XACRO = ("abs_filename", "arg", "dotify", "error", "fatal", "load_yaml", "message") + (
    "print_location",
    "tokenize",
    "warning",
)
_FUNCTIONS = frozenset(_PYTHON + _XACRO)
"""Functions that files may call, besides those of ``math``."""
_REPLACED = ("_global_symbols", "abs_filename_spec", "parse", "safe_eval", "substitution_args")
"""Parts of the package that are replaced or changed; another version may lack them."""


def main() -> None:
    """Expand a file; prints the text or reason as JSON.

    Arguments: path, seconds of CPU time, names of the parent's environment variables as JSON.
    """
    path = sys.argv[1]
    seconds = int(sys.argv[2])
    variables = frozenset(json.loads(sys.argv[3]))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    out = sys.stdout
    sys.stdout = sys.stderr  # messages of the file
    try:
        answer = {"text": expand(path, variables)}
    except MemoryError:
        answer = {"reason": _TOO_LARGE}
    except RecursionError:
        answer = {"reason": "its macros, includes or expressions are nested too deep"}
    except Exception as error:  # xacro passes on exceptions of the expressions
        answer = {"reason": (str(error) or type(error).__name__)[:_LONGEST_REASON]}
    json.dump(answer, out)


def expand(path: str, variables: frozenset[str] = frozenset()) -> str:
    """Return the URDF of a xacro file, with its default arguments.

    Args:
        path: of the file.
        variables: names of environment variables that are set, but not read: a file that uses one
            of them is rejected, because its default would give another robot.

    Raises:
        Exception: it cannot be expanded.
    """
    import xacro
    import xacro.substitution_args

    _restrict(xacro, variables)
    text = str(xacro.process_file(path).toxml())
    if len(text) > MAX_BYTES:
        raise PallasError(f"it expands to {len(text) >> 20} MB (at most {MAX_BYTES >> 20} MB)")
    return text


def _restrict(xacro: ModuleType, variables: frozenset[str]) -> None:
    """Replace what evaluates expressions and opens files in the package.

    Raises:
        PallasError: this version of the package differs.
    """
    missing = [name for name in _REPLACED if not hasattr(xacro, name)]
    if missing:
        raise PallasError(f"this version of xacro has no '{missing[0]}': pip install 'xacro>=2.1'")
    symbols = xacro._global_symbols
    _keep_functions(symbols, _FUNCTIONS | set(symbols["math"]))

    def safe_eval(expression: str, names: Any, _: Any = None) -> Any:
        try:
            return evaluate(expression, names, list(_functions(symbols)))
        except MemoryError:
            raise PallasError(_TOO_LARGE) from None

    def load_yaml(filename: str) -> Any:
        path = xacro.abs_filename_spec(filename)
        tags = {unit.value.tag: _with_unit(unit, symbols) for unit in xacro.ConstructUnits}
        document = parse_yaml(read_text(path, "YAML file"), path, "YAML file", tags)
        return xacro.YamlListWrapper.wrap(document)

    def parse(source: Any, filename: str | None = None) -> Any:
        path = str(filename)
        if not Path(path).exists():
            xacro.filestack.pop()
            raise xacro.XacroException(f"{path}: no such file", exc=OSError())
        data = read_bytes(path, "xacro file", MAX_BYTES)
        parse_xml(data, path, "xacro file")
        return xml.dom.minidom.parseString(data)

    def refuse(*_: Any) -> Any:
        raise PallasError("it uses $(eval ...) or a similar function, which is not supported")

    def optional_variable(name: str, default: str) -> str:
        if name in variables:
            raise PallasError(f"it reads the environment variable {name}, which is not supported")
        return default

    xacro.substitution_args._eval_optenv = optional_variable
    for table in (symbols, symbols["xacro"]):
        dict.__setitem__(table, "load_yaml", load_yaml)
    for name, own in (("safe_eval", safe_eval), ("load_yaml", load_yaml), ("parse", parse)):
        setattr(xacro, name, own)
    for module in (xacro, xacro.substitution_args):
        for name in ("eval", "exec", "open", "_eval"):  # if another function used them
            setattr(module, name, refuse)


def _with_unit(unit: Any, symbols: Any) -> Any:
    """Return the function that reads a text with a unit, such as ``!degrees 90``."""
    factor = float(unit.value.conversion_constant)
    return lambda text: factor * float(evaluate(text, symbols, list(_functions(symbols))))


def _functions(symbols: Any) -> Iterator[Any]:
    """Functions in a table of symbols and its namespaces."""
    for value in symbols.values():
        if isinstance(value, dict):
            yield from _functions(value)
        elif callable(value):
            yield value


def _keep_functions(symbols: Any, allowed: frozenset[str]) -> None:
    """Remove other functions from a table of symbols and its namespaces."""
    for name, value in list(symbols.items()):
        if isinstance(value, dict):
            _keep_functions(value, allowed)
        elif callable(value) and name not in allowed:
            dict.__delitem__(symbols, name)
