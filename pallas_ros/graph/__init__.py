"""Node graph: description, processes, and the launch description generated from it."""

from pallas_ros.graph.description import Argument, Graph, Node, NodeSpec, read_config

__all__ = ["Argument", "Graph", "Node", "NodeSpec", "read_config"]
