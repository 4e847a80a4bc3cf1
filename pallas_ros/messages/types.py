"""Message classes by the name of their type."""

import importlib
from typing import Any

from pallas_ros.body.errors import PallasError


def message_class(msgtype: str) -> Any:
    """The class of ``pkg/msg/Type``.

    Raises:
        PallasError: its package is not installed here.
    """
    try:
        package, _, name = msgtype.split("/")
        return getattr(importlib.import_module(f"{package}.msg"), name)
    except (ImportError, AttributeError, ValueError):
        raise PallasError(f"message type {msgtype} is not installed here") from None
