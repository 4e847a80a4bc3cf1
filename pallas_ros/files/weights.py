"""Trained weights (safetensors): the header is validated before the library maps the file."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pallas_ros.core.errors import PallasError
from pallas_ros.files.json_text import parse_json
from pallas_ros.files.opening import open_regular

MAX_BYTES = 2_000_000_000
MAX_HEADER_BYTES = 8 << 20
"""Maximum size of names, types and offsets of the tensors, and the metadata: 30 kB in the released
models.
"""
WIDEST = 4096
MOST_LAYERS = 100
"""Eight times as wide, and twenty times as deep, as the largest released network."""
NETWORK_TO_FILE = 100
SMALL_NETWORK_BYTES = 64 << 20
"""Limits of the network that a description requests: a multiple of the file size, or a number of
bytes, whichever is larger.
"""


def weights_metadata(path: str | Path) -> dict[str, str]:
    """Validate a ``.safetensors`` file and return its metadata; a library may then open it.

    Raises:
        PallasError: the file is missing or damaged, its tensors do not match its size, or the
            network that it describes is far larger than it.
    """
    with open_regular(path, "file of trained weights (.safetensors)", MAX_BYTES) as file:
        size = int.from_bytes(file.read(8), "little")
        if not 0 < size <= MAX_HEADER_BYTES:
            raise PallasError(f"{path}: not trained weights (.safetensors), or damaged")
        text = file.read(size)
        left = file.seek(0, 2) - 8 - size
    header = parse_json(text.decode("utf-8", "replace"), str(path), "file of trained weights")
    if not isinstance(header, dict):
        raise PallasError(f"{path}: not trained weights (.safetensors), or damaged")
    metadata = header.pop("__metadata__", {})
    for name, tensor in header.items():
        if not _fits(tensor, left):
            raise PallasError(
                f"{path}: damaged weights: tensor '{name}' does not match the file size"
            )
    if not isinstance(metadata, dict):
        raise PallasError(f"{path}: damaged weights: its metadata are not a mapping")
    texts = {
        str(key): value if isinstance(value, str) else json.dumps(value)
        for key, value in metadata.items()
    }
    _check_network(path, texts, left)
    return texts


def _check_network(path: str | Path, metadata: dict[str, str], size: int) -> None:
    """Reject a network that would take hours, or gigabytes, to build before its weights are read.

    A network of width w with l layers has more than l w^2 weights of four bytes each.
    """
    described = _mapping(metadata.get("pallas", ""))
    for shape in (_mapping(metadata.get("config", "")), described.get("config")):
        numbers = list(_numbers(shape, ""))
        for name, number in numbers:
            most = MOST_LAYERS if _is_count(name) else WIDEST
            if not -most <= number <= most:
                raise PallasError(
                    f"{path}: damaged weights: '{name}' is {number}, but at most {most} is possible"
                )
        widest = max((number for name, number in numbers if not _is_count(name)), default=0)
        layers = max((number for name, number in numbers if _is_count(name)), default=1)
        if 4 * widest**2 * layers > max(NETWORK_TO_FILE * size, SMALL_NETWORK_BYTES):
            raise PallasError(
                f"{path}: damaged weights: {size} bytes are too few for {layers} layers of width"
                f" {widest}"
            )


def _is_count(name: str) -> bool:
    return name.endswith(("layers", "blocks"))


def _mapping(text: str) -> dict[str, Any]:
    """Return the mapping in a JSON text; empty if it is none, which the caller reports."""
    try:
        found = parse_json(text, "", "")
    except PallasError:
        return {}
    return found if isinstance(found, dict) else {}


def _numbers(node: Any, name: str) -> Iterator[tuple[str, int]]:
    """All integers in a description, as (name, value)."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield from _numbers(value, str(key))
    elif isinstance(node, list):
        for value in node:
            yield from _numbers(value, name)
    elif isinstance(node, int) and not isinstance(node, bool):
        yield name, node


def _fits(tensor: object, size: int) -> bool:
    """Whether a tensor entry is valid and lies within the ``size`` bytes after the header."""
    if not isinstance(tensor, dict) or not {"dtype", "shape", "data_offsets"} <= tensor.keys():
        return False
    shape = tensor["shape"]
    offsets = tensor["data_offsets"]
    if not isinstance(shape, list) or not isinstance(offsets, list) or len(offsets) != 2:
        return False
    whole = all(
        isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in (*shape, *offsets)
    )
    return whole and len(shape) <= 8 and offsets[0] <= offsets[1] <= size
