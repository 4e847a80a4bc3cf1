"""Visualisation of forces in RViz and Foxglove."""

from typing import Any

import numpy as np
import pytest
import standing_bodies as bodies
from test_live import frames

from hpstm_ros.dynamics.human import Human
from hpstm_ros.dynamics.offline import analyse
from hpstm_ros.dynamics.pictures import picture
from pallas_ros.view import scene


def test_joints_turn_red_and_grow_with_their_moments() -> None:
    body = frames(bodies.still(bodies.arms_down()))[0]
    efforts = np.zeros(21)
    efforts[3] = 200.0  # left knee: joint 4
    efforts[5] = np.nan
    balls = {ball.number: ball for ball in scene.effort_balls(body, efforts)}
    assert len(balls) == 20  # all but the pelvis and the unknown one
    knee = balls[4]
    hip = balls[1]
    assert knee.colour[0] == 1.0
    assert hip.colour[0] == 0.0
    assert knee.scale[0] > hip.scale[0]


def test_a_person_on_another_floor_looks_the_same() -> None:
    """Regression: ground and camera stayed at z = 0, so that the person was out of the picture."""
    human = Human.of_skeleton(bodies.SKELETON, 75.0)
    pictures = []
    for height in (0.0, 4.0, -0.9):
        motion = bodies.still(bodies.arms_down(), 0.5)
        motion.positions[..., 2] += height
        pictures.append(picture(motion, analyse(motion, human), 15, (96, 108)).astype(int))
    for other in pictures[1:]:
        assert np.abs(other - pictures[0]).max() <= 8  # rounding


def test_a_force_is_drawn_in_its_own_frame_and_taken_away_without_contact(
    ros_nodes: list[Any],
) -> None:
    pytest.importorskip("pallas.msg", reason="needs the generated messages (make setup)")
    from geometry_msgs.msg import WrenchStamped
    from visualization_msgs.msg import Marker

    from pallas_ros.nodes.visualizer import VisualizerNode

    node = VisualizerNode()
    ros_nodes.append(node)
    standing = WrenchStamped()
    standing.header.frame_id = "left_pressure_operator"
    standing.wrench.force.z = 500.0
    lifted = WrenchStamped()
    lifted.header.frame_id = "odom"
    newest = {
        "/dynamics/ground_reaction/left": standing,
        "/dynamics/ground_reaction/right": lifted,
    }
    left, right = node._force_markers(newest)
    assert left.type == Marker.ARROW
    assert left.header.frame_id == "left_pressure_operator"
    assert left.points[1].z == pytest.approx(0.5)
    assert right.action == Marker.DELETE
