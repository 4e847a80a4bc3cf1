"""Load YAML; events are counted first, to limit aliases, nesting and long numbers."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from pallas_ros.core.errors import PallasError
from pallas_ros.files.opening import read_text

MAX_BYTES = 2 << 20
"""Maximum size; configurations have up to 20 kB, an hour's calibration topics less."""
MAX_NODES = 100_000
"""Maximum number of scalars, lists and mappings, with aliases expanded; built in about a second."""
MAX_DEPTH = 40
"""Maximum nesting depth; the deepest configuration in use has 6."""
MAX_DIGITS = 30
"""Maximum digits of an integer."""

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml is 20 times faster


class _SafeLoader(_Loader):  # type: ignore[misc]
    """Safe loader for integers that fit a float."""

    def construct_yaml_int(self, node: Any) -> int:
        if len(str(node.value)) > MAX_DIGITS:
            raise yaml.constructor.ConstructorError(
                None, None, f"an integer of {len(node.value)} characters", node.start_mark
            )
        return int(super().construct_yaml_int(node))


_SafeLoader.add_constructor("tag:yaml.org,2002:int", _SafeLoader.construct_yaml_int)


def load_yaml(
    path: str | Path, what: str, max_bytes: int = MAX_BYTES, max_nodes: int = MAX_NODES
) -> Any:
    """Load a YAML file; ``what`` describes the expected file ("robot configuration").

    Raises:
        PallasError: the file is missing, is not YAML, or exceeds a limit.
    """
    return parse_yaml(read_text(path, what, max_bytes), str(path), what, max_nodes=max_nodes)


def load_mapping(path: str | Path, what: str, max_nodes: int = MAX_NODES) -> dict[str, Any]:
    """Load a YAML file that must be a mapping with string keys; an empty file is an empty mapping.

    Raises:
        PallasError: as `load_yaml`, or it is not a mapping.
    """
    document = load_yaml(path, what, max_nodes=max_nodes)
    if document is None:
        return {}
    if not isinstance(document, dict) or not all(isinstance(key, str) for key in document):
        raise PallasError(f"{path}: not a {what}: expected a mapping of names to values")
    return document


def parse_yaml(
    text: str,
    name: str,
    what: str,
    tags: Mapping[str, Callable[[str], Any]] | None = None,
    max_nodes: int = MAX_NODES,
) -> Any:
    """Parse a YAML text; ``name`` is its source, for error messages.

    ``tags`` are functions that read a scalar with a tag, such as ``!degrees 90``.

    Raises:
        PallasError: it is not YAML, or exceeds a limit.
    """
    if len(text) > MAX_BYTES:
        raise PallasError(f"{name}: {len(text)} characters are too many for a {what}")
    try:
        _count(text, max_nodes)
        return yaml.load(text, Loader=_loader(tags) if tags else _SafeLoader)
    except _Beyond as beyond:
        raise PallasError(f"{name}: not a {what}: {beyond}") from None
    except yaml.YAMLError as error:
        raise PallasError(f"{name}: not YAML, so not a {what}: {_where(error)}") from None
    except Exception as error:  # constructors of dates and numbers: ValueError, IndexError, ...
        raise PallasError(
            f"{name}: not a {what}: a value that YAML cannot read ({type(error).__name__}: {error})"
        ) from None


def _loader(tags: Mapping[str, Callable[[str], Any]]) -> Any:
    """Return a loader that also reads scalars with ``tags``."""

    class Loader(_SafeLoader):
        pass

    for tag, read in tags.items():
        Loader.add_constructor(
            tag, lambda loader, node, read=read: read(loader.construct_scalar(node))
        )
    return Loader


class _Beyond(Exception):
    """The limit that a text exceeds."""


def _count(text: str, max_nodes: int) -> None:
    """Reject a text beyond the limits by reading events only, at most one per character."""
    open_nodes: list[tuple[str | None, int]] = []  # anchor and node count of the enclosing nodes
    sizes: dict[str, int] = {}  # expanded size of each anchor
    nodes = 0
    documents = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                raise _Beyond("it contains more than one document")
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor not in sizes:
                raise _Beyond(f"the alias '{event.anchor}' is undefined, or refers to itself")
            nodes += sizes[event.anchor]
        elif isinstance(event, yaml.ScalarEvent):
            nodes += 1
            if event.anchor:
                sizes[event.anchor] = 1
        elif isinstance(event, yaml.CollectionStartEvent):
            open_nodes.append((event.anchor, nodes))
            nodes += 1
            if len(open_nodes) > MAX_DEPTH:
                raise _Beyond(f"it is nested more than {MAX_DEPTH} levels deep")
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = open_nodes.pop()
            if anchor:
                sizes[anchor] = nodes - before
        if nodes > max_nodes:
            raise _Beyond(f"it contains more than {max_nodes} values")


def _where(error: yaml.YAMLError) -> str:
    """Return the error and its line number, without the surrounding text."""
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error)
    return f"{problem} (line {mark.line + 1})" if mark is not None else str(problem)
