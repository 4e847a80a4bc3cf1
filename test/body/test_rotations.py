"""Every rotation function against scipy, for random and degenerate rotations."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.transform import Rotation, Slerp

from pallas_ros.body import rotations

finite = st.floats(-1.0, 1.0, allow_nan=False, width=64)
vectors = arrays(np.float64, 3, elements=finite)
rotvecs = arrays(np.float64, 3, elements=st.floats(-3.1 / np.sqrt(3), 3.1 / np.sqrt(3), width=64))


@st.composite
def unit_quaternions(draw: st.DrawFn) -> np.ndarray:
    """Unit quaternions (4,) xyzw, including identities, half turns and values close to both."""
    special = [
        (0, 0, 0, 1),
        (1, 0, 0, 0),
        (0, 1, 0, 0),
        (0, 0, 1, 0),
        (0.6, 0.8, 0, 0),
        (1e-9, 0, 0, 1),
        (0, 1, 0, 1e-9),
    ]
    raw = draw(st.one_of(st.sampled_from(special), st.tuples(finite, finite, finite, finite)))
    quaternion = np.array(raw, dtype=float)
    length = np.linalg.norm(quaternion)
    return quaternion / length if length > 1e-3 else rotations.IDENTITY.copy()


def same_rotation(a: np.ndarray, b: np.ndarray, tolerance: float = 1e-9) -> None:
    """Assert that two quaternions describe the same rotation, regardless of sign."""
    assert min(np.abs(a - b).max(), np.abs(a + b).max()) < tolerance, (a, b)


@given(unit_quaternions(), unit_quaternions(), vectors)
def test_products_and_turned_vectors_agree_with_scipy(
    a: np.ndarray, b: np.ndarray, vector: np.ndarray
) -> None:
    expected = Rotation.from_quat(a) * Rotation.from_quat(b)
    same_rotation(rotations.multiply(a, b), expected.as_quat())
    same_rotation(rotations.inverse(a), Rotation.from_quat(a).inv().as_quat())
    np.testing.assert_allclose(
        rotations.rotate(a, vector), Rotation.from_quat(a).apply(vector), atol=1e-12
    )


@given(unit_quaternions())
def test_matrices_r6d_and_rotation_vectors_come_back(quaternion: np.ndarray) -> None:
    matrix = rotations.to_matrix(quaternion)
    np.testing.assert_allclose(matrix, Rotation.from_quat(quaternion).as_matrix(), atol=1e-12)
    same_rotation(rotations.from_matrix(matrix), quaternion, 1e-7)
    np.testing.assert_allclose(rotations.from_r6d(rotations.to_r6d(matrix)), matrix, atol=1e-12)
    same_rotation(rotations.from_rotvec(rotations.to_rotvec(quaternion)), quaternion, 1e-7)


@given(rotvecs)
def test_rotation_vectors_agree_with_scipy(rotvec: np.ndarray) -> None:
    same_rotation(rotations.from_rotvec(rotvec), Rotation.from_rotvec(rotvec).as_quat())
    np.testing.assert_allclose(
        rotations.to_rotvec(rotations.from_rotvec(rotvec)), rotvec, atol=1e-7
    )


@given(arrays(np.float64, 6, elements=finite))
def test_any_r6d_gives_a_rotation(r6d: np.ndarray) -> None:
    matrix = rotations.from_r6d(r6d)
    assert np.isfinite(matrix).all()
    x = r6d[:3]
    y = r6d[3:]
    if np.linalg.norm(np.cross(x, y)) > 1e-3:
        np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-9)
        assert np.linalg.det(matrix) == pytest.approx(1)


@given(unit_quaternions(), unit_quaternions(), st.floats(0, 1))
def test_slerp_agrees_with_scipy_and_keeps_the_pace(
    a: np.ndarray, b: np.ndarray, fraction: float
) -> None:
    angle = rotations.angle_between(a, b)
    between = rotations.slerp(a, b, fraction)
    assert rotations.angle_between(a, between) == pytest.approx(fraction * angle, abs=1e-6)
    if angle < 3.1:  # beyond, the shorter way is a matter of rounding
        expected = Slerp([0, 1], Rotation.from_quat([a, b]))(fraction).as_quat()
        same_rotation(between, expected, 1e-6)


@given(unit_quaternions(), st.floats(-3, 3))
def test_heading_follows_a_turn_about_the_vertical(quaternion: np.ndarray, turn: float) -> None:
    forward = rotations.rotate(quaternion, np.array([1.0, 0.0, 0.0]))
    turned = rotations.multiply(rotations.about_z(turn), quaternion)
    difference = rotations.heading(turned) - rotations.heading(quaternion) - turn
    if abs(abs(forward[2]) - 0.999) > 1e-6:
        assert np.cos(difference) == pytest.approx(1, abs=1e-6)


def test_heading_of_someone_bent_double_is_where_they_face() -> None:
    facing = 0.7
    for pitch in np.deg2rad([-89.9, -60, 0, 60, 89.9]):
        quaternion = rotations.multiply(
            rotations.about_z(facing), rotations.from_rotvec(np.array([0.0, pitch, 0.0]))
        )
        assert rotations.heading(quaternion) == pytest.approx(facing, abs=1e-6)


@given(vectors, vectors)
def test_between_vectors_takes_one_to_the_other(a: np.ndarray, b: np.ndarray) -> None:
    if min(np.linalg.norm(a), np.linalg.norm(b)) < 1e-3:
        return
    turned = rotations.rotate(rotations.between_vectors(a, b), a / np.linalg.norm(a))
    np.testing.assert_allclose(turned, b / np.linalg.norm(b), atol=1e-4)


def test_between_opposite_vectors_is_a_half_turn() -> None:
    for axis in np.eye(3):
        np.testing.assert_allclose(
            rotations.rotate(rotations.between_vectors(axis, -axis), axis), -axis, atol=1e-12
        )


def test_continuous_series_has_no_flips_and_the_same_rotations() -> None:
    series = Rotation.from_rotvec(
        np.linspace(0, 20, 200)[:, None] * np.array([0.0, 0.6, 0.8])
    ).as_quat()
    smooth = rotations.continuous(series)
    assert (np.sum(smooth[1:] * smooth[:-1], axis=-1) > 0).all()
    np.testing.assert_allclose(rotations.angle_between(series, smooth), 0, atol=1e-6)


def test_functions_broadcast_over_leading_axes() -> None:
    quaternions = Rotation.random(24, random_state=3).as_quat().reshape(2, 3, 4, 4)
    vector = np.arange(3.0)
    out = rotations.rotate(quaternions, vector)
    assert out.shape == (2, 3, 4, 3)
    np.testing.assert_allclose(
        out[1, 2, 3], Rotation.from_quat(quaternions[1, 2, 3]).apply(vector), atol=1e-12
    )
    assert rotations.slerp(quaternions, quaternions, 0.5).shape == quaternions.shape
    assert rotations.to_r6d(rotations.to_matrix(quaternions)).shape == (2, 3, 4, 6)


@given(unit_quaternions(), st.floats(-3.1, 3.1))
def test_taking_out_the_turn_about_z_leaves_the_least_rotation(
    quaternion: np.ndarray, other: float
) -> None:
    turn = float(rotations.turn_about_z(quaternion))
    assert -np.pi <= turn <= np.pi

    def left(angle: float) -> float:
        return float(
            rotations.angle_between(
                rotations.multiply(rotations.about_z(-angle), quaternion), rotations.IDENTITY
            )
        )

    assert left(turn) <= left(other) + 1e-6
    assert abs(float(rotations.turn_about_z(rotations.about_z(other))) - other) < 1e-9
