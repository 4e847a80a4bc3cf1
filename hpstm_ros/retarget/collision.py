"""Collision geometry of a robot with convex hulls, fast enough for checks at 125 Hz."""

import itertools

import coal
import numpy as np
import pinocchio as pin
from numpy.typing import NDArray

from pallas_ros.body.errors import PallasError

F64 = NDArray[np.float64]

MARGIN_M = 0.01
"""Minimum distance between two parts of the arm, or a part and a keep-out volume."""
READY_MARGIN_M = 0.015
"""Pairs that are closer than this in the ready posture are not monitored."""
_MESH_VERTICES = 200
_FLAT = 1e-4  # thickness over length below which a mesh counts as flat
_TESTS = 1_000_000  # of pairs at load time, about 2.5 s; the robots in config/robots need fewer


def margin_data(geometry: pin.GeometryModel, margin: float = MARGIN_M) -> pin.GeometryData:
    """Data for collision checks in which pairs closer than ``margin`` m collide."""
    data = geometry.createData()
    for request in data.collisionRequests:
        request.security_margin = margin
    return data


def convex_model(
    model: pin.Model, collision: pin.GeometryModel, samples: int = 200
) -> pin.GeometryModel:
    """Convex shapes for those of ``collision``, with the pairs to check.

    Pairs on the same or on adjacent joints, and pairs that overlap in nearly every posture, are
    omitted. Together with `drop_touching`, these are the pairs that MoveIt's Setup Assistant
    disables by sampling.
    """
    out = pin.GeometryModel()
    for item in collision.geometryObjects:
        try:
            shape = _convex(item.geometry)
        except PallasError as error:
            raise PallasError(f"collision mesh of link geometry '{item.name}': {error}") from None
        shape.computeLocalAABB()
        out.addGeometryObject(
            pin.GeometryObject(item.name, item.parentJoint, item.placement, shape)
        )
    for a in range(out.ngeoms):
        for b in range(a + 1, out.ngeoms):
            i = out.geometryObjects[a].parentJoint
            j = out.geometryObjects[b].parentJoint
            if i != j and model.parents[i] != j and model.parents[j] != i:
                out.addCollisionPair(pin.CollisionPair(a, b))
    data = model.createData()
    geometry_data = margin_data(out, READY_MARGIN_M)
    samples = max(20, min(samples, _TESTS // max(len(out.collisionPairs), 1)))
    hits = np.zeros(len(out.collisionPairs))
    low = model.lowerPositionLimit
    high = model.upperPositionLimit
    random = np.random.default_rng(0)
    for _ in range(samples):
        pin.computeCollisions(model, data, out, geometry_data, random.uniform(low, high), False)
        hits += [result.isCollision() for result in geometry_data.collisionResults]
    _drop(out, hits > 0.95 * samples)
    return out


def drop_touching(model: pin.Model, geometry: pin.GeometryModel, q_ready: F64) -> None:
    """Drop pairs that nearly touch in the ready posture: hulls are larger than the links, so these
    contacts are not collisions.
    """
    geometry_data = margin_data(geometry, READY_MARGIN_M)
    pin.computeCollisions(model, model.createData(), geometry, geometry_data, q_ready, False)
    _drop(
        geometry,
        np.array([result.isCollision() for result in geometry_data.collisionResults], dtype=bool),
    )


def _drop(geometry: pin.GeometryModel, drop: NDArray[np.bool_]) -> None:
    """Drop the collision pairs in the mask ``drop`` (P,)."""
    keep = [
        (pair.first, pair.second)
        for pair, dropped in zip(geometry.collisionPairs, drop, strict=True)
        if not dropped
    ]
    geometry.removeAllCollisionPairs()
    for first, second in keep:
        geometry.addCollisionPair(pin.CollisionPair(first, second))


def add_keep_out(
    model: pin.Model, geometry: pin.GeometryModel, boxes: list[tuple[F64, F64]]
) -> None:
    """Add boxes (centre (3,), size (3,), m, base frame) that no moving link may enter.

    The first moving link is exempt: it only rotates about the base, and would always touch the
    table below the arm.
    """
    for number, (centre, size) in enumerate(boxes):
        box = pin.GeometryObject(
            f"keep_out_{number}", 0, pin.SE3(np.eye(3), centre), coal.Box(*size)
        )
        index = geometry.addGeometryObject(box)
        for other in range(geometry.ngeoms):
            joint = geometry.geometryObjects[other].parentJoint
            if joint > 0 and model.parents[joint] > 0:
                geometry.addCollisionPair(pin.CollisionPair(other, index))


def _convex(shape: coal.CollisionGeometry) -> coal.CollisionGeometry:
    """The shape itself if it is convex, else the hull of its vertices, which are reduced if there
    are thousands.

    Raises:
        PallasError: a vertex is not finite.
    """
    if not isinstance(shape, coal.BVHModelBase):
        return shape
    if not np.isfinite(np.asarray(shape.vertices())).all():
        raise PallasError("coordinates that are not finite; export the mesh again")
    if shape.num_vertices > _MESH_VERTICES:
        shape = _thinned(np.asarray(shape.vertices()))
    if not _has_volume(np.asarray(shape.vertices())):
        shape = _box(np.asarray(shape.vertices()))
    try:
        shape.buildConvexHull(True, "Qt")
    except (RuntimeError, ValueError):  # the volume is too small
        shape = _box(np.asarray(shape.vertices()))
        shape.buildConvexHull(True, "Qt")
    return shape.convex


def _has_volume(vertices: F64) -> bool:
    """Whether vertices (N, 3) span a volume; for flat ones, Qhull fails and coal crashes."""
    if len(vertices) < 4:
        return False
    spread = np.linalg.eigvalsh(np.cov(vertices.T))
    return bool(spread[0] > _FLAT**2 * spread[2])


def _box(vertices: F64) -> coal.BVHModelOBBRSS:
    """The corners of a slightly enlarged bounding box of vertices (N, 3)."""
    low = vertices.min(axis=0)
    high = vertices.max(axis=0)
    thick = max(0.0005, _FLAT * float((high - low).max()))
    return _mesh(np.array(list(itertools.product(*zip(low - thick, high + thick, strict=True)))))


def _mesh(vertices: F64) -> coal.BVHModelOBBRSS:
    mesh = coal.BVHModelOBBRSS()
    mesh.beginModel(0, len(vertices))
    mesh.addVertices(vertices)
    mesh.endModel()
    return mesh


def _thinned(vertices: F64) -> coal.CollisionGeometry:
    """The vertices (N, 3) that are extreme in one of many directions. Their hull deviates from the
    mesh's by a few tenths of a millimetre.
    """
    golden = np.pi * (3 - np.sqrt(5))
    k = np.arange(_MESH_VERTICES)
    z = 1 - 2 * (k + 0.5) / len(k)
    directions = np.column_stack(
        (np.sqrt(1 - z * z) * np.cos(golden * k), np.sqrt(1 - z * z) * np.sin(golden * k), z)
    )
    return _mesh(vertices[np.unique(np.argmax(vertices @ directions.T, axis=0))])
