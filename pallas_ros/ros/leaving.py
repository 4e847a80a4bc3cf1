"""Leave the ROS graph such that no peer keeps a node of this process in its graph."""

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import rclpy
from rclpy.parameter import Parameter

from pallas_ros.runtime.realtime import release_memory

SIGN_OFF_S = 0.15
"""Seconds from destroying the nodes to leaving DDS.

Measured: a peer on this machine reads the last samples about 5 ms after they are written.
"""


@contextmanager
def leaving(context: Any = None) -> Iterator[None]:
    """Keep ``context`` in DDS while its nodes are destroyed in the body, and until peers are
    informed.

    Peers learn from `ros_discovery_info` which nodes a process has, and from DDS discovery that the
    process is gone. A peer that reads a sample of the former, which lists nodes, after the latter
    adds them to its graph permanently (`GraphCache::update_participant_entities` of
    rmw_dds_common), and rmw_fastrtps leaves DDS as soon as the last node is destroyed. A hidden
    node without endpoints therefore stays until peers have read that all others are gone. Its own
    end is a single sample without nodes, which a peer may read late.
    """
    keeper = rclpy.create_node(
        f"_pallas_leaving_{os.getpid()}",
        context=context,
        use_global_arguments=False,
        enable_rosout=False,
        start_parameter_services=False,
        parameter_overrides=[Parameter("start_type_description_service", value=False)],
    )
    for publisher in list(keeper.publishers):
        keeper.destroy_publisher(publisher)
    try:
        yield
    finally:
        release_memory()  # rclpy announces the end of a node when its last reference is gone
        time.sleep(SIGN_OFF_S)
        keeper.destroy_node()


@contextmanager
def own_context() -> Iterator[tuple[rclpy.Context, ExitStack]]:
    """Yield a ROS context, and the stack for the callbacks that destroy its nodes at the end."""
    context = rclpy.Context()
    rclpy.init(context=context)
    nodes = ExitStack()
    try:
        yield context, nodes
    finally:
        if context.ok():
            with leaving(context):
                nodes.close()
        context.try_shutdown()
