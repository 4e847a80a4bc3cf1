"""Pictures and videos of people and a robot, for the demo, the report and the documentation."""

import os
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pallas_ros.body.errors import PallasError
from pallas_ros.body.names import JOINT_INDEX
from pallas_ros.body.skeleton import Skeleton
from pallas_ros.view import human
from pallas_ros.view.raster import INK, Camera, Canvas, Colour
from pallas_ros.view.robot import RobotShape

F64 = NDArray[np.float64]
U8 = NDArray[np.uint8]

GHOST: Colour = (228, 150, 90)
MARK: Colour = (214, 64, 52)


@dataclass
class Person:
    """A body to draw.

    Attributes:
        positions: (22, 3) m, world; joints that are not finite are left out.
        rotations: (22, 4) xyzw, world.
        at: (3,) m, added to the positions, to place people side by side.
        tint: colour of the whole body, or None for clothes and skin.
        covariance: (22, 3, 3) m^2 drawn as 90 % ellipsoids, or None.
        label: text below the body.
    """

    positions: F64
    rotations: F64
    at: tuple[float, float, float] = (0.0, 0.0, 0.0)
    tint: Colour | None = None
    covariance: F64 | None = None
    label: str = ""


@dataclass
class Figure:
    """Draws frames of one scene.

    Attributes:
        skeleton: of the people.
        robot: drawn if joint angles are given, or None.
        robot_at: x, y, z in m and heading in rad of the robot's base link.
        size: width, height in pixels.
        camera: default looks at a person at the origin who faces +x, with the robot to their right.
    """

    skeleton: Skeleton = field(default_factory=Skeleton.from_height)
    robot: RobotShape | None = None
    robot_at: tuple[float, float, float, float] = (0.0, -1.25, 0.55, 0.0)
    size: tuple[int, int] = (960, 540)
    camera: Camera = field(default_factory=Camera)
    supersample: int = 2

    def __post_init__(self) -> None:
        """Prepare the shape of the figure."""
        self._capsules = human.figure(self.skeleton)
        self._colours = np.array(
            [human.COLOURS[capsule.part] for capsule in self._capsules], dtype=float
        )
        trunk = {
            JOINT_INDEX[joint]
            for joint in ("spine1", "spine2", "spine3", "left_collar", "right_collar")
        }
        self._trunk = [
            index for index, capsule in enumerate(self._capsules) if capsule.joint in trunk
        ]

    def draw(
        self,
        people: Sequence[Person] = (),
        joints: dict[str, float] | None = None,
        caption: str = "",
        marks: Sequence[tuple[F64, Colour]] = (),
    ) -> U8:
        """Draw one picture (height, width, 3): the people, the robot at ``joints`` (rad by name),
        and spheres at ``marks`` (point (3,) m, colour).
        """
        canvas = Canvas(self.size, self.camera, self.supersample)
        canvas.ground(centre=self.camera.target[:2])
        for person in people:
            self._person(canvas, person)
        if self.robot is not None and joints is not None:
            self._robot(canvas, self.robot, joints)
        for point, colour in marks:
            canvas.capsules(
                point[None],
                point[None] + [0, 0, 1e-6],
                np.array([0.025]),
                np.array([colour], dtype=float),
                shadow=False,
            )
        if caption:
            canvas.text((14, 10), caption, 16)
        return canvas.finish()

    def _person(self, canvas: Canvas, person: Person) -> None:
        positions = person.positions + np.array(person.at)
        colours = (
            self._colours
            if person.tint is None
            else np.tile(np.array(person.tint, dtype=float), (len(self._colours), 1))
        )
        starts, ends, radii = human.place(self._capsules, positions, person.rotations)
        known = np.asarray(np.isfinite(starts).all(axis=1) & np.isfinite(ends).all(axis=1))
        if not known.any():
            return
        index = np.cumsum(known) - 1
        trunk = [int(index[k]) for k in self._trunk if known[k]]
        fused = [trunk] if trunk else []
        canvas.capsules(starts[known], ends[known], radii[known], colours[known], fused=fused)
        if person.covariance is not None:
            usable = np.isfinite(person.covariance).all((1, 2)) & np.isfinite(positions).all(axis=1)
            canvas.ellipsoids(
                positions[usable], person.covariance[usable], 2.5003, MARK
            )  # chi-square, 3 degrees of freedom, 90 %
        if person.label and np.isfinite(positions[0]).all():
            pixel, _ = canvas.camera.project(
                np.array([positions[0, 0], positions[0, 1], -0.08]), canvas.size
            )
            canvas.text((float(pixel[0]), float(pixel[1])), person.label, 15, INK, "ma")

    def _robot(self, canvas: Canvas, robot: RobotShape, joints: dict[str, float]) -> None:
        x, y, z, heading = self.robot_at
        base = np.eye(4)
        base[:2, :2] = [[np.cos(heading), -np.sin(heading)], [np.sin(heading), np.cos(heading)]]
        base[:3, 3] = (x, y, z)
        if z > 0.05:  # a pedestal below a robot that is above the floor
            foot = np.array([[x, y, 0.0]])
            top = np.array([[x, y, z - 0.06]])
            canvas.capsules(foot, top, np.array([0.06]), np.array([[178.0, 182.0, 190.0]]))
        canvas.mesh(robot.place(joints, base))


def write_png(path: str | Path, picture: U8) -> None:
    """Write a picture (height, width, 3) atomically."""
    path = Path(path)
    temporary = path.with_name(f".{path.stem}.tmp.png")
    Image.fromarray(picture).save(temporary, optimize=True)
    os.replace(temporary, path)


def check_clip(path: str | Path) -> None:
    """Check the name of a video before it is made.

    Raises:
        PallasError: another file name extension than ``.mp4`` and ``.gif``.
    """
    if Path(path).suffix not in (".mp4", ".gif"):
        raise PallasError(f"{path}: a video ends in .mp4 or .gif")


def write_clip(path: str | Path, frames: Iterable[U8], fps: float) -> None:
    """Write an ``.mp4`` (H.264, plays in browsers) or ``.gif`` file atomically.

    All ``frames`` (height, width, 3) must have the same even size.

    Raises:
        PallasError: another file name extension, no frames, or no ffmpeg for ``.mp4``.
    """
    check_clip(path)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(
        dir=path.parent, prefix=f".{path.stem}.", suffix=path.suffix
    )
    os.close(handle)
    try:
        count = (
            _gif(temporary, frames, fps) if path.suffix == ".gif" else _mp4(temporary, frames, fps)
        )
        if not count:
            raise PallasError(f"{path}: there are no frames to write")
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _gif(path: str, frames: Iterable[U8], fps: float) -> int:
    images: list[Image.Image] = []
    for frame in frames:
        image = Image.fromarray(frame)
        palette = images[0] if images else None
        images.append(
            image.quantize(96, dither=Image.Dither.NONE)
            if palette is None
            else image.quantize(palette=palette, dither=Image.Dither.NONE)
        )
    if images:
        images[0].save(
            path,
            save_all=True,
            append_images=images[1:],
            duration=round(1000 / fps),
            loop=0,
            optimize=True,
        )
    return len(images)


def _mp4(path: str, frames: Iterable[U8], fps: float) -> int:
    import imageio_ffmpeg

    count = 0
    writer = None
    try:
        for frame in frames:
            if writer is None:
                height, width = frame.shape[:2]
                options = [
                    "-crf",
                    "24",
                    "-preset",
                    "veryfast",
                    "-movflags",
                    "+faststart",
                    "-threads",
                    "1",
                ]
                writer = imageio_ffmpeg.write_frames(
                    path,
                    (width, height),
                    fps=fps,
                    codec="libx264",
                    quality=None,
                    macro_block_size=2,
                    output_params=options,
                )
                writer.send(None)
            writer.send(np.ascontiguousarray(frame))
            count += 1
    except (OSError, RuntimeError) as error:
        raise PallasError(f"{path}: the clip cannot be written: {error}") from None
    finally:
        if writer is not None:
            writer.close()
    return count
