"""JSON documents: numbers that fit a float, and errors of one sentence."""

import json
from pathlib import Path
from typing import Any

from pallas_ros.core.errors import PallasError
from pallas_ros.files.opening import read_text

MAX_BYTES = 64 << 20


def load_json(path: str | Path, what: str, max_bytes: int = MAX_BYTES) -> Any:
    """The document of a JSON file; ``what`` says what it should be.

    Raises:
        PallasError: there is no such file, or it is not JSON.
    """
    return parse_json(read_text(path, what, max_bytes), str(path), what)


def parse_json(text: str, name: str, what: str) -> Any:
    """The document of a JSON text; ``name`` says where it is from.

    Raises:
        PallasError: it is not JSON, or nested too deep.
    """
    try:
        return json.loads(text, parse_int=_integer)
    except RecursionError:
        raise PallasError(f"{name}: not a {what}: nested too deep") from None
    except ValueError as error:
        raise PallasError(f"{name}: not JSON, so not a {what}: {error}") from None


def _integer(text: str) -> int | float:
    return int(text) if len(text) <= 30 else float(text)  # one of 400 digits is infinite
