"""The one exception a user is meant to read (see `pallas_ros.errors`)."""

from pallas_ros.errors import PallasError

__all__ = ["PallasError"]
