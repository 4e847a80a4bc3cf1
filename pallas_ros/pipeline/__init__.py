"""From samples to bodies: shared by `pallas_node` and `pallas process`."""

from pallas_ros.pipeline.pipeline import FROM_STAMP, Estimator, Pipeline, read_document
from pallas_ros.pipeline.settings import PipelineSettings, Settings, segment_lengths

__all__ = [
    "FROM_STAMP",
    "Estimator",
    "Pipeline",
    "PipelineSettings",
    "Settings",
    "read_document",
    "segment_lengths",
]
