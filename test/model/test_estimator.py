"""The estimator with the released model: facing, the operator's size, foot contact, lost
sensors.
"""

import os
from pathlib import Path

import numpy as np
import pytest

from pallas_ros.body import rotations
from pallas_ros.body.errors import PallasError
from pallas_ros.body.frames import ImuFrame
from pallas_ros.body.kinematics import forward_kinematics
from pallas_ros.body.names import JOINT_INDEX
from pallas_ros.body.skeleton import Skeleton
from pallas_ros.runtime import open_stream
from pallas_ros.runtime.estimator import BodyEstimator
from pallas_ros.runtime.root import RootTracker


@pytest.fixture(scope="module")
def estimator(released: Path) -> BodyEstimator:
    return BodyEstimator(
        open_stream(released.with_suffix(".onnx"), backend="onnxruntime"), Skeleton.from_height(1.8)
    )


def frame(index: int, heading: float = 0.0, **changes: np.ndarray) -> ImuFrame:
    """A T-pose facing ``heading``."""
    stamp = round(index * 1e9 / 60)
    values = {
        "orientation": np.tile(rotations.about_z(heading), (4, 1)),
        "acceleration": np.zeros((4, 3)),
        "valid": np.ones(4, dtype=bool),
        "age": np.zeros(4),
        "heading_drift": np.zeros(4),
    }
    return ImuFrame(stamp=stamp, newest_input=stamp, **(values | changes))


def test_turning_on_the_spot_turns_the_body_and_no_more(estimator: BodyEstimator) -> None:
    bodies = []
    for heading in (0.0, 2.0):
        estimator.reset()
        bodies.append([estimator.step(frame(i, heading)) for i in range(60)][-1])
    turned = rotations.rotate(rotations.about_z(2.0), bodies[0].positions - bodies[0].positions[0])
    np.testing.assert_allclose(bodies[1].positions - bodies[1].positions[0], turned, atol=1e-4)


def test_a_standing_body_stands(estimator: BodyEstimator) -> None:
    estimator.reset()
    body = [estimator.step(frame(i)) for i in range(180)][-1]
    assert np.linalg.norm(body.positions[0, :2]) < 0.25
    assert (
        abs(
            min(
                body.positions[JOINT_INDEX["left_foot"], 2],
                body.positions[JOINT_INDEX["right_foot"], 2],
            )
        )
        < 0.06
    )
    assert body.contacts.min() > 0.5
    np.testing.assert_allclose(
        body.positions,
        forward_kinematics(Skeleton.from_height(1.8), body.rotations, body.positions[0]),
        atol=1e-6,
    )
    assert (body.confidence >= 0).all() and (body.confidence <= 1).all() and body.valid.all()
    assert np.linalg.eigvalsh(body.covariance).min() >= 0  # type: ignore[arg-type]


def test_a_lost_wrist_takes_its_arm_with_it_and_no_other_joint(estimator: BodyEstimator) -> None:
    estimator.reset()
    body = estimator.step(frame(0, valid=np.array([True, True, False, True])))
    assert (
        not body.valid[JOINT_INDEX["left_wrist"]]
        and body.confidence[JOINT_INDEX["left_wrist"]] == 0
    )
    assert body.valid[JOINT_INDEX["right_wrist"]] and "left wrist" in body.remarks[0]


def test_a_lost_neck_sensor_takes_the_confidence_of_all_that_hangs_on_the_trunk(
    estimator: BodyEstimator,
) -> None:
    estimator.reset()
    body = estimator.step(frame(0, valid=np.array([True, False, True, True])))
    for name in ("spine3", "head", "left_shoulder", "right_elbow", "right_wrist"):
        assert body.confidence[JOINT_INDEX[name]] == 0.0
    assert body.confidence[JOINT_INDEX["pelvis"]] == 1.0
    assert body.confidence[JOINT_INDEX["left_knee"]] > 0.0


@pytest.mark.parametrize("site", range(4))
def test_confidence_falls_as_a_sensors_last_sample_ages(
    estimator: BodyEstimator, site: int
) -> None:
    def wrists(age: float) -> np.ndarray:
        estimator.reset()
        ages = np.zeros(4)
        ages[site] = age
        body = estimator.step(frame(0, age=ages))
        return body.confidence[[JOINT_INDEX["left_wrist"], JOINT_INDEX["right_wrist"]]]

    fresh = wrists(0.0)
    np.testing.assert_array_equal(wrists(0.03), fresh)
    half = wrists(0.07)
    gone = wrists(0.1)
    dependent = np.array([site != 3, site != 2])
    np.testing.assert_allclose(half[dependent], 0.5 * fresh[dependent], rtol=1e-6)
    assert (gone[dependent] == 0.0).all()
    np.testing.assert_array_equal(gone[~dependent], fresh[~dependent])


def test_an_age_that_is_not_a_number_is_not_trusted(estimator: BodyEstimator) -> None:
    estimator.reset()
    age = np.array([0.0, 0.0, np.nan, 0.0])
    body = estimator.step(frame(0, age=age))
    assert not body.confidence[JOINT_INDEX["left_wrist"]] > 0.0
    assert body.confidence[JOINT_INDEX["right_wrist"]] > 0.0


def test_values_that_are_not_finite_are_rejected_without_side_effects(
    estimator: BodyEstimator,
) -> None:
    def run(poison: bool) -> np.ndarray:
        estimator.reset()
        for i in range(10):
            if poison and i == 5:
                with pytest.raises(PallasError):
                    estimator.step(frame(i, acceleration=np.full((4, 3), np.nan)))
            body = estimator.step(frame(i, acceleration=np.full((4, 3), 0.1 * i)))
        return body.positions

    np.testing.assert_array_equal(run(True), run(False))


def test_a_foot_that_stands_does_not_slide() -> None:
    skeleton = Skeleton.from_height()
    tracker = RootTracker(skeleton)
    still = skeleton.rest_positions - skeleton.rest_positions[0]
    feet = []
    for i in range(60):
        relative = still.copy()
        relative[[7, 10], 0] -= (
            0.01 * i
        )  # the left foot goes back under the body, at 0.6 m/s: the body goes forward
        root = tracker.step(
            round((i + 1) * 1e9 / 60), relative, np.array([0.95, 0.1]), np.array([0.5, 0.1, 0.0])
        )
        feet.append(root + relative[10])
    np.testing.assert_allclose(np.diff(np.array(feet)[:, :2], axis=0), 0, atol=1e-9)
    assert tracker.walked == pytest.approx(0.59, abs=1e-6)


def test_real_recording_shins_and_forearms_agree_with_the_sensors_on_them(released: Path) -> None:
    torch = pytest.importorskip("torch")
    from pallas_ros.train.evaluate import evaluate_real, network

    path = (
        Path(os.environ.get("PALLAS_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
        / "real_imu_60hz.npz"
    )
    if not path.is_file():
        pytest.skip(f"{path} is not there (set PALLAS_DATA)")
    torch.set_num_threads(1)
    figures = {
        (row["case"], row["metric"]): row["value"]
        for row in evaluate_real(path, {"pallas": network(released)})
    }
    assert figures["real", "shin_deg"] <= 14
    assert figures["real", "shin_turned_deg"] <= figures["real", "shin_deg"]
    assert figures["real", "forearm_deg"] <= 5
    assert figures["real,no_acceleration", "shin_turned_deg"] > figures["real", "shin_turned_deg"]
