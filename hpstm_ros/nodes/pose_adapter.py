"""Brings what a pose estimator publishes to `/pose/body`."""

from typing import Any

import numpy as np
from geometry_msgs.msg import PoseArray
from numpy.typing import NDArray
from pallas.msg import BodyPose
from tf2_msgs.msg import TFMessage
from visualization_msgs.msg import Marker, MarkerArray

from hpstm_ros.smoothing.adapters import (
    Placement,
    PoseAdapter,
    TransformTree,
    load_format,
    place_body,
    split_markers,
)
from pallas_ros.body import rotations
from pallas_ros.body.errors import PallasError
from pallas_ros.body.names import TOPIC_POSE_BODY, WORLD_FRAME
from pallas_ros.messages.decode import body_from_msg, from_stamp
from pallas_ros.messages.encode import body_to_msg
from pallas_ros.ros.node import Health, PallasNode
from pallas_ros.ros.qos import LATCHED, STREAM


class PoseAdapterNode(PallasNode):
    """Adapter around `hpstm_ros.smoothing.adapters.PoseAdapter`."""

    def __init__(self, **kwargs: Any) -> None:
        """See `config/parameters/pose_adapter.yaml`."""
        self._refused = ""
        super().__init__("pose_adapter", **kwargs)

    def configure(self) -> None:
        """Load the format, subscribe, advertise."""
        s = self.settings
        self._tree = TransformTree()
        self._camera = Placement.from_xyz_rpy(s["camera"]) if s["camera"] else None
        self._adapter = PoseAdapter(load_format(s["format"]), s["axes"], s["units"])
        self._publisher = self.advertise(BodyPose, TOPIC_POSE_BODY)
        self.subscribe(TFMessage, "/tf_static", self._on_transforms, LATCHED)
        self.subscribe(TFMessage, "/tf", self._on_transforms, STREAM)
        kinds = {
            "pose_array": (PoseArray, self._on_poses),
            "marker_array": (MarkerArray, self._on_markers),
            "body_pose": (BodyPose, self._on_body),
        }
        kind, callback = kinds[s["message"]]
        self.subscribe(kind, s["input_topic"], callback)

    def health(self) -> Health:
        """What was refused last."""
        return Health(1 if self._refused else 0, self._refused, {"format": self._adapter.form.name})

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
        self._convert(points, message.header, self.settings["body_id"], None)

    def _on_markers(self, message: MarkerArray) -> None:
        shown = [m for m in message.markers if m.action == Marker.ADD]
        places = [
            (m.ns, m.id, (m.pose.position.x, m.pose.position.y, m.pose.position.z)) for m in shown
        ]
        for body_id, points in split_markers(
            places, self._adapter.form, self.settings["body_id"]
        ).items():
            self._convert(points, shown[0].header, body_id, None)

    def _on_body(self, message: BodyPose) -> None:
        self._publisher.publish(
            body_to_msg(
                place_body(body_from_msg(message), self._placement(message.header.frame_id))
            )
        )

    def _convert(
        self,
        points: NDArray[np.float64],
        header: Any,
        body_id: str,
        confidence: NDArray[np.float64] | None,
    ) -> None:
        try:
            body = self._adapter.body(
                points,
                self._placement(header.frame_id),
                from_stamp(header.stamp),
                body_id,
                confidence,
            )
        except PallasError as error:
            self._refused = f"body '{body_id}' refused: {error}"
            raise PallasError(self._refused) from None
        self._refused = ""
        self._publisher.publish(body_to_msg(body))
