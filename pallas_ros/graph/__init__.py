"""The node graph: its description, its processes, and the launch description made from it."""

from pallas_ros.graph.description import Argument, Graph, Node, NodeSpec, read_config

__all__ = ["Argument", "Graph", "Node", "NodeSpec", "read_config"]
