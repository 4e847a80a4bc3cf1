"""Look up message classes by type name."""

import importlib
from typing import Any

from pallas_ros.body.errors import PallasError


def message_class(msgtype: str) -> Any:
    """Return the class of ``pkg/msg/Type``.

    Raises:
        PallasError: its package is not installed.
    """
    try:
        package, _, name = msgtype.split("/")
        return getattr(importlib.import_module(f"{package}.msg"), name)
    except (ImportError, AttributeError, ValueError):
        raise PallasError(f"message type {msgtype} is not installed here") from None
