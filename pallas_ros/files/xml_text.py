"""XML documents: no document types and entities, limited depth, elements and attributes, checked while they are parsed."""

from typing import Any
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


def parse_xml(data: bytes, name: str, what: str) -> ElementTree.Element:
    """The root element of an XML document, prefixes of namespaces left on the names; ``name`` says where it is from.

    Raises:
        PallasError: it is not XML, declares a document type or entities, or is beyond the limits.
    """
    if len(data) > MAX_BYTES:
        raise PallasError(
            f"{name}: {len(data) // 1_000_000} MB is too large for a {what} (at most {MAX_BYTES // 1_000_000} MB)"
        )
    builder = ElementTree.TreeBuilder()
    depth, elements = 0, 0

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal depth, elements
        depth += 1
        elements += 1
        if depth > MAX_DEPTH:
            raise _Beyond(f"its elements are nested more than {MAX_DEPTH} levels deep")
        if elements > MAX_ELEMENTS:
            raise _Beyond(f"it has more than {MAX_ELEMENTS} elements")
        if len(attributes) > MAX_ATTRIBUTES:
            raise _Beyond(f"<{tag}> has more than {MAX_ATTRIBUTES} attributes")
        builder.start(tag, attributes)

    def end(tag: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(tag)

    def document_type(*_: Any) -> None:
        raise _Beyond("it declares XML entities or a document type, which are not read")

    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = document_type
    try:
        parser.Parse(data, True)
    except _Beyond as beyond:
        raise PallasError(f"{name}: not a {what}: {beyond}") from None
    except (expat.ExpatError, ValueError, LookupError) as error:  # encodings that Python lacks
        raise PallasError(f"{name}: not XML, so not a {what}: {error}") from None
    return builder.close()
