"""Shared ROS code: lifecycle base class, described parameters, QoS profiles, process entry."""
