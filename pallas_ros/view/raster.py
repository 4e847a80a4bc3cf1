"""A small software renderer for capsules, meshes, ground and shadows (painter's algorithm), with
numpy and Pillow.

It needs neither OpenGL nor a screen, so pictures are identical on a robot, in CI and on a desktop.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

F64 = NDArray[np.float64]
Colour = tuple[int, int, int]

LIGHT = np.array([0.35, -0.25, 0.9]) / np.linalg.norm([0.35, -0.25, 0.9])
"""Unit vector towards the light, world."""
SKY: Colour = (246, 247, 249)
FLOOR_LINE: Colour = (222, 225, 230)
SHADOW: Colour = (214, 217, 223)
INK: Colour = (52, 56, 64)
_ARC = np.linspace(0.0, 1.0, 12)
_NEAR = 0.05


@dataclass(frozen=True)
class Camera:
    """A pinhole camera: ``eye`` and ``target`` in m, world, z up; ``focal`` in image heights."""

    eye: tuple[float, float, float] = (3.4, -1.6, 1.7)
    target: tuple[float, float, float] = (0.0, -0.35, 0.92)
    focal: float = 1.45

    def axes(self) -> F64:
        """Rows (3, 3): right, down, forward, in the world."""
        forward = np.subtract(self.target, self.eye).astype(float)
        forward /= np.linalg.norm(forward)
        right = np.cross(forward, (0.0, 0.0, 1.0))
        right /= np.linalg.norm(right)
        return np.stack((right, np.cross(forward, right), forward))

    def project(self, points: F64, size: tuple[int, int]) -> tuple[F64, F64]:
        """Project world points (..., 3) m to pixels (..., 2) and depths (...) m; ``size`` is width,
        height.
        """
        seen = (points - np.array(self.eye)) @ self.axes().T
        depth = np.maximum(seen[..., 2], _NEAR)
        scale = self.focal * size[1] / depth
        return seen[..., :2] * scale[..., None] + np.array(size) / 2, seen[..., 2]


@dataclass
class Mesh:
    """Triangles: ``vertices`` (V, 3) m, ``faces`` (F, 3) indices, ``colours`` (F, 3) 0..255."""

    vertices: F64
    faces: NDArray[np.int64]
    colours: F64


@dataclass
class Canvas:
    """A picture: add shapes, then call `finish`.

    ``size`` is width, height in pixels.
    """

    size: tuple[int, int] = (960, 540)
    camera: Camera = field(default_factory=Camera)
    supersample: int = 2

    def __post_init__(self) -> None:
        """Start with an empty floor."""
        self._pixels = (self.size[0] * self.supersample, self.size[1] * self.supersample)
        self._image = Image.new("RGB", self._pixels, SKY)
        self._draw = ImageDraw.Draw(self._image)
        self._jobs: list[tuple[float, list[tuple[list[float], Colour]]]] = []
        self._shadows: list[list[float]] = []
        self._labels: list[tuple[tuple[float, float], str, int, Colour, str]] = []

    def ground(
        self, centre: tuple[float, float] = (0.0, 0.0), reach: float = 3.0, step: float = 0.5
    ) -> None:
        """Add grid lines on the floor, z = 0."""
        ticks = np.arange(-reach, reach + 1e-9, step)
        for along in (0, 1):
            for tick in ticks:
                ends = np.zeros((2, 3))
                ends[:, along] = (-reach, reach)
                ends[:, 1 - along] = tick
                ends[:, :2] += centre
                line = np.linspace(ends[0], ends[1], 13)
                pixels, depth = self.camera.project(line, self._pixels)
                for a in range(12):
                    if depth[a] > 0.3 and depth[a + 1] > 0.3:
                        self._draw.line(
                            [*pixels[a], *pixels[a + 1]], fill=FLOOR_LINE, width=self.supersample
                        )

    def capsules(
        self,
        starts: F64,
        ends: F64,
        radii: F64,
        colours: F64,
        shadow: bool = True,
        fused: Sequence[Sequence[int]] = (),
    ) -> None:
        """Add solid capsules: ``starts``, ``ends`` (n, 3) m, ``radii`` (n,) m, ``colours`` (n, 3)
        0..255.

        Each list of indices in ``fused`` is drawn as one body, without inner outlines.
        """
        a, depth_a = self.camera.project(starts, self._pixels)
        b, depth_b = self.camera.project(ends, self._pixels)
        per_metre = self.camera.focal * self._pixels[1]
        ra = radii * per_metre / np.maximum(depth_a, _NEAR)
        rb = radii * per_metre / np.maximum(depth_b, _NEAR)
        light = self.camera.axes()[:2] @ LIGHT
        axis = (ends - starts) / np.maximum(
            np.linalg.norm(ends - starts, axis=1, keepdims=True), 1e-9
        )
        bright = 0.80 + 0.20 * np.sqrt(np.clip(1 - (axis @ LIGHT) ** 2, 0, 1))
        # size, towards the light, brightness
        layers = [
            (1.0, 0.0, 0.62),
            (0.90, 0.06, 0.92),
            (0.55, 0.28, 1.10),
        ]
        polygons = [
            _hull(
                a + light * (ra * move)[:, None],
                b + light * (rb * move)[:, None],
                ra * size,
                rb * size,
            )
            for size, move, _ in layers
        ]
        depth = (depth_a + depth_b) / 2 - radii
        single = set(range(len(starts))).difference(*fused)
        for group in [*fused, *([i] for i in single)]:
            if min(depth_a[group].min(), depth_b[group].min()) > 0.2:
                drawn = [
                    (polygon[i].ravel().tolist(), _shade(colours[i], bright[i] * level))
                    for polygon, (_, _, level) in zip(polygons, layers)
                    for i in sorted(group, key=lambda i: -depth[i])
                ]
                self._jobs.append((float(depth[group].mean()), drawn))
        if shadow:
            self._cast(starts, ends, radii)

    def mesh(self, mesh: Mesh, shadow: bool = True) -> None:
        """Add a mesh in world coordinates."""
        corners = mesh.vertices[mesh.faces]
        normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)
        centre = corners.mean(axis=1)
        front = np.einsum("ij,ij->i", normal, np.array(self.camera.eye) - centre) > 0
        corners = corners[front]
        normal = normal[front]
        centre = centre[front]
        colours = mesh.colours[front]
        pixels, depth = self.camera.project(corners, self._pixels)
        light = 0.55 + 0.45 * np.clip(normal @ LIGHT, -0.4, 1)
        fills = np.clip(colours * light[:, None], 0, 255).astype(int)
        middle = depth.mean(axis=1)
        for i in np.flatnonzero(depth.min(axis=1) > 0.2):
            self._jobs.append((float(middle[i]), [(pixels[i].ravel().tolist(), tuple(fills[i]))]))
        if shadow and len(mesh.vertices):
            flat = corners - LIGHT * (corners[..., 2:] / LIGHT[2])
            for triangle in self.camera.project(flat, self._pixels)[0]:
                self._shadows.append(triangle.ravel().tolist())

    def polyline(self, points: F64, colour: Colour, width: float = 2.0) -> None:
        """Add a line through world points (n, 3) m, depth-sorted with the solids."""
        pixels, depth = self.camera.project(points, self._pixels)
        for i in range(len(points) - 1):
            if min(depth[i], depth[i + 1]) > 0.2:
                self._jobs.append(
                    (
                        float(depth[i] + depth[i + 1]) / 2,
                        [(_stroke(pixels[i], pixels[i + 1], width * self.supersample), colour)],
                    )
                )

    def ellipsoids(self, centres: F64, covariances: F64, scale: float, colour: Colour) -> None:
        """Add outlines of ellipsoids x' C^-1 x = scale^2 about ``centres`` (n, 3) m with
        ``covariances`` (n, 3, 3) m^2.
        """
        rows = self.camera.axes()[:2]
        pixels, depth = self.camera.project(centres, self._pixels)
        angle = np.linspace(0, 2 * np.pi, 25)
        circle = np.stack((np.cos(angle), np.sin(angle)))
        for i in range(len(centres)):
            values, vectors = np.linalg.eigh(rows @ covariances[i] @ rows.T)
            axes = (
                vectors
                * np.sqrt(np.maximum(values, 0))
                * scale
                * self.camera.focal
                * self._pixels[1]
                / max(depth[i], 0.2)
            )
            outline = pixels[i] + (axes @ circle).T
            strokes = [
                (_stroke(outline[k], outline[k + 1], 1.2 * self.supersample), colour)
                for k in range(24)
            ]
            self._jobs.append((-1.0, strokes))

    def text(
        self,
        at: tuple[float, float],
        text: str,
        height: int = 16,
        colour: Colour = INK,
        anchor: str = "la",
    ) -> None:
        """Add text at a pixel position of the finished picture; ``anchor`` as in Pillow."""
        self._labels.append((at, text, height, colour, anchor))

    def finish(self) -> NDArray[np.uint8]:
        """The picture, (height, width, 3)."""
        for polygon in self._shadows:
            self._draw.polygon(polygon, fill=SHADOW)
        for _, drawn in sorted(self._jobs, key=lambda job: -job[0]):
            for polygon, colour in drawn:
                self._draw.polygon(polygon, fill=colour)
        image = (
            self._image.resize(self.size, Image.Resampling.BOX)
            if self.supersample > 1
            else self._image
        )
        draw = ImageDraw.Draw(image)
        for at, text, height, colour, anchor in self._labels:
            draw.text(at, text, fill=colour, font=_font(height), anchor=anchor)
        return np.asarray(image)

    def _cast(self, starts: F64, ends: F64, radii: F64) -> None:
        """Shadows of capsules on the floor: the hull of the discs of both ends, projected along the
        light.
        """
        angle = np.linspace(0, 2 * np.pi, 10, endpoint=False)
        ring = np.stack((np.cos(angle), np.sin(angle), np.zeros(10)), axis=1)
        for start, end, radius in zip(starts, ends, radii):
            for centre in np.linspace(start, end, 4):
                disc = centre - LIGHT * (centre[2] / LIGHT[2]) + ring * radius
                self._shadows.append(self.camera.project(disc, self._pixels)[0].ravel().tolist())


_FONTS: dict[int, Any] = {}


def _font(height: int) -> Any:
    if height not in _FONTS:
        _FONTS[height] = ImageFont.load_default(height)
    return _FONTS[height]


def _shade(colour: F64, level: float) -> Colour:
    r, g, b = np.clip(colour * level, 0, 255).astype(int).tolist()
    return (r, g, b)


def _stroke(a: F64, b: F64, width: float) -> list[float]:
    """A line of finite width as a polygon."""
    across = np.array([a[1] - b[1], b[0] - a[0]])
    across = across * (width / 2 / max(float(np.hypot(*across)), 1e-9))
    return [*(a + across), *(b + across), *(b - across), *(a - across)]


def _hull(a: F64, b: F64, ra: F64, rb: F64) -> F64:
    """Outlines (n, 24, 2) around pairs of circles: centres (n, 2), radii (n,), pixels."""
    across = b - a
    distance = np.maximum(np.hypot(across[:, 0], across[:, 1]), 1e-9)
    direction = np.arctan2(across[:, 1], across[:, 0])
    half = np.arccos(np.clip((ra - rb) / distance, -1, 1))
    first = direction[:, None] + half[:, None] + _ARC * (2 * np.pi - 2 * half)[:, None]
    second = direction[:, None] - half[:, None] + _ARC * (2 * half)[:, None]
    around_a = a[:, None] + ra[:, None, None] * np.stack((np.cos(first), np.sin(first)), axis=-1)
    around_b = b[:, None] + rb[:, None, None] * np.stack((np.cos(second), np.sin(second)), axis=-1)
    return np.concatenate((around_a, around_b), axis=1)
