"""JSON documents: numbers must fit a float, and errors are one sentence."""

import json
from pathlib import Path
from typing import Any

from pallas_ros.core.errors import PallasError
from pallas_ros.files.opening import read_text

MAX_BYTES = 64 << 20


def load_json(path: str | Path, what: str, max_bytes: int = MAX_BYTES) -> Any:
    """Load a JSON file; ``what`` describes the expected file.

    Raises:
        PallasError: the file is missing, or is not JSON.
    """
    return parse_json(read_text(path, what, max_bytes), str(path), what)


def parse_json(text: str, name: str, what: str) -> Any:
    """Parse a JSON text; ``name`` is its source, for error messages.

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
    return int(text) if len(text) <= 30 else float(text)  # 400 digits become infinity
