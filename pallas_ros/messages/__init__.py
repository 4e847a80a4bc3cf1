"""ROS messages to the package's records and back: `decode`, `encode`, and `wire` for the
hot path.
"""
