"""Load configuration settings from a mapping into a dataclass with type checks."""

import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from pallas_ros.core.errors import PallasError

T = TypeVar("T")
_WORDS = {int: "a whole number", float: "a finite number", bool: "true or false", str: "text"}


def settings(kind: type[T], values: Any, where: str, **extra: Any) -> T:
    """Create a dataclass from a mapping; fields that are dataclasses are nested mappings.

    Args:
        kind: the dataclass.
        values: content of the file; None if empty.
        where: file and section, for error messages.
        extra: fields that are not in the file.

    Raises:
        PallasError: a key is unknown or missing, or a value has the wrong type.
    """
    if values is None:
        values = {}
    if not isinstance(values, Mapping):
        raise PallasError(f"{where}: expected a mapping of names to values, not {values!r}")
    hints = get_type_hints(kind)
    names = [field.name for field in fields(kind) if field.name not in extra]  # type: ignore[arg-type]
    given = dict(extra)
    for key, value in values.items():
        if key not in names:
            raise PallasError(f"{where}: unknown key '{key}': known are {', '.join(sorted(names))}")
        given[key] = _value(hints[key], value, f"{where}: {key}")
    try:
        return kind(**given)
    except (
        TypeError,
        ValueError,
        ArithmeticError,
    ) as error:  # a field without default is missing, or the dataclass's own check failed
        raise PallasError(f"{where}: {error}") from None


def check_ranges(values: Any, **ranges: tuple[float, float]) -> None:
    """Check the numbers of a dataclass, for its ``__post_init__``; bounds are included, and every
    number of a tuple is checked.

    Raises:
        ValueError: a number is outside of its range; `settings` adds the file.
    """
    for name, (low, high) in ranges.items():
        given = getattr(values, name)
        for value in given if isinstance(given, tuple) else (given,):
            if not low <= value <= high:
                raise ValueError(f"{name} is {value:g}, must be from {low:g} to {high:g}")


def check_interval(values: Any, name: str, low: float, high: float) -> None:
    """Check a pair (minimum, maximum) of a dataclass, as `check_ranges` does.

    Raises:
        ValueError: a number is outside of its range, or the minimum is larger than the maximum.
    """
    check_ranges(values, **{name: (low, high)})
    minimum, maximum = getattr(values, name)
    if minimum > maximum:
        raise ValueError(f"{name} is [{minimum:g}, {maximum:g}], must be in ascending order")


def _value(kind: Any, value: Any, where: str) -> Any:
    """Convert the value to the type of its field."""
    if is_dataclass(kind) and isinstance(kind, type):
        return settings(kind, value, where)
    if get_origin(kind) is tuple:
        parts = get_args(kind)
        many = len(parts) == 2 and parts[1] is ...
        if not isinstance(value, list) or not (many or len(value) == len(parts)):
            raise PallasError(
                f"{where} is {value!r}, but must be a list" + ("" if many else f" of {len(parts)}")
            )
        kinds = [parts[0]] * len(value) if many else parts
        return tuple(_value(part, item, where) for part, item in zip(kinds, value, strict=True))
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if kind in _WORDS and (type(value) is not kind or (kind is float and not math.isfinite(value))):
        raise PallasError(f"{where} is {value!r}, but must be {_WORDS[kind]}")
    return value
