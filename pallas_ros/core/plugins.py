"""Plug-ins: objects that this or another package registers in an entry-point group.

| group | plug-in |
|---|---|
| `pallas.protocols` | a `pallas_ros.imu.protocols.base.ProtocolSpec` |
| `pallas.smoothers` | a `hpstm_ros.smoothing.smoother.MethodFactory` |
| `pallas.adapters` | a `hpstm_ros.smoothing.adapters.PoseFormat` |
| `pallas.generators` | a function that returns a `hpstm_ros.generation.request.Generator` |
| `pallas.report` | a module with the interface `pallas_ros.view.sections.SectionSource` |

A package registers one in its `pyproject.toml`:

    [project.entry-points."pallas.protocols"]
    my_board = "my_package.my_board:SPEC"
"""

import difflib
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeVar, cast

from pallas_ros.core.errors import PallasError

T = TypeVar("T")


class Plugins(Mapping[str, T], Generic[T]):
    """Plug-ins of an entry-point group by name, each imported on first use.

    Args:
        group: entry-point group.
        what: kind of plug-in for messages ("sensor protocol").
    """

    def __init__(self, group: str, what: str) -> None:
        self.group = group
        self.what = what
        self._loaded: dict[str, T] = {}

    @cached_property
    def _entries(self) -> dict[str, EntryPoint]:
        entries = sorted(entry_points(group=self.group), key=lambda entry: entry.name)
        return {entry.name: entry for entry in entries}

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __getitem__(self, name: str) -> T:
        if name not in self._loaded:
            self._loaded[name] = cast(T, self._entries[name].load())
        return self._loaded[name]

    def find(self, name: str) -> T:
        """Return the plug-in of that name.

        Raises:
            PallasError: it does not exist (the message suggests the closest), or cannot be
                imported.
        """
        if name not in self:
            raise PallasError(f"unknown {self.what} '{name[:80]}': {closest(name, self)}")
        try:
            return self[name]
        except (ImportError, AttributeError) as error:
            source = self._entries[name].value
            raise PallasError(
                f"the {self.what} '{name}' cannot be loaded from {source}: {error}"
            ) from error


def closest(name: str, known: Iterable[str]) -> str:
    """Suggest the closest known name for a misspelled one, or list all."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1)
    if near:
        return f"did you mean '{near[0]}'?"
    return f"known are {', '.join(known)}"
