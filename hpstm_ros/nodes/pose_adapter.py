"""Converts the messages of a pose estimator to bodies on `/pose/body`."""

from collections.abc import Callable, Iterable
from functools import cached_property
from typing import Any

import numpy as np
from geometry_msgs.msg import PoseArray
from numpy.typing import NDArray
from pallas.msg import BodyPose
from tf2_msgs.msg import TFMessage
from visualization_msgs.msg import Marker, MarkerArray

from hpstm_ros.smoothing import zed
from hpstm_ros.smoothing.adapters import (
    PoseAdapter,
    load_format,
    place_body,
    split_markers,
)
from hpstm_ros.smoothing.transforms import Placement, TransformTree
from pallas_ros.body import rotations
from pallas_ros.body.errors import PallasError
from pallas_ros.body.frames import BodyFrame
from pallas_ros.body.names import TOPIC_POSE_BODY, WORLD_FRAME
from pallas_ros.messages.decode import body_from_msg, from_stamp
from pallas_ros.messages.encode import body_to_msg
from pallas_ros.messages.wire import deserialized
from pallas_ros.ros.body_intake import BodyIntake, body_intake, rejected_remark
from pallas_ros.ros.intake import Intake, RateLimit
from pallas_ros.ros.node import Health, PallasNode
from pallas_ros.ros.qos import ALL_LATCHED, ANY_OFFER, STREAM

_TRANSFORMS_HZ = 1000.0
"""Messages on `/tf` of one publisher above this rate are discarded."""
_Found = tuple[str, str, NDArray[np.float64], NDArray[np.float64] | None]
"""Pose format, id, points (n, 3) and their confidence (n,) of a body."""


class PoseAdapterNode(PallasNode):
    """Adapter around `hpstm_ros.smoothing.adapters.PoseAdapter`."""

    def __init__(self, **kwargs: Any) -> None:
        """See `config/parameters/pose_adapter.yaml`."""
        self._refused = ""
        super().__init__("pose_adapter", **kwargs)

    @cached_property
    def _intake(self) -> BodyIntake:
        """Kept for the life of the node."""
        return body_intake(self, self.settings["input_topic"], self.settings["input_publisher"])

    def configure(self) -> None:
        """Load the format, and create subscriptions and publishers."""
        s = self.settings
        self._tree = TransformTree()
        self._camera = Placement.from_xyz_rpy(s["camera"]) if s["camera"] else None
        names = [*zed.FORMATS.values()] if s["message"] == "zed_objects" else [s["format"]]
        self._adapters = {
            name: PoseAdapter(load_format(name), s["axes"], s["units"]) for name in names
        }
        self._publisher = self.advertise(BodyPose, TOPIC_POSE_BODY)
        self._transforms = Intake(RateLimit(_TRANSFORMS_HZ))
        for topic, qos in (("/tf_static", ALL_LATCHED), ("/tf", STREAM)):
            self.subscribe(TFMessage, topic, self._on_transforms, qos, intake=self._transforms)
        kinds: dict[str, tuple[Callable[[], type[Any]], Callable[[Any], None]]] = {
            "pose_array": (lambda: PoseArray, self._on_poses),
            "marker_array": (lambda: MarkerArray, self._on_markers),
            "body_pose": (lambda: BodyPose, self._on_body),
            "zed_objects": (zed.message_type, self._on_objects),
        }
        kind, callback = kinds[s["message"]]
        self._listen(kind(), callback)

    def _listen(self, kind: type[Any], callback: Callable[[Any], None]) -> None:
        topic = self.settings["input_topic"]
        if kind is MarkerArray:  # has no header, and so is not counted unread
            self.subscribe(kind, topic, callback, ANY_OFFER, intake=self._intake)
            return

        def take(data: bytes) -> None:
            callback(deserialized(data, kind))

        self.subscribe(kind, topic, take, ANY_OFFER, raw=True, intake=self._intake)

    def health(self) -> Health:
        """Report the last rejected body, and messages of other publishers."""
        formats = ", ".join(self._adapters)
        rejected = rejected_remark(self._intake, self.settings["input_topic"], "messages")
        wrong = self._why_unmatched() or rejected or self._refused
        figures = {
            "format": formats,
            "messages over the rate limit": self._intake.flooded,
            "messages of other publishers": self._intake.unexpected,
            "transforms over the rate limit": self._transforms.flooded,
        }
        return Health(1 if wrong else 0, wrong, figures)

    def _why_unmatched(self) -> str:
        """Return why the estimator's messages are not received; empty if they are."""
        topic = self.resolve_topic_name(self.settings["input_topic"])
        wrong = self.unmatched.get(topic, "")
        return wrong and f"{wrong}: set 'message' to what the estimator publishes"

    def _placement(self, frame: str) -> Placement:
        return self._camera or self._tree.find(frame, WORLD_FRAME)

    def _on_transforms(self, message: TFMessage) -> None:
        for t in message.transforms:
            r = t.transform.rotation
            p = t.transform.translation
            R_parent_child = np.asarray(
                rotations.to_matrix(rotations.normalise(np.array((r.x, r.y, r.z, r.w)))),
                dtype=np.float64,
            )
            self._tree.set(
                t.child_frame_id,
                t.header.frame_id,
                Placement(R_parent_child, np.array((p.x, p.y, p.z))),
            )

    def _on_poses(self, message: PoseArray) -> None:
        points = np.array(
            [(p.position.x, p.position.y, p.position.z) for p in message.poses]
        ).reshape(-1, 3)
        found = (self.settings["format"], self.settings["body_id"], points, None)
        self._convert(message.header, [found])

    def _on_markers(self, message: MarkerArray) -> None:
        shown = [m for m in message.markers if m.action == Marker.ADD]
        places = [
            (m.ns, m.id, (m.pose.position.x, m.pose.position.y, m.pose.position.z)) for m in shown
        ]
        name = self.settings["format"]
        form = self._adapters[name].form
        bodies = split_markers(places, form, self.settings["body_id"])
        if shown:
            found = ((name, body_id, points, None) for body_id, points in bodies.items())
            self._convert(shown[0].header, found)

    def _on_objects(self, message: Any) -> None:
        people = zed.people(message, self.settings["body_id"])
        self._convert(
            message.header,
            (
                (person.format, person.body_id, person.points, person.confidence)
                for person in people
            ),
        )

    def _on_body(self, message: BodyPose) -> None:
        placement = self._placement(message.header.frame_id)
        self._publish(place_body(body_from_msg(message), placement))

    def _publish(self, body: BodyFrame) -> None:
        body = self._intake.renamed(body)
        self._publisher.publish(body_to_msg(body))

    def _convert(self, header: Any, found: Iterable[_Found]) -> None:
        """Publish the bodies of a message; a rejected one does not affect the others."""
        refused = ""
        for form, body_id, points, confidence in found:
            try:
                placement = self._placement(header.frame_id)
                stamp = from_stamp(header.stamp)
                adapter = self._adapters[form]
                body = adapter.body(points, placement, stamp, body_id, confidence)
            except PallasError as error:
                refused = f"body '{body_id[:40]}' refused: {error}"
                continue
            self._publish(body)
        self._refused = refused
        if refused:
            raise PallasError(refused)
