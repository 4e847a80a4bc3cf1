"""The shared ROS code: the lifecycle base of every node, described parameters, QoS, message
conversion, the process that runs a node.
"""
