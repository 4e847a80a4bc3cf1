"""Only sensors and body: `ros2 launch pallas pallas.launch.py imu_source:=topics`."""

from pallas_ros.graph.launch_description import description


def generate_launch_description():
    """Sensors, driver, body; recorder and visualizer if requested."""
    return description(
        {"robot": ""},
        only=["imu_simulator", "imu_driver", "pallas_node", "recorder", "visualizer", "monitor"],
    )
