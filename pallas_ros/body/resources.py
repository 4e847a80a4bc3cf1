"""Where data files are (see `pallas_ros.core.resources`)."""

from pallas_ros.core.resources import cache_folder, expanded, resource, share

__all__ = ["cache_folder", "expanded", "resource", "share"]
