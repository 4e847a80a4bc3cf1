"""Trained weights (safetensors): the header is validated before the library maps the file."""

import json
from pathlib import Path

from pallas_ros.core.errors import PallasError
from pallas_ros.files.json_text import parse_json
from pallas_ros.files.opening import open_regular

MAX_BYTES = 2_000_000_000
MAX_HEADER_BYTES = 8 << 20
"""Maximum size of names, types and offsets of the tensors, and the metadata: 30 kB in the released
models.
"""


def weights_metadata(path: str | Path) -> dict[str, str]:
    """Validate a ``.safetensors`` file and return its metadata; a library may then open it.

    Raises:
        PallasError: the file is missing or damaged, or its tensors do not match its size.
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
            raise PallasError(f"{path}: damaged weights: tensor '{name}' does not fit the file")
    if not isinstance(metadata, dict):
        raise PallasError(f"{path}: damaged weights: its metadata are not a mapping")
    return {
        str(key): value if isinstance(value, str) else json.dumps(value)
        for key, value in metadata.items()
    }


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
