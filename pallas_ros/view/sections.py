"""Sections of the report of a bag that other packages add.

A section is a module that an entry point of the group `pallas.report` names. It has
``configure(parser)``, ``options(args)`` and ``section(bag, options, progress)``, as `SectionSource`
describes. Only modules that are imported quickly keep `pallas report --help` fast.
"""

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from pallas_ros.bags import Bag
from pallas_ros.core.plugins import Plugins

Options = Mapping[str, Mapping[str, Any]]
"""Options of the sections by name; the values are those of JSON, because the page keeps them."""
Progress = Callable[[int, int], None]
"""Called with the amount of work done and the total."""


@dataclass(frozen=True)
class Section:
    """A section of a page.

    Attributes:
        html: the section, with its heading.
        figures: by name, for the overview of many bags.
        lines: the figures in words, to be printed.
    """

    html: str
    figures: dict[str, float] = field(default_factory=dict)
    lines: tuple[str, ...] = ()


class SectionSource(Protocol):
    """Interface of a module that writes a section."""

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Add the options of the section to `pallas report`."""
        ...

    def options(self, args: argparse.Namespace) -> Mapping[str, Any]:
        """Return the options that `section` needs, empty for the default.

        Raises:
            PallasError: an option is invalid.
        """
        ...

    def section(self, bag: Bag, options: Mapping[str, Any], progress: Progress) -> Section | None:
        """Write the section; None if the bag has nothing to show in it."""
        ...


SECTIONS: Plugins[SectionSource] = Plugins("pallas.report", "section of the report")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of all sections.

    Raises:
        PallasError: a section cannot be imported.
    """
    for name in SECTIONS:
        SECTIONS.find(name).configure(parser)


def options_from(args: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Return the options of all sections that differ from the default.

    Raises:
        PallasError: an option is invalid.
    """
    found = {name: dict(SECTIONS.find(name).options(args)) for name in SECTIONS}
    return {name: options for name, options in found.items() if options}


def written(bag: Bag, options: Options, progress: Progress) -> list[Section]:
    """Write the sections that have something to show.

    Raises:
        PallasError: a section cannot be imported, or needs something that is missing.
    """
    sections = [
        SECTIONS.find(name).section(bag, options.get(name, {}), progress) for name in SECTIONS
    ]
    return [section for section in sections if section is not None]
