"""Names shared by all packages: joints, sensor sites, topics, frames and rates.

Each is defined only here.
"""

from typing import Final

JOINTS: Final = (
    "pelvis",
    "left_hip",
    "right_hip",
    "spine1",
    "left_knee",
    "right_knee",
    "spine2",
    "left_ankle",
    "right_ankle",
    "spine3",
    "left_foot",
    "right_foot",
    "neck",
    "left_collar",
    "right_collar",
    "head",
    "left_shoulder",
    "right_shoulder",
    "left_elbow",
    "right_elbow",
    "left_wrist",
    "right_wrist",
)
"""The canonical joint order (22). A parent always precedes its children."""

JOINT_INDEX: Final = {name: index for index, name in enumerate(JOINTS)}

PARENTS: Final = (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19)
"""Parent of each joint by index; -1 for the pelvis."""

MIRROR: Final = tuple(
    JOINT_INDEX[name.replace("left_", "?").replace("right_", "left_").replace("?", "right_")]
    for name in JOINTS
)
"""Index of each joint's counterpart on the other side of the body; its own on the midline."""

LEG_JOINTS: Final = tuple(
    i for i, n in enumerate(JOINTS) if n.endswith(("_hip", "_knee", "_ankle", "_foot"))
)
UPPER_JOINTS: Final = tuple(i for i in range(len(JOINTS)) if i not in LEG_JOINTS)
"""Pelvis, trunk, head and arms."""

SITES: Final = ("pelvis", "neck", "left_wrist", "right_wrist")
"""Sites of the four sensors, in the order of every (…, 4, …) sensor array."""

SITE_JOINTS: Final = (
    JOINT_INDEX["pelvis"],
    JOINT_INDEX["neck"],
    JOINT_INDEX["left_elbow"],
    JOINT_INDEX["right_elbow"],
)
"""The joint whose orientation each site measures (a wrist sensor is worn on the forearm).

The neck sensor is between spine3 and head.
"""

EXTRA_SITES: Final = (
    "left_shin",
    "right_shin",
    "left_upper_arm",
    "right_upper_arm",
    "left_thigh",
    "right_thigh",
    "head",
)
"""Optional sites besides the four, any subset of them, in this order."""

ALL_SITES: Final = SITES + EXTRA_SITES

MODEL_RATE_HZ: Final = 60.0
"""Rate of bodies, and of the model."""

MODEL_GRAVITY: Final = 9.81
"""m/s^2 of one g in the model: the unit of acceleration of its inputs."""

WORLD_FRAME: Final = "odom"
DEFAULT_BODY_ID: Final = "operator"

TOPIC_IMU: Final = "/imu/{site}"
TOPIC_SENSORS: Final = "/imu/sensors"
"""diagnostic_msgs/DiagnosticArray, latched: which sensor is worn at each site; in each status
``name`` is the site and ``hardware_id`` the sensor.
"""
TOPIC_IMU_FRAME: Final = "/pallas/imu_frame"
TOPIC_CALIBRATION: Final = "/pallas/calibration"
"""std_msgs/String, latched: the current calibration, as its YAML document."""
TOPIC_PALLAS_BODY: Final = "/pallas/body"
TOPIC_POSE_BODY: Final = "/pose/body"
TOPIC_HPSTM_BODY: Final = "/hpstm/body"
TOPIC_SUPERVISOR: Final = "/retarget/status"
TOPIC_GOAL: Final = "/retarget/goal"
"""geometry_msgs/PoseStamped: desired pose of the arm's tip, before the supervisor."""
TOPIC_TIP: Final = "/retarget/tip"
"""geometry_msgs/PoseStamped: pose of the commanded tip."""
TOPIC_DEAD_MAN: Final = "/retarget/dead_man"
TOPIC_GRIPPER: Final = "/retarget/gripper"
"""Openings, 0 closed to 1 open; followed by a slash and the arm's name if a robot has several
grippers.
"""
TOPIC_EMERGENCY_STOP: Final = "/emergency_stop"
TOPIC_JOINT_TRAJECTORY: Final = "/{controller}/joint_trajectory"
TOPIC_JOINT_STATES: Final = "/joint_states"
TOPIC_ROBOT_DESCRIPTION: Final = "/robot_description"
"""std_msgs/String, latched: the arm's URDF."""
TOPIC_HUMAN_DESCRIPTION: Final = "/human_description_{body_id}"
"""std_msgs/String, latched: the operator's URDF (REP-155)."""
TOPIC_HUMAN_JOINT_STATES: Final = "/humans/bodies/{body_id}/joint_states"
TOPIC_HUMANS_TRACKED: Final = "/humans/bodies/tracked"
TOPIC_MARKERS: Final = "/visualizer/markers"
TOPIC_JOINT_EFFORTS: Final = "/dynamics/joint_efforts"
"""sensor_msgs/JointState of the operator's URDF, efforts in Nm."""
TOPIC_GROUND_REACTION: Final = "/dynamics/ground_reaction/{side}"
"""geometry_msgs/WrenchStamped in a frame at the centre of pressure, with the axes of the world."""
TOPIC_BODY_LOAD: Final = "/dynamics/load"
TOPIC_CARRIED: Final = "/dynamics/carried"
"""std_msgs/Float64MultiArray: kg carried in the left and in the right hand."""
FRAME_PRESSURE: Final = "{side}_pressure_{body_id}"
"""Frame at a foot's centre of pressure."""
TOPIC_DIAGNOSTICS: Final = "/diagnostics"
TOPIC_TRUTH_BODY: Final = "/simulator/body"
"""BodyPose: the motion played by the IMU simulator; published only with simulated sensors."""
TOPIC_GENERATED_BODY: Final = "/generated/body"
TOPIC_PREDICTION: Final = "/hpstm/prediction"
ACTION_GENERATE: Final = "/generate_motion"
DEFAULT_CONTROLLER: Final = "joint_trajectory_controller"
SHINS: Final = "upright"
"""Alignment of the shins in the motion that PALLAS is trained on since 0.3, stated by its files."""
