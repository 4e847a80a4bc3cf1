"""ROS nodes: thin adapters between messages and plain Python objects."""
