"""Parameter descriptions: `config/parameters/<node>.yaml` gives the type, default, range and
meaning of each parameter.

Each file is a mapping of names to::

    rate_hz:
      type: float              # bool, int, float, string, or a list: the same in the plural
      default: 100.0
      range: [30.0, 400.0]     # of numbers, or of every number of a list; inclusive
      choices: [a, b]          # of strings and ints
      plugins: pallas.x        # of strings: names of an entry-point group are valid too
      length: [4, 4]           # of lists
      unit: Hz                 # for readers
      read_only: true          # can only be set at start
      description: One sentence.

Nodes declare them, commands make options of them (`add_option`), settings classes take defaults and
ranges from them, and the documentation lists them. Needs no ROS.
"""

import argparse
import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pallas_ros.core.errors import PallasError
from pallas_ros.core.plugins import Plugins
from pallas_ros.core.resources import share
from pallas_ros.files.yaml_text import load_mapping

SCALARS: dict[str, type] = {"bool": bool, "int": int, "float": float, "string": str}
TYPES = (*SCALARS, *(f"{name}s" for name in SCALARS))
_KEYS = {
    "type",
    "default",
    "range",
    "choices",
    "plugins",
    "length",
    "unit",
    "read_only",
    "description",
}


@dataclass(frozen=True)
class Parameter:
    """One described parameter; ``range`` and ``length`` are inclusive."""

    name: str
    type: str
    default: Any
    description: str
    range: tuple[float, float] | None = None
    choices: tuple[Any, ...] | None = None
    length: tuple[int, int] | None = None
    unit: str = ""
    read_only: bool = False

    @property
    def is_list(self) -> bool:
        """Whether the value is a list."""
        return self.type not in SCALARS

    @property
    def bounds(self) -> tuple[float, float]:
        """Inclusive range; infinite if none is described."""
        return self.range or (-math.inf, math.inf)

    def valid_values(self) -> str:
        """Describe the valid values: "a float from 30.0 to 400.0 Hz"."""
        scalar = self.type.rstrip("s") if self.is_list else self.type
        article = "an" if scalar == "int" else "a"
        words = f"a list of {scalar}s" if self.is_list else f"{article} {scalar}"
        if self.length is not None:
            low, high = self.length
            words += f" ({low} of them)" if low == high else f" ({low} to {high} of them)"
        if self.range is not None:
            words += f" from {self.range[0]} to {self.range[1]}"
        if self.unit:
            words += f" {self.unit}"
        if self.choices is not None:
            words += f", one of {', '.join(map(str, self.choices))}"
        return words

    def check(self, value: Any) -> Any:
        """Return the value in its declared type (an int is accepted as a float).

        Raises:
            PallasError: the value violates the description.
        """
        refused = PallasError(
            f"parameter '{self.name}' is {value!r}, but must be {self.valid_values()}"
        )
        if not self.is_list:
            return self._check_scalar(value, self.type, refused)
        if isinstance(value, (str, bytes)) or not hasattr(value, "__iter__"):
            raise refused
        values = [
            self._check_scalar(item, self.type[:-1], refused)
            for item in value
            if item != "" or self.type != "strings"
        ]
        if self.length is not None and not self.length[0] <= len(values) <= self.length[1]:
            raise refused
        return values

    def _check_scalar(self, value: Any, scalar: str, refused: PallasError) -> Any:
        if scalar == "float" and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        kind: Any = type(value)  # Any: prevents type narrowing by the comparison below
        if kind is not SCALARS[scalar] or (scalar == "float" and not math.isfinite(value)):
            raise refused
        if self.range is not None and not self.range[0] <= value <= self.range[1]:
            raise refused
        if self.choices is not None and value not in self.choices:
            raise refused
        return value


OF_EVERY_NODE = (
    Parameter(
        "autostart",
        "bool",
        True,
        "Configure and activate without waiting for a transition request; false if a lifecycle"
        " manager or a launch file drives the node.",
        read_only=True,
    ),
    Parameter(
        "priority",
        "int",
        0,
        "Real-time priority (SCHED_FIFO) of the process, with a warning if it is not permitted; 0"
        " for none; -1 for 20 if it is permitted and there are two cores, otherwise none without"
        " a warning. In the recorder, it applies to the middleware's threads only.",
        range=(-1, 99),
        read_only=True,
    ),
    Parameter(
        "cpu_affinity",
        "ints",
        [],
        "CPU cores the process may use; empty for all.",
        range=(0, 4095),
        read_only=True,
    ),
)
"""Parameters that every node has without describing them.

If several nodes share a process, the highest priority (-1 above 0) and the union of cores apply.
"""


@functools.cache
def described(node: str) -> Mapping[str, Parameter]:
    """Return `describe` of a node of this package, read once."""
    return MappingProxyType(describe(node))


def add_option(
    parser: argparse.ArgumentParser,
    flag: str,
    parameter: Parameter,
    help: str = "",
    *,
    default: Any = None,
    metavar: str | None = None,
    required: bool = False,
) -> None:
    """Add an option with the type, range, choices and default of a parameter.

    Args:
        parser: of the command.
        flag: like ``--tip-speed``.
        parameter: of a float, an int or a string.
        help: text that replaces the parameter's description; range and default are appended.
        default: replaces the parameter's default; None: keep it.
        metavar: replaces the parameter's unit.
        required: whether the option is mandatory; then it has no default.
    """
    words = help or parameter.description.rstrip(".")
    value = parameter.default if default is None else default
    shown = f"{value:g}" if isinstance(value, float) else value
    if "(default" not in words and value not in ("", None) and not required:
        words += f" (default: {shown})"
    if parameter.range is not None:
        low, high = parameter.range
        words = words.replace("(default", f"({low:g} to {high:g}; default")
        words += f", {low:g} to {high:g}" if required else ""
    parser.add_argument(
        flag,
        required=required,
        type=functools.partial(_option_value, flag, parameter),
        default=None if required else value,
        choices=parameter.choices,
        metavar=(metavar or parameter.unit.upper() or None) if parameter.choices is None else None,
        help=words.replace("%", "%%"),
    )


def _option_value(flag: str, parameter: Parameter, text: str) -> Any:
    """Parse the text of an option.

    Raises:
        PallasError: it is not a number, or out of range.
    """
    if parameter.type == "string":
        return text
    try:
        value = SCALARS[parameter.type](text)
    except ValueError:
        value = text
    try:
        return parameter.check(value)
    except PallasError:
        wanted = parameter.valid_values().replace("a float", "a number")
        raise PallasError(f"{flag} is {text[:40]}, but must be {wanted}") from None


def describe(node: str, folder: Path | None = None) -> dict[str, Parameter]:
    """Return the parameters of a node (its entry point's name) by name.

    They are described in `config/parameters/<node>.yaml`.

    Raises:
        PallasError: the description is missing or not in the format above.
    """
    path = (folder or share() / "config" / "parameters") / f"{node}.yaml"
    document = load_mapping(path, f"description of the parameters of node '{node}'")
    parameters = {parameter.name: parameter for parameter in OF_EVERY_NODE}
    for name, entry in document.items():
        parameters[name] = _parse(path, name, entry)
    return parameters


def _parse(path: Path, name: str, entry: Any) -> Parameter:
    if (
        not isinstance(entry, dict)
        or not {"type", "default", "description"} <= entry.keys() <= _KEYS
    ):
        raise PallasError(
            f"{path}: parameter '{name}' needs type, default and description, and may have"
            f" {', '.join(sorted(_KEYS))}"
        )
    if entry["type"] not in TYPES:
        raise PallasError(
            f"{path}: parameter '{name}' has type '{entry['type']}', which is not one of"
            f" {', '.join(TYPES)}"
        )
    fields: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) and key != "default" else value
        for key, value in entry.items()
    }
    if group := fields.pop("plugins", None):
        fields["choices"] = (*fields.get("choices", ()), *Plugins[object](group, "plug-in"))
    parameter = Parameter(name=name, **fields)
    parameter.check(parameter.default)
    return parameter
