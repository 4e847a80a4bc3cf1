"""The one exception a user is meant to read (see `pallas_ros.core.errors`)."""

from pallas_ros.core.errors import PallasError

__all__ = ["PallasError"]
