"""The whole graph: `ros2 launch pallas bringup.launch.py imu_source:=serial calibration:=me.yaml
robot:=ur5 record:=bags/first rviz:=true`.
"""

from pallas_ros.graph.launch_description import description


def generate_launch_description():
    """The graph of config/graph.yaml."""
    return description()
