"""The web viewer: a human figure, the arm, uncertainty, a time line and plots, in a browser.

It only displays; it sends no commands.
"""

import threading
import time
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from numpy.typing import NDArray

from pallas_ros.body import rotations
from pallas_ros.body.errors import PallasError
from pallas_ros.body.names import JOINT_INDEX, JOINTS
from pallas_ros.body.skeleton import Skeleton
from pallas_ros.view.access import Access
from pallas_ros.view.forces import ForceDrawing
from pallas_ros.view.human import COLOURS
from pallas_ros.view.moments import Moment, Recording, unknown_joints
from pallas_ros.view.placed import Placed
from pallas_ros.view.plots import Plots
from pallas_ros.view.robot import RobotShape
from pallas_ros.view.scene import GREY, STATE_COLOURS, ellipsoid
from pallas_ros.view.server import open_server
from pallas_ros.view.solid import solids

F64 = NDArray[np.float64]
RATE_HZ = 20.0
PLOT_HZ = 2.0
SHAPE_EVERY = 4  # frames between two shapes of an ellipsoid
GHOST = (228, 150, 90)
EXPECTED = (120, 110, 200)
"""Colour of the predicted body (`/hpstm/prediction`)."""
ROBOT_AT = np.array([0.0, -1.25, 0.55])
SPEEDS = {"0.1": 0.1, "0.25": 0.25, "0.5": 0.5, "1": 1.0, "2": 2.0, "4": 4.0}
BESIDE = np.array([0.0, 1.8, 0.0])  # the raw body, clear of the arms of the other
_TRANSLUCENT = 0.35
"""Opacity of the body while forces are drawn, since the arrows of the ground reaction are inside
the legs."""
PEDESTAL = (186, 190, 197)
UNSURE = (47, 111, 176)  # ellipsoids
UNCERTAIN: dict[str, tuple[int, ...]] = {
    "off": (),
    "hands": tuple(JOINT_INDEX[f"{side}_wrist"] for side in ("left", "right")),
    "every joint": tuple(range(1, len(JOINTS))),
}
"""Joints whose ellipsoids are drawn, by option."""


class Viewer:
    """A viser server on one address; it sends frames at `RATE_HZ` at most and skips the others."""

    def __init__(self, host: str, port: int, skeleton: Skeleton, token: str = "") -> None:
        """Open the server; with a ``token``, only clients that present it are admitted.

        Raises:
            PallasError: the address cannot be bound, or the token is too weak.
        """
        self.server = open_server(host, port, Access(host, token))
        self.server.gui.configure_theme(dark_mode=False, show_logo=False, show_share_button=False)
        self.server.gui.main_panel.dock_right()
        self.server.gui.main_panel.set_width(360)
        self._room()
        self._solids: dict[str, list[Any]] = {}
        self._see_through = False
        self._body = self._figure("/body", skeleton, None)
        self._raw = self._figure("/raw", skeleton, GHOST)
        self._predicted = self._figure("/prediction", skeleton, EXPECTED, opacity=0.35)
        balls = [
            self.server.scene.add_icosphere(
                f"/uncertainty/{joint}",
                1.0,
                UNSURE,
                subdivisions=3,
                opacity=0.18,
                visible=False,
                cast_shadow=False,
            )
            for joint in JOINTS
        ]
        self._ellipsoids = Placed(balls)
        self._turns = np.tile([0.0, 0.0, 0.0, 1.0], (len(JOINTS), 1))
        self._forces = ForceDrawing(self.server.scene)
        self._links = Placed([])
        self._robot: RobotShape | None = None
        self._past: Callable[[float], Moment] | None = None
        self._last_plot = 0.0
        self._controls()
        self._plots = Plots(self.server.gui)
        self.shown = 0

    @property
    def port(self) -> int:
        """The port in use."""
        return int(self.server.get_port())

    def load_robot(self, description: str, folder: Path) -> None:
        """Show the arm of a URDF, given as text; an arm that cannot be drawn is reported."""
        try:
            self._robot = RobotShape.parse(
                description.encode(), folder, "robot description", detail_m=0.006
            )
        except PallasError as error:
            self._say(str(error))
            return
        for handle in self._links.handles:
            handle.remove()
        frames = []
        for number, mesh in enumerate(self._robot.links.values()):
            frame = self.server.scene.add_frame(f"/robot/{number}", show_axes=False)
            solid = trimesh.Trimesh(
                mesh.vertices, mesh.faces, face_colors=mesh.colours.astype(np.uint8), process=False
            )
            self.server.scene.add_mesh_trimesh(f"/robot/{number}/mesh", solid)
            frames.append(frame)
        self._links = Placed(frames)
        self._plots.offer(self._robot.limits)
        self._stand.visible = True

    def show(self, moment: Moment) -> None:
        """Draw an instant."""
        with self.server.atomic():
            here = self._here(moment)
            beside = here + BESIDE if self._beside.value else here
            self._pose(self._body, moment.body, here)
            raw = moment.raw if self._show_raw.value else None
            self._pose(self._raw, raw, beside)
            expected = moment.predicted if self._show_prediction.value else None
            self._pose(self._predicted, expected, here)
            self._name(moment.body, here, raw if self._beside.value else None, beside)
            self._uncertainty(moment, here)
            found = moment.forces if self._show_forces.value else None
            joints = None if moment.body is None else moment.body[:, :3]
            self._forces.show(found, joints, here)
            self._open_body(found is not None)
            self._place_robot(moment)
        unknown = "" if moment.body is None else unknown_joints(moment.body)
        self._say("\n".join(line for line in (moment.words, unknown) if line), moment.state)
        self._plots.add(moment)
        self._draw_plots(moment.time)
        self.shown += 1

    def play(
        self, recording: Recording, stop: threading.Event, start: float = 0.0, playing: bool = True
    ) -> None:
        """Show a recording from ``start`` s on until ``stop``.

        The browser controls the time line, playing and speed.
        """
        gui = self.server.gui
        with gui.add_folder("Time", order=-1):
            self.slider: Any = gui.add_slider(
                "time, s",
                0.0,
                round(recording.duration, 2),
                0.01,
                round(min(start, recording.duration), 2),
            )
            self.playing = gui.add_checkbox("play", playing)
            self.speed = gui.add_dropdown("speed", tuple(SPEEDS), initial_value="1")
        self._past = recording.at
        if recording.robot:
            self.load_robot(recording.robot, Path.cwd())
        drawn = -1.0
        last = time.monotonic()
        while not stop.wait(1 / RATE_HZ):
            now = time.monotonic()
            if self.playing.value and self.server.get_clients():
                ahead = _within(self.slider.value, recording.duration) + (now - last) * SPEEDS.get(
                    self.speed.value, 1.0
                )
                self.slider.value = round(ahead % recording.duration, 2)  # type: ignore[misc]  # the handle narrows its own type
            last = now
            asked = _within(self.slider.value, recording.duration)
            if asked != drawn and self.server.get_clients():
                drawn = asked
                self.show(recording.at(drawn))
            elif drawn >= 0:
                self._draw_plots(
                    drawn
                )  # position at which the time line was released, and the joint selected since

    def follow(
        self,
        newest: Callable[[], Moment | None],
        description: Callable[[], str],
        stop: threading.Event,
    ) -> None:
        """Show the live graph until ``stop``; ``newest`` returns None while nothing is received."""
        shown = ""
        silent = 0.0
        while not stop.wait(1 / RATE_HZ):
            if not self.server.get_clients():
                continue
            if (text := description()) and text != shown:
                shown = text
                self.load_robot(text, Path.cwd())
            moment = newest()
            if moment is not None:
                silent = 0.0
                self.show(moment)
            else:
                silent += 1 / RATE_HZ
                if silent > 1.0:
                    self._say("nothing is being published; waiting for the graph")

    def close(self) -> None:
        """Stop serving."""
        self.server.stop()

    def _room(self) -> None:
        """Add the floor, the arm's stand and the labels; place the camera so that both bodies and
        the arm are in view.
        """
        scene = self.server.scene
        scene.set_up_direction("+z")
        scene.add_grid(
            "/floor",
            10,
            10,
            cell_size=0.5,
            cell_color=(228, 231, 235),
            section_color=(205, 210, 217),
            plane_color=(248, 249, 250),
            plane_opacity=1.0,
            shadow_opacity=0.2,
        )
        self.server.initial_camera.position = (3.55, -0.95, 1.55)
        self.server.initial_camera.look_at = (0.0, 0.25, 0.8)
        self.server.initial_camera.fov = 1.05
        height = float(ROBOT_AT[2])
        self._stand = scene.add_cylinder(
            "/stand",
            0.07,
            height,
            PEDESTAL,
            position=(*ROBOT_AT[:2].tolist(), height / 2),
            visible=False,
            receive_shadow=False,
        )
        names = {"/names/body": "smoothed", "/names/raw": "before smoothing"}
        self._names = Placed(
            [
                scene.add_label(path, text, visible=False, anchor="top-center")
                for path, text in names.items()
            ]
        )

    def _name(self, body: F64 | None, here: F64, raw: F64 | None, beside: F64) -> None:
        """Label both bodies on the floor in front of their feet; a single body has no label."""
        poses = np.full((2, 7), np.nan)
        if body is not None and raw is not None:
            poses[:, 3:] = (0.0, 0.0, 0.0, 1.0)
            poses[0, :3] = body[0, :3] + here
            poses[1, :3] = raw[0, :3] + beside
            poses[:, :3] = poses[:, :3] * [1, 1, 0] + [0.45, 0, 0]
        self._names.show(poses)

    def _draw_plots(self, now: float) -> None:
        if time.monotonic() - self._last_plot > 1 / PLOT_HZ:
            self._last_plot = time.monotonic()
            self._plots.draw(now, self._past)

    def _controls(self) -> None:
        gui = self.server.gui
        self._state = gui.add_html("", visible=False)
        self._words = gui.add_markdown("&nbsp;")
        with gui.add_folder("Show", expand_by_default=False):
            self._show_raw = gui.add_checkbox("raw body", True)
            self._beside = gui.add_checkbox("raw beside", True)
            self._show_prediction = gui.add_checkbox("prediction", True)
            self._show_uncertainty = gui.add_dropdown(
                "uncertainty, 90 %", tuple(UNCERTAIN), initial_value="off"
            )
            self._show_forces = gui.add_checkbox("forces", True)
            self._in_place = gui.add_checkbox("keep the operator in place", True)

    def _say(self, words: str, state: str = "") -> None:
        self._words.content = (
            "\n\n".join(_plain(line) for line in words.splitlines() if line) or "&nbsp;"
        )
        self._state.visible = bool(state)
        if state:
            self._state.content = (
                '<div style="margin:.4rem .8rem;padding:.15rem'
                f' .6rem;border-radius:4px;color:#fff;background:{STATE_COLOURS.get(state, GREY)}">'
                f"{escape(state)}</div>"
            )

    def _figure(
        self,
        name: str,
        skeleton: Skeleton,
        tint: tuple[int, int, int] | None,
        opacity: float | None = None,
    ) -> Placed:
        """Add a frame for each joint, with its solids."""
        frames = [
            self.server.scene.add_frame(f"{name}/{joint}", show_axes=False, visible=False)
            for joint in JOINTS
        ]
        for number, solid in enumerate(solids(skeleton)):
            mesh = self.server.scene.add_mesh_simple(
                f"{name}/{JOINTS[solid.joint]}/{number}",
                solid.vertices,
                solid.faces,
                color=tint or COLOURS[solid.part],
                opacity=opacity,
                cast_shadow=tint is None,
                receive_shadow=False,
            )
            self._solids.setdefault(name, []).append(mesh)
        return Placed(frames)

    def _open_body(self, wanted: bool) -> None:
        """Make the body translucent or solid: arrows and joints are inside it."""
        if wanted == self._see_through:
            return
        self._see_through = wanted
        for mesh in self._solids["/body"]:
            mesh.opacity = _TRANSLUCENT if wanted else None

    def _pose(self, figure: Placed, body: F64 | None, at: F64) -> None:
        poses = None if body is None else np.concatenate((body[:, :3] + at, body[:, 3:]), axis=1)
        figure.show(poses)

    def _here(self, moment: Moment) -> F64:
        """Offset (3,) m of the body's positions.

        It keeps an operator who walks, or whose odometry drifts, in front of the camera.
        """
        if (
            not self._in_place.value
            or moment.body is None
            or not np.isfinite(moment.body[0, :2]).all()
        ):
            return np.zeros(3)
        return np.array([-moment.body[0, 0], -moment.body[0, 1], 0.0])

    def _uncertainty(self, moment: Moment, here: F64) -> None:
        """Show the joints' ellipsoids relative to the pelvis.

        The pelvis's own is the uncertainty of odometry, metres after a while; it is shown as text.
        """
        wanted = list(UNCERTAIN.get(self._show_uncertainty.value, ()))
        if moment.covariance is None or moment.body is None or not wanted:
            self._ellipsoids.show(None)
            return
        known = np.zeros(len(JOINTS), dtype=bool)
        known[wanted] = np.isfinite(moment.covariance[wanted]).all(axis=(1, 2))
        if self.shown % SHAPE_EVERY == 0:
            turns, radii = ellipsoid(np.where(known[:, None, None], moment.covariance, np.eye(3)))
            self._turns = turns
            for joint in np.flatnonzero(known).tolist():
                self._ellipsoids.handles[joint].scale = tuple(radii[joint].tolist())
        poses = np.concatenate((moment.body[:, :3] + here, self._turns), axis=1)
        self._ellipsoids.show(np.where(known[:, None], poses, np.nan))

    def _place_robot(self, moment: Moment) -> None:
        if self._robot is None or not moment.joints or not self._links.handles:
            return
        poses = np.array(list(self._robot.transforms(moment.joints).values()))
        self._links.show(
            np.concatenate(
                (poses[:, :3, 3] + ROBOT_AT, rotations.from_matrix(poses[:, :3, :3])), axis=1
            )
        )


def _within(value: object, duration: float) -> float:
    """Clamp a time in s, as sent by a browser, to the recording."""
    if not isinstance(value, (int, float)) or not np.isfinite(value):
        return 0.0
    return float(np.clip(value, 0.0, duration))


def _plain(text: str) -> str:
    """Escape text from a message, so that none of it is interpreted as markup."""
    return "".join(f"\\{letter}" if letter in "\\`*_{}[]()#+!|<>&~$" else letter for letter in text)
