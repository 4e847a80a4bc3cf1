"""Exception with a message for the user (see `pallas_ros.core.errors`)."""

from pallas_ros.core.errors import PallasError

__all__ = ["PallasError"]
