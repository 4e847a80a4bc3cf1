"""Conversion between ROS messages and the package's records: `decode`, `encode`, and `wire` for the
hot path.
"""
