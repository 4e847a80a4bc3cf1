"""Parse XML without document types and entities, with limits on depth, elements and attributes."""

from collections.abc import Iterable, Iterator
from typing import Any, Protocol
from xml.etree import ElementTree
from xml.parsers import expat

from pallas_ros.core.errors import PallasError

MAX_BYTES = 20_000_000
MAX_DEPTH = 50
"""Maximum nesting depth; a URDF has 6, a COLLADA file 12."""
MAX_ELEMENTS = 200_000
MAX_ATTRIBUTES = 100
MAX_TOKEN_BYTES = 8 << 20
"""Maximum length of a tag or comment: expat searches for its end again with every part."""
_PART_BYTES = 1 << 20


class _Beyond(Exception):
    """The limit that a document exceeds."""


def parse_xml(data: bytes, name: str, what: str, max_bytes: int = MAX_BYTES) -> ElementTree.Element:
    """Return the root element of an XML document; ``name`` is its source, for error messages.

    Namespace prefixes are kept in the names.

    Raises:
        PallasError: it is not XML, declares a document type or entities, or exceeds a limit.
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
    """Callbacks for walking a document, as `xml.etree.ElementTree.TreeBuilder`."""

    def start(self, tag: str, attributes: dict[str, str], /) -> Any:
        """Handle the start of an element."""
        ...

    def end(self, tag: str, /) -> Any:
        """Handle the end of an element."""
        ...

    def data(self, text: str, /) -> Any:
        """Handle text between tags."""
        ...


def walk_xml(
    parts: Iterable[bytes], name: str, what: str, target: Target, max_elements: int
) -> None:
    """Call ``target`` for every element and text of a document given in parts, of any total length.

    Raises:
        PallasError: it is not XML, declares a document type or entities, or exceeds a limit.
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
    given = 0
    try:
        for part in _split(parts):
            parser.Parse(part, False)
            given += len(part)
            if given - parser.CurrentByteIndex > MAX_TOKEN_BYTES:
                raise _Beyond(f"a tag or comment of more than {MAX_TOKEN_BYTES >> 20} MB")
        parser.Parse(b"", True)
    except _Beyond as beyond:
        raise PallasError(f"{name}: not a {what}: {beyond}") from None
    except (expat.ExpatError, ValueError, LookupError) as error:  # encodings unknown to Python
        raise PallasError(f"{name}: not XML, so not a {what}: {error}") from None


def _split(parts: Iterable[bytes]) -> Iterator[memoryview]:
    for part in parts:
        view = memoryview(part)
        for start in range(0, len(view), _PART_BYTES):
            yield view[start : start + _PART_BYTES]
