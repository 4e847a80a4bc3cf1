"""XML documents: no document types and entities, limited depth, elements and attributes, checked
while they are parsed.
"""

from collections.abc import Iterable
from typing import Any, Protocol
from xml.etree import ElementTree
from xml.parsers import expat

from pallas_ros.core.errors import PallasError

MAX_BYTES = 20_000_000
MAX_DEPTH = 50
"""Elements inside each other; a URDF has 6, a COLLADA file 12."""
MAX_ELEMENTS = 200_000
MAX_ATTRIBUTES = 100


class _Beyond(Exception):
    """Which limit a document is beyond."""


def parse_xml(data: bytes, name: str, what: str, max_bytes: int = MAX_BYTES) -> ElementTree.Element:
    """The root element of an XML document, prefixes of namespaces left on the names; ``name`` says
    where it is from.

    Raises:
        PallasError: it is not XML, declares a document type or entities, or is beyond the limits.
    """
    if len(data) > max_bytes:
        raise PallasError(
            f"{name}: {len(data) // 1_000_000} MB is too large for a {what} (at most"
            f" {max_bytes // 1_000_000} MB)"
        )
    builder = ElementTree.TreeBuilder()
    walk_xml([data], name, what, builder, MAX_ELEMENTS)
    return builder.close()


class Target(Protocol):
    """What is called while a document is walked, as `xml.etree.ElementTree.TreeBuilder` is."""

    def start(self, tag: str, attributes: dict[str, str], /) -> Any:
        """The start of an element."""
        ...

    def end(self, tag: str, /) -> Any:
        """The end of an element."""
        ...

    def data(self, text: str, /) -> Any:
        """Text between tags."""
        ...


def walk_xml(
    parts: Iterable[bytes], name: str, what: str, target: Target, max_elements: int
) -> None:
    """Call ``target`` for every element and text of a document that comes in parts, which may be of
    any length together.

    Raises:
        PallasError: it is not XML, declares a document type or entities, or is beyond the limits.
    """
    depth = 0
    elements = 0

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal depth, elements
        depth += 1
        elements += 1
        if depth > MAX_DEPTH:
            raise _Beyond(f"its elements are nested more than {MAX_DEPTH} levels deep")
        if elements > max_elements:
            raise _Beyond(f"it has more than {max_elements} elements")
        if len(attributes) > MAX_ATTRIBUTES:
            raise _Beyond(f"<{tag}> has more than {MAX_ATTRIBUTES} attributes")
        target.start(tag, attributes)

    def end(tag: str) -> None:
        nonlocal depth
        depth -= 1
        target.end(tag)

    def document_type(*_: Any) -> None:
        raise _Beyond("it declares XML entities or a document type, which are not read")

    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = target.data
    parser.StartDoctypeDeclHandler = document_type
    try:
        for part in parts:
            parser.Parse(part, False)
        parser.Parse(b"", True)
    except _Beyond as beyond:
        raise PallasError(f"{name}: not a {what}: {beyond}") from None
    except (expat.ExpatError, ValueError, LookupError) as error:  # encodings that Python lacks
        raise PallasError(f"{name}: not XML, so not a {what}: {error}") from None
