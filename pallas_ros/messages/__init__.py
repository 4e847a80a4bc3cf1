"""Conversion between ROS messages and records: `decode`, `encode`, and `wire` (hot path)."""
