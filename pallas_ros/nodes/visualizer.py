"""Show the graph in RViz and Foxglove: transforms, robot descriptions, markers."""

from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Point, PoseStamped, TransformStamped, WrenchStamped
from pallas.msg import BodyPose, BodyPrediction, SupervisorStatus
from pallas.msg import ImuFrame as ImuFrameMsg
from sensor_msgs.msg import JointState
from std_msgs.msg import ColorRGBA, String
from tf2_msgs.msg import TFMessage
from visualization_msgs.msg import Marker, MarkerArray

from pallas_ros.body import kinematics, rotations
from pallas_ros.body.frames import BodyFrame
from pallas_ros.body.names import (
    DEFAULT_BODY_ID,
    TOPIC_GOAL,
    TOPIC_GROUND_REACTION,
    TOPIC_HPSTM_BODY,
    TOPIC_HUMAN_DESCRIPTION,
    TOPIC_HUMAN_JOINT_STATES,
    TOPIC_HUMANS_TRACKED,
    TOPIC_IMU_FRAME,
    TOPIC_JOINT_EFFORTS,
    TOPIC_JOINT_STATES,
    TOPIC_MARKERS,
    TOPIC_PALLAS_BODY,
    TOPIC_PREDICTION,
    TOPIC_ROBOT_DESCRIPTION,
    TOPIC_SUPERVISOR,
    TOPIC_TIP,
    WORLD_FRAME,
)
from pallas_ros.body.skeleton import Skeleton
from pallas_ros.messages.decode import body_from_msg, imu_frame_from_msg
from pallas_ros.messages.encode import joint_state_to_msg, to_stamp
from pallas_ros.ros.node import PallasNode
from pallas_ros.ros.qos import LATCHED
from pallas_ros.view import human, scene
from pallas_ros.view.robot import RobotShape

_SIDES = ("left", "right")
_KINDS = {
    "lines": Marker.LINE_LIST,
    "sphere": Marker.SPHERE,
    "cylinder": Marker.CYLINDER,
    "text": Marker.TEXT_VIEW_FACING,
    "arrow": Marker.ARROW,
}


class VisualizerNode(PallasNode):
    """Keep the newest message of each topic and publish visualisations at a fixed rate."""

    def __init__(self, **kwargs: Any) -> None:
        """See `config/parameters/visualizer.yaml`."""
        self._newest: dict[str, Any] = {}
        self._robot: RobotShape | None = None
        super().__init__("visualizer", **kwargs)

    def configure(self) -> None:
        """Subscribe to the displayed topics and advertise the visualisations."""
        self._skeleton = Skeleton.from_height(self.settings["height_m"])
        self._tf = self.advertise(TFMessage, "/tf")
        self._tf_static = self.advertise(TFMessage, "/tf_static", LATCHED)
        self._markers = self.advertise(MarkerArray, TOPIC_MARKERS)
        self._people: dict[str, Any] = {}
        self._tracked = self._advertise_tracked()
        self._newest.clear()
        for topic, kind in {
            TOPIC_IMU_FRAME: ImuFrameMsg,
            TOPIC_JOINT_STATES: JointState,
            TOPIC_GOAL: PoseStamped,
            TOPIC_TIP: PoseStamped,
            TOPIC_JOINT_EFFORTS: JointState,
            TOPIC_PREDICTION: BodyPrediction,
        }.items():
            self.subscribe(kind, topic, partial(self._newest.__setitem__, topic))
        for side in _SIDES:
            topic = TOPIC_GROUND_REACTION.format(side=side)
            self.subscribe(WrenchStamped, topic, partial(self._newest.__setitem__, topic))
        for topic in (TOPIC_PALLAS_BODY, TOPIC_HPSTM_BODY):
            self.subscribe(BodyPose, topic, partial(self._on_body, topic))
        self._status = SupervisorStatus()
        self.subscribe(SupervisorStatus, TOPIC_SUPERVISOR, partial(setattr, self, "_status"))
        self.subscribe(String, TOPIC_ROBOT_DESCRIPTION, self._on_robot, LATCHED)
        self._describe(DEFAULT_BODY_ID)
        self.every(1 / self.settings["rate_hz"], self._draw)

    def activate(self) -> None:
        """Publish the latched messages."""
        self._publish_description(DEFAULT_BODY_ID)

    def cleanup(self) -> None:
        """Discard the arm."""
        self._robot = None

    def _advertise_tracked(self) -> Any:
        """Advertise the REP-155 list of bodies, if its messages are installed."""
        try:
            ids = import_module("hri_msgs.msg").IdsList
        except ImportError:
            return None
        return self.advertise(ids, TOPIC_HUMANS_TRACKED)

    def _describe(self, body_id: str) -> None:
        self._people[body_id] = (
            self.advertise(String, TOPIC_HUMAN_DESCRIPTION.format(body_id=body_id), LATCHED),
            self.advertise(JointState, TOPIC_HUMAN_JOINT_STATES.format(body_id=body_id)),
            list(human.urdf_joint_names(body_id)),
        )

    def _publish_description(self, body_id: str) -> None:
        self._people[body_id][0].publish(String(data=human.human_urdf(self._skeleton, body_id)))

    def _on_robot(self, message: String) -> None:
        self._robot = RobotShape.parse(
            message.data.encode(), Path.cwd(), TOPIC_ROBOT_DESCRIPTION, meshes=False
        )
        x, y, z, heading = self.settings["robot_pose"]
        placed = _transform(
            WORLD_FRAME,
            self._robot.base_link,
            np.array([x, y, z]),
            rotations.about_z(heading),
            to_stamp(self.now()),
        )
        self._tf_static.publish(TFMessage(transforms=[placed]))

    def _draw(self) -> None:
        """Publish visualisations of new data."""
        transforms: list[TransformStamped] = []
        shapes: list[scene.Shape] = []
        newest = dict(self._newest)
        self._newest.clear()
        raw = self._operators(newest.get(TOPIC_PALLAS_BODY))
        smooth = self._operators(newest.get(TOPIC_HPSTM_BODY))
        if raw is not None:
            shapes.append(scene.skeleton("raw", raw, scene.RAW))
            if TOPIC_IMU_FRAME in newest:
                shapes.append(scene.imu_axes(imu_frame_from_msg(newest[TOPIC_IMU_FRAME]), raw))
        shown = smooth if smooth is not None else raw
        if shown is not None:
            transforms += self._show_body(shown)
            shapes += [
                scene.skeleton("body", shown),
                *scene.ellipsoids(shown),
                *scene.contacts(shown),
                scene.remarks(shown),
                scene.operator(shown, self._status.operator_id, self._status.state_name),
            ]
            others = newest.get(TOPIC_HPSTM_BODY) or newest.get(TOPIC_PALLAS_BODY) or {}
            shapes += scene.people(
                body_from_msg(message)
                for name, message in sorted(others.items())
                if name != shown.body_id
            )
        if TOPIC_PREDICTION in newest:
            shapes += scene.ghost([body_from_msg(m) for m in newest[TOPIC_PREDICTION].bodies])
        if (
            self._robot is not None
            and TOPIC_JOINT_STATES in newest
            and self.settings["robot_transforms"]
        ):
            transforms += self._robot_transforms(self._robot, newest[TOPIC_JOINT_STATES])
        if shown is not None and TOPIC_JOINT_EFFORTS in newest:
            efforts = np.reshape(newest[TOPIC_JOINT_EFFORTS].effort, (-1, 3))
            if len(efforts) == len(shown.positions) - 1:
                shapes += scene.effort_balls(shown, np.linalg.norm(efforts, axis=1))
        markers = [_marker(shape, shown) for shape in shapes]
        markers += [
            _pose_marker(newest[topic], name)
            for topic, name in ((TOPIC_GOAL, "goal"), (TOPIC_TIP, "tip"))
            if topic in newest
        ]
        markers += self._force_markers(newest)
        if transforms:
            self._tf.publish(TFMessage(transforms=transforms))
        if markers:
            self._markers.publish(MarkerArray(markers=markers))

    def _force_markers(self, newest: dict[str, Any]) -> list[Marker]:
        """Return markers of the ground reaction, at the centres of pressure."""
        markers = []
        for number, side in enumerate(_SIDES):
            message = newest.get(TOPIC_GROUND_REACTION.format(side=side))
            if message is not None:
                force = message.wrench.force
                shape = scene.force_arrow(number, np.array([force.x, force.y, force.z]))
                marker = _marker(shape, None)
                marker.header = message.header
                marker.action = Marker.ADD if force.z > 0 else Marker.DELETE
                markers.append(marker)
        return markers

    def _on_body(self, topic: str, message: BodyPose) -> None:
        self._newest.setdefault(topic, {})[message.body_id] = message

    def _operators(self, messages: dict[str, BodyPose] | None) -> BodyFrame | None:
        """Return the tracked body, or the first one in view while none is tracked."""
        if not messages:
            return None
        name = self._status.operator_id
        return body_from_msg(messages[name if name in messages else min(messages)])

    def _show_body(self, body: BodyFrame) -> list[TransformStamped]:
        """Publish joint states and the list of bodies; return the transforms of the operator's
        links.
        """
        if not (np.isfinite(body.positions).all() and np.isfinite(body.rotations).all()):
            return []
        if body.body_id not in self._people:
            self._describe(body.body_id)
            self._publish_description(body.body_id)
        angles = human.urdf_joint_angles(np.asarray(kinematics.to_local(body.rotations)))
        _, states, names = self._people[body.body_id]
        states.publish(joint_state_to_msg(body.stamp, names, angles))
        if self._tracked is not None:
            self._tracked.publish(self._tracked.msg_type(ids=[body.body_id]))
        stamp = to_stamp(body.stamp)
        return [
            _transform(*link, stamp)
            for link in human.link_transforms(body.positions, body.rotations, angles, body.body_id)
        ]

    def _robot_transforms(self, robot: RobotShape, joints: JointState) -> list[TransformStamped]:
        links = robot.link_transforms(dict(zip(joints.name, joints.position)))
        return [_transform(*link, joints.header.stamp) for link in links]


def _transform(
    parent: str, child: str, position: Any, orientation: Any, stamp: Time
) -> TransformStamped:
    message = TransformStamped()
    message.header.stamp = stamp
    message.header.frame_id = parent
    message.child_frame_id = child
    t = message.transform.translation
    r = message.transform.rotation
    t.x, t.y, t.z = map(float, position)
    r.x, r.y, r.z, r.w = map(float, orientation)
    return message


def _marker(shape: scene.Shape, body: BodyFrame | None) -> Marker:
    message = Marker(ns=shape.namespace, id=shape.number, type=_KINDS[shape.kind], text=shape.text)
    message.header.frame_id = WORLD_FRAME
    message.header.stamp = to_stamp(body.stamp if body else 0)
    message.lifetime.sec = 1
    p = message.pose.position
    q = message.pose.orientation
    s = message.scale
    p.x, p.y, p.z = shape.position.tolist()
    q.x, q.y, q.z, q.w = shape.orientation.tolist()
    s.x, s.y, s.z = shape.scale.tolist()
    message.color = _rgba(shape.colour)
    message.points = [Point(x=x, y=y, z=z) for x, y, z in shape.points.tolist()]
    message.colors = [_rgba(colour) for colour in shape.colours.tolist()]
    if shape.kind == "text" and not shape.text:
        message.action = Marker.DELETE
    return message


def _rgba(colour: Any) -> ColorRGBA:
    r, g, b, a = colour
    return ColorRGBA(r=float(r), g=float(g), b=float(b), a=float(a))


def _pose_marker(pose: PoseStamped, name: str) -> Marker:
    """Return a sphere at the actual or desired tip position."""
    message = Marker(ns=name, type=Marker.SPHERE, header=pose.header, pose=pose.pose)
    message.scale.x = message.scale.y = message.scale.z = 0.06 if name == "goal" else 0.04
    message.color = _rgba((0.85, 0.25, 0.2, 0.5) if name == "goal" else (0.2, 0.5, 0.9, 1.0))
    message.lifetime.sec = 1
    return message
