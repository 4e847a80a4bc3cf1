"""The web viewer: a human figure, the arm, uncertainty, a time line and plots, in a browser. It looks and never commands."""

import contextlib
import io
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import trimesh
import viser
from numpy.typing import NDArray
from viser import uplot

from pallas_ros.body import rotations
from pallas_ros.body.errors import PallasError
from pallas_ros.body.names import JOINTS
from pallas_ros.body.skeleton import Skeleton
from pallas_ros.view import human
from pallas_ros.view.moments import Moment, Recording
from pallas_ros.view.robot import RobotShape
from pallas_ros.view.scene import GREY, STATE_COLOURS, ellipsoid

F64 = NDArray[np.float64]
RATE_HZ = 20.0
PLOT_HZ = 2.0
PLOT_POINTS = 240
SHAPE_EVERY = 4  # frames between two shapes of an ellipsoid
SENT_M, SENT_TURN = 5e-4, 1e-3  # what is less than this from what the browser has is not sent; of a quaternion's parts
JUMP_S = 2.0  # plots begin anew where time goes back, or further ahead than this
GHOST = (228, 150, 90)
ROBOT_AT = np.array([0.0, -1.25, 0.55])
SPEEDS = ("0.1", "0.25", "0.5", "1", "2", "4")
COLOURS = ("#2f6fb0", "#d9822b", "#3d9a50", "#b04a8b", "#7a6ff0", "#c0392b", "#16a0a0", "#8c6d46")
LIMIT = "#c0392b"


class Placed:
    """Things in the scene, whose poses are sent where they changed: a message costs more than looking whether it is needed."""

    def __init__(self, handles: Sequence[Any]) -> None:
        """``handles`` of viser, each with position, wxyz and visible."""
        self.handles = list(handles)
        self._sent = np.full((len(self.handles), 7), np.inf)
        self._visible = np.zeros(len(self.handles), dtype=bool)

    def show(self, poses: F64 | None) -> None:
        """``poses`` (n, 7): position m and orientation xyzw of each; those that are not finite, or None for all, are hidden."""
        poses = np.full_like(self._sent, np.nan) if poses is None else poses
        visible = np.asarray(np.isfinite(poses).all(axis=1))
        for k in np.flatnonzero(visible != self._visible).tolist():
            self.handles[k].visible = bool(visible[k])
        self._visible = visible
        off = np.abs(poses - self._sent)
        for k in np.flatnonzero(visible & (off[:, :3] > SENT_M).any(axis=1)).tolist():
            self.handles[k].position, self._sent[k, :3] = poses[k, :3], poses[k, :3]
        for k in np.flatnonzero(visible & (off[:, 3:] > SENT_TURN).any(axis=1)).tolist():
            self.handles[k].wxyz, self._sent[k, 3:] = poses[k, [6, 3, 4, 5]], poses[k, 3:]


class Viewer:
    """A viser server on one address; pictures are sent at `RATE_HZ` at most, and what comes between is left out."""

    def __init__(self, host: str, port: int, skeleton: Skeleton) -> None:
        """Open the server."""
        try:
            logging.getLogger("websockets").setLevel(logging.CRITICAL)  # a browser that goes away is no news
            with contextlib.redirect_stdout(io.StringIO()):  # viser prints a banner; the command says the address itself
                self.server = viser.ViserServer(host=host, port=port, verbose=False)
        except OSError as error:
            raise PallasError(f"the viewer cannot listen on {host}:{port}: {error.strerror}") from None
        self.server.gui.configure_theme(dark_mode=False, show_share_button=False, control_width="large")
        self.server.scene.set_up_direction("+z")
        self.server.scene.add_grid("/floor", 8, 8, cell_size=0.5, plane_opacity=0.0)
        self.server.initial_camera.position = (3.2, -1.7, 1.7)
        self.server.initial_camera.look_at = (0.0, -0.4, 0.9)
        self._body = self._figure("/body", skeleton, None)
        self._raw = self._figure("/raw", skeleton, GHOST)
        balls = [
            self.server.scene.add_icosphere(
                f"/uncertainty/{joint}", 1.0, (214, 64, 52), subdivisions=2, opacity=0.3, visible=False, cast_shadow=False
            )
            for joint in JOINTS
        ]
        self._ellipsoids = Placed(balls)
        self._turns = np.tile([0.0, 0.0, 0.0, 1.0], (len(JOINTS), 1))
        self._links = Placed([])
        self._robot: RobotShape | None = None
        self._history: deque[Moment] = deque(maxlen=PLOT_POINTS)
        self._plots: dict[str, Any] = {}
        self._last_plot = 0.0
        self._controls()
        self.shown = 0

    @property
    def port(self) -> int:
        """The port in use."""
        return int(self.server.get_port())

    def load_robot(self, description: str, folder: Path) -> None:
        """Show the arm of a URDF's text; one that cannot be drawn is said and left out."""
        try:
            self._robot = RobotShape.parse(description.encode(), folder, "robot description", detail_m=0.006)
        except PallasError as error:
            self._say(str(error))
            return
        for handle in self._links.handles:
            handle.remove()
        frames = []
        for number, mesh in enumerate(self._robot.links.values()):
            frame = self.server.scene.add_frame(f"/robot/{number}", show_axes=False)
            solid = trimesh.Trimesh(mesh.vertices, mesh.faces, face_colors=mesh.colours.astype(np.uint8), process=False)
            self.server.scene.add_mesh_trimesh(f"/robot/{number}/mesh", solid)
            frames.append(frame)
        self._links = Placed(frames)
        self._joint.options = tuple(self._robot.limits) or ("none",)

    def show(self, moment: Moment) -> None:
        """Draw an instant."""
        with self.server.atomic():
            here = self._here(moment)
            beside = here + np.array([0.0, 1.2, 0.0]) if self._beside.value else here
            self._pose(self._body, moment.body, here)
            self._pose(self._raw, moment.raw if self._show_raw.value else None, beside)
            self._uncertainty(moment, here)
            self._place_robot(moment)
        self._say(moment.words, moment.state)
        if self._history and not 0 <= moment.time - self._history[-1].time <= JUMP_S:
            self._history.clear()
        self._history.append(moment)
        if time.monotonic() - self._last_plot > 1 / PLOT_HZ:
            self._last_plot = time.monotonic()
            self._draw_plots()
        self.shown += 1

    def play(self, recording: Recording, stop: threading.Event, start: float = 0.0) -> None:
        """Show a recording from ``start`` s on until ``stop``; the time line, play and speed are the browser's."""
        gui = self.server.gui
        with gui.add_folder("Time", order=-1):
            self.slider: Any = gui.add_slider("time, s", 0.0, round(recording.duration, 2), 0.01, round(min(start, recording.duration), 2))
            self.playing = gui.add_checkbox("play", True)
            self.speed = gui.add_dropdown("speed", SPEEDS, initial_value="1")
        if recording.robot:
            self.load_robot(recording.robot, Path.cwd())
        drawn, last = -1.0, time.monotonic()
        while not stop.wait(1 / RATE_HZ):
            now = time.monotonic()
            if self.playing.value and self.server.get_clients():
                ahead = self.slider.value + (now - last) * float(self.speed.value)
                self.slider.value = round(ahead % recording.duration, 2)  # type: ignore[misc]  # the handle narrows its own type
            last = now
            if self.slider.value != drawn and self.server.get_clients():
                drawn = self.slider.value
                self.show(recording.at(drawn))

    def follow(self, newest: Callable[[], Moment | None], description: Callable[[], str], stop: threading.Event) -> None:
        """Show what is live until ``stop``; ``newest`` gives None while nothing comes."""
        shown, silent = "", 0.0
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

    def _controls(self) -> None:
        gui = self.server.gui
        self._state = gui.add_html("", visible=False)
        self._words = gui.add_markdown("&nbsp;")
        with gui.add_folder("Show", expand_by_default=False):
            self._show_raw = gui.add_checkbox("raw body", True)
            self._beside = gui.add_checkbox("raw beside", True)
            self._show_uncertainty = gui.add_checkbox("uncertainty (90 %)", True)
            self._in_place = gui.add_checkbox("keep the operator in place", True)
        self._plot_folder = gui.add_folder("Plots")
        with self._plot_folder:
            self._joint: Any = gui.add_dropdown("joint", ("none",), visible=False, order=1e9)

    def _say(self, words: str, state: str = "") -> None:
        self._words.content = "\n\n".join(_plain(line) for line in words.splitlines() if line) or "&nbsp;"
        self._state.visible = bool(state)
        if state:
            self._state.content = (
                f'<div style="margin:.4rem .8rem;padding:.15rem .6rem;border-radius:4px;color:#fff;background:{STATE_COLOURS.get(state, GREY)}">'
                f"{escape(state)}</div>"
            )

    def _figure(self, name: str, skeleton: Skeleton, tint: tuple[int, int, int] | None) -> Placed:
        """One frame a joint, with its capsules in it."""
        frames = [self.server.scene.add_frame(f"{name}/{joint}", show_axes=False, visible=False) for joint in JOINTS]
        for number, capsule in enumerate(human.figure(skeleton)):
            along = capsule.end - capsule.start
            mesh = trimesh.creation.capsule(height=max(float(np.linalg.norm(along)), 1e-6), radius=capsule.radius, count=[16, 16])
            turn = rotations.between_vectors(np.array([0.0, 0.0, 1.0]), along)
            vertices = (
                rotations.rotate(np.tile(turn, (len(mesh.vertices), 1)), np.asarray(mesh.vertices)) + (capsule.start + capsule.end) / 2
            )
            # trimesh's capsule is centred on its middle since 4.5
            self.server.scene.add_mesh_simple(
                f"{name}/{JOINTS[capsule.joint]}/{number}",
                vertices,
                np.asarray(mesh.faces),
                color=tint or human.COLOURS[capsule.part],
                cast_shadow=tint is None,
                receive_shadow=False,
            )
        return Placed(frames)

    def _pose(self, figure: Placed, body: F64 | None, at: F64) -> None:
        whole = body is not None and bool(np.isfinite(body).all())
        figure.show(np.concatenate((body[:, :3] + at, body[:, 3:]), axis=1) if whole and body is not None else None)

    def _here(self, moment: Moment) -> F64:
        """What to add to the body's positions: the operator walks, and odometry drifts; kept in place they stay before the camera."""
        if not self._in_place.value or moment.body is None or not np.isfinite(moment.body[0, :2]).all():
            return np.zeros(3)
        return np.array([-moment.body[0, 0], -moment.body[0, 1], 0.0])

    def _uncertainty(self, moment: Moment, here: F64) -> None:
        """The joints' ellipsoids about the pelvis; the pelvis's own is how far odometry may be off, metres after a while, and said in words."""
        if moment.covariance is None or moment.body is None or not self._show_uncertainty.value:
            self._ellipsoids.show(None)
            return
        known = np.asarray(np.isfinite(moment.covariance).all(axis=(1, 2)))
        known[0] = False
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
        self._links.show(np.concatenate((poses[:, :3, 3] + ROBOT_AT, rotations.from_matrix(poses[:, :3, :3])), axis=1))

    def _draw_plots(self) -> None:
        """One plot a figure, one of all joints in their ranges, and one of the joint that is chosen."""
        history = list(self._history)
        for name in dict.fromkeys(name for moment in history for name in moment.plots):
            self._plot(name, (name,), [(moment.time, moment.plots.get(name, np.nan)) for moment in history])
        limits = self._robot.limits if self._robot is not None else {}
        self._joint.visible = bool(limits)
        if limits:
            shares = [[_share(moment, name, bounds) for name, bounds in limits.items()] for moment in history]
            rows = [(moment.time, *row, 0.0, 1.0) for moment, row in zip(history, shares)]
            self._plot("commands, share of range", (*limits, "limit", "limit"), rows)
            name, (low, high) = self._joint.value, limits.get(self._joint.value, (np.nan, np.nan))
            rows = [(moment.time, moment.joints.get(name, np.nan), moment.commanded.get(name, np.nan), low, high) for moment in history]
            self._plot("joint below: measured (blue), command (orange), rad", ("measured", "command", "limit", "limit"), rows)

    def _plot(self, title: str, names: tuple[str, ...], rows: Sequence[tuple[float, ...]]) -> None:
        """Make a plot, or give it new data; curves of which nothing is known are left out."""
        table = np.array(rows, dtype=float)
        known = [k for k in range(len(names)) if np.isfinite(table[:, k + 1]).any()]
        table = table[:, [0, *(k + 1 for k in known)]]
        table = table[np.isfinite(table).all(axis=1)]
        if not known or len(table) < 2:
            return
        data = tuple(np.ascontiguousarray(column) for column in table.T)
        if title in self._plots and len(self._plots[title].data) == len(data):
            self._plots[title].data = data
            return
        if title in self._plots:
            self._plots[title].remove()
        strokes = [LIMIT if names[k] == "limit" else COLOURS[k % len(COLOURS)] for k in known]
        series = [uplot.Series(label=names[k], stroke=stroke, width=1) for k, stroke in zip(known, strokes)]
        with self._plot_folder:
            self._plots[title] = self.server.gui.add_uplot(
                data,
                (uplot.Series(label="s"), *series),
                title=title,
                aspect=2.6,
                legend={"show": False},
                scales={"x": uplot.Scale(time=False), "y": uplot.Scale(auto=True)},
            )


def _share(moment: Moment, name: str, bounds: tuple[float, float]) -> float:
    """Where in its range a joint is sent, or where nothing is sent stands: 0 at the lower limit, 1 at the upper one."""
    angle = moment.commanded.get(name, moment.joints.get(name, np.nan))
    return (angle - bounds[0]) / max(bounds[1] - bounds[0], 1e-9)


def _plain(text: str) -> str:
    """Text that a message brought, so that nothing in it is taken for markup."""
    return "".join(f"\\{letter}" if letter in "\\`*_{}[]()#+!|<>&~$" else letter for letter in text)
