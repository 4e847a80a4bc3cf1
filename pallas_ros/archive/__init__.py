"""Process many recordings, one task each, with local processes or a Dask cluster."""

from pallas_ros.archive.finding import find_bags, find_recordings, is_bag_folder, is_newer
from pallas_ros.archive.tasks import Outcome, Workers, run_tasks

__all__ = [
    "Outcome",
    "Workers",
    "find_bags",
    "find_recordings",
    "is_bag_folder",
    "is_newer",
    "run_tasks",
]
