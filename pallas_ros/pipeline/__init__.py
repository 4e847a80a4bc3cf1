"""Samples in, bodies out: what the `pallas` node and `pallas process` both run."""

from pallas_ros.pipeline.pipeline import (
    FROM_STAMP,
    Estimator,
    Pipeline,
    PipelineSettings,
    Settings,
    read_document,
    segment_lengths,
)

__all__ = [
    "FROM_STAMP",
    "Estimator",
    "Pipeline",
    "PipelineSettings",
    "Settings",
    "read_document",
    "segment_lengths",
]
