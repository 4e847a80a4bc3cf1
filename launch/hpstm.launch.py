"""Camera poses to an arm, without IMUs: `ros2 launch pallas hpstm.launch.py robot:=panda`."""

from pallas_ros.graph.launch_description import description


def generate_launch_description():
    """Pose adapter, smoothing, arm; recorder and visualizer if requested."""
    only = [
        "pose_adapter",
        "hpstm",
        "retarget",
        "arm_simulator",
        "operator",
        "recorder",
        "visualizer",
        "monitor",
        "dynamics",
    ]
    return description({"imu_source": "none", "body": "pose"}, only=only)
