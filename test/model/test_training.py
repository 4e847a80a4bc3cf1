"""Training: data by seed, decreasing loss, resuming, and one-sentence configuration errors."""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from pallas_ros.body import rotations as np_rotations  # noqa: E402
from pallas_ros.body.errors import PallasError  # noqa: E402
from pallas_ros.body.kinematics import forward_kinematics  # noqa: E402
from pallas_ros.body.motion import Motion  # noqa: E402
from pallas_ros.body.names import LEG_JOINTS, UPPER_JOINTS  # noqa: E402
from pallas_ros.body.skeleton import Skeleton  # noqa: E402
from pallas_ros.data.library import LibraryClip, MotionLibrary  # noqa: E402
from pallas_ros.data.packs import PackClip  # noqa: E402
from pallas_ros.data.sequences import AugmentationSettings, SequenceSampler  # noqa: E402
from pallas_ros.data.virtual_imu import (  # noqa: E402
    MARGIN,
    SensorErrors,
    Sequence,
    joint_positions,
    sense,
)
from pallas_ros.files.weights import weights_metadata  # noqa: E402
from pallas_ros.geometry import rotations  # noqa: E402
from pallas_ros.model.config import PallasConfig  # noqa: E402
from pallas_ros.model.pallas import Pallas  # noqa: E402
from pallas_ros.model.step import load_model  # noqa: E402
from pallas_ros.train import pallas as pallas_training  # noqa: E402
from pallas_ros.train.config import read_config  # noqa: E402
from pallas_ros.train.loop import LoopSettings, fit  # noqa: E402
from pallas_ros.train.losses import LossWeights, pallas_loss  # noqa: E402
from pallas_ros.train.pallas import (  # noqa: E402
    CALIBRATED_SITES,
    PLAIN,
    calibrate,
    recalibrate,
    save_model,
    scale_deviations,
    start_from,
    validation_batches,
)
from pallas_ros.train.selection import clips_of, part_of  # noqa: E402

SMALL = PallasConfig(
    width=32, heads=2, hidden=48, window=8, legs_hidden=24, solver_hidden=16, solver_blocks=2
)
NO_ERRORS = SensorErrors((0.0,) * 11, 0, 0, 0, 0, 0, 0, 0, 0, delay=(0, 0), dropout=0)


@pytest.fixture(scope="module")
def library() -> MotionLibrary:
    """Ten seconds of a body that sways and swings its arms."""
    t = np.arange(600) / 60
    rotvec = 0.3 * np.sin(t[:, None, None] * np.linspace(1, 4, 66).reshape(22, 3))
    rotvec[:, 0, 2] += 0.2 * t
    q = np_rotations.from_rotvec(rotvec)
    root = np.stack((0.5 * t, np.sin(t), 0.95 + 0.02 * np.sin(5 * t)), axis=-1)
    motion = Motion(
        60.0,
        forward_kinematics(Skeleton.from_height(), q, root),
        q,
        extra={"contacts": np.stack((t % 1 < 0.5, t % 1 >= 0.5), -1)},
    )
    return MotionLibrary.from_clips([PackClip("test", "sway", "sway", "", motion)])


def sampler(
    library: MotionLibrary, seed: int, settings: AugmentationSettings | None = None
) -> SequenceSampler:
    return SequenceSampler(
        library, list(library.clips), 40, 8, settings or AugmentationSettings(), seed
    )


def test_batches_follow_from_the_seed(library: MotionLibrary) -> None:
    a, b, c = (next(sampler(library, seed)) for seed in (3, 3, 4))
    assert torch.equal(a.imu, b.imu) and torch.equal(a.rotations, b.rotations)
    assert not torch.equal(a.imu, c.imu)


def test_augmented_motion_is_made_of_rotations_and_is_finite(library: MotionLibrary) -> None:
    batch = next(
        sampler(
            library, 0, AugmentationSettings(foreign_arm=0.3, keyed_arm=0.3, free_arm=0.3, bend=1.0)
        )
    )
    product = batch.rotations @ batch.rotations.transpose(-1, -2)
    assert (product - torch.eye(3)).abs().max() < 1e-4
    assert torch.isfinite(batch.imu).all()


def test_perfect_sensors_measure_the_bones_and_the_second_derivative(
    library: MotionLibrary,
) -> None:
    clip = library.clips[0]
    q = torch.from_numpy(library.quaternions(clip))[None]
    root = torch.from_numpy(library.root[clip.start : clip.stop])[None]
    offsets = torch.tensor(Skeleton.from_height().offsets, dtype=torch.float32)[None]
    out = sense(
        q,
        root,
        torch.zeros(1, q.shape[1], 2),
        offsets,
        NO_ERRORS,
        torch.Generator().manual_seed(0),
        neck_share=torch.zeros(1),
    )
    R = out.imu.unflatten(-1, (4, 12))[..., 3:].unflatten(-1, (3, 3))
    for site, joint in ((0, 0), (1, 9), (2, 18), (3, 19)):
        assert (R[:, :, site] - out.rotations[:, :, joint]).abs().max() < 1e-3
    t = (np.arange(q.shape[1]) / 60)[MARGIN:-MARGIN]
    R_world = rotations.to_matrix(rotations.about_z(out.heading))
    a = (R_world @ out.imu.unflatten(-1, (4, 12))[:, :, 0, :3, None])[0, ..., 0].numpy() * 9.81
    assert (
        np.corrcoef(a[:, 1], -np.sin(t))[0, 1] > 0.8
    )  # the root sways as sin t; the sensor's lever adds to it
    assert (joint_positions(out.rotations, offsets[:, None])[:, :, 0]).abs().max() == 0


def test_mirroring_exchanges_sides(library: MotionLibrary) -> None:
    perfect = replace(PLAIN, errors=NO_ERRORS)
    plain = next(sampler(library, 1, perfect))
    mirrored = next(sampler(library, 1, replace(perfect, mirror=1.0)))
    p, m = (
        joint_positions(
            x.rotations, torch.tensor(Skeleton.from_height().offsets, dtype=torch.float32)
        )
        for x in (plain, mirrored)
    )
    elbow = p[:, :, 20] * torch.tensor([1.0, -1.0, 1.0])
    assert (m[:, :, 21] - elbow).norm(dim=-1).max() < 1e-3
    assert torch.equal(plain.contacts, mirrored.contacts.flip(-1))


def test_a_body_laid_down_moves_its_legs_as_before_and_stands_on_no_foot(
    library: MotionLibrary,
) -> None:
    perfect = replace(PLAIN, errors=NO_ERRORS)
    plain = next(sampler(library, 1, perfect))
    lying = next(sampler(library, 1, replace(perfect, lying=1.0)))
    # the chance and the angle are drawn after the motion, which therefore stays the same
    relative = [x.rotations[:, :, :1].mT @ x.rotations for x in (plain, lying)]
    assert (relative[0] - relative[1]).abs().max() < 1e-3
    spine = lying.rotations[:, :, 0, :, 2]
    assert spine[..., 2].abs().mean() < 0.6 < plain.rotations[:, :, 0, 2, 2].mean()
    assert not lying.contacts.any() and plain.contacts.any()


def test_a_network_that_starts_from_released_weights_gives_their_bodies(tmp_path: Path) -> None:
    trained = Pallas(SMALL)
    with torch.no_grad():
        trained.deviation.bias.add_(torch.full((22,), 1.5).log())
    path = save_model(trained, tmp_path / "model.safetensors", {"deviation_margin": [1.5] * 22})
    fresh = Pallas(SMALL)
    start_from(fresh, path)
    imu = torch.randn(1, 3, 48, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        ours, theirs = (network.eval()(imu) for network in (fresh, trained))
    assert torch.allclose(ours.positions, theirs.positions)
    assert torch.allclose(
        ours.log_deviation + torch.tensor(1.5).log(), theirs.log_deviation, atol=1e-5
    )
    with pytest.raises(PallasError, match=r"not the configuration's .*--init"):
        start_from(Pallas(replace(SMALL, width=16)), path)


def test_validation_sequences_contain_every_optional_sensor(library: MotionLibrary) -> None:
    """Regression: their sets were random, so that "six sensors" had shins in some rows only."""
    for batch in validation_batches(library, list(library.clips), 60, 8):
        sites = batch.extra.unflatten(-1, (7, 13))
        assert bool((sites.abs().sum(-1) > 0).all())
        shins = batch.wearing(CALIBRATED_SITES[1]).unflatten(-1, (7, 13)).abs().sum(-1) > 0
        assert bool(shins[..., :2].all()) and not shins[..., 2:].any()


class Validated(MotionLibrary):
    """A library whose clips are all for validation."""

    def select(self, split: str, *, development: bool | None = None) -> "list[LibraryClip]":
        return list(self.clips) if split == "validation_subjects" else []


@pytest.fixture(scope="module")
def validated(library: MotionLibrary) -> Validated:
    return Validated(library.clips, library.rotations, library.root, library.contacts)


def shares_inside(
    model: Pallas, batches: "list[Sequence]", sites: tuple[str, ...]
) -> tuple[float, float]:
    """Shares of the positions of upper body and legs in their 90 % ellipsoids after 1 s."""
    inside = []
    with torch.no_grad():
        for batch in batches:
            out = model(batch.imu, extra=batch.wearing(sites))
            error = (out.positions - joint_positions(batch.rotations, model.offsets)).norm(dim=-1)
            inside.append((error <= 6.251**0.5 * out.log_deviation.exp())[:, 60:])
    found = torch.cat(inside).double()
    return float(found[..., UPPER_JOINTS[1:]].mean()), float(found[..., LEG_JOINTS].mean())


def test_calibrated_ellipsoids_hold_the_share_for_each_set_of_sensors(validated: Validated) -> None:
    """Regression: errors were pooled, so that the ellipsoids of four sensors were too small."""
    torch.manual_seed(3)
    model = Pallas(SMALL)
    batches = validation_batches(validated, validated.select("validation_subjects"), count=3)
    scale_deviations(model, calibrate(model, validated))
    shares = [shares_inside(model, batches, sites) for sites in CALIBRATED_SITES]
    for part in zip(*shares, strict=True):
        assert min(part) == pytest.approx(0.9, abs=0.005)


def test_calibration_alone_replaces_the_factors_of_weights(
    validated: Validated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = Pallas(SMALL)
    said = {"deviation_margin": [1.5] * 22, "licence": "mine"}
    with torch.no_grad():
        trained.deviation.bias.add_(torch.full((22,), 1.5).log())
    path = save_model(trained, tmp_path / "before.safetensors", said)
    monkeypatch.setattr(MotionLibrary, "open", lambda *_, **__: validated)
    monkeypatch.setattr(pallas_training, "calibrate", lambda *_: torch.full((22,), 0.5))
    made = recalibrate(path, tmp_path, tmp_path / "new")
    document = json.loads(weights_metadata(made)["pallas"])
    assert document["deviation_margin"] == [0.5] * 22 and document["licence"] == "mine"
    bias = load_model(made).deviation.bias
    assert torch.allclose(bias, trained.deviation.bias + torch.tensor(1 / 3).log(), atol=1e-5)


def test_calibration_alone_overwrites_no_model_and_takes_no_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model.onnx").touch()
    with pytest.raises(PallasError, match=r"model\.onnx exists: give another folder as --out"):
        recalibrate(tmp_path / "before.safetensors", tmp_path, tmp_path)
    parser = argparse.ArgumentParser()
    pallas_training.configure(parser)
    given = ["--calibrate-only", "w.safetensors", "--config", "c.yaml", "--out", str(tmp_path)]
    with pytest.raises(PallasError, match="--config does not apply to --calibrate-only"):
        pallas_training.run(parser.parse_args(given))
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(PallasError, match="start it without torchrun"):
        recalibrate(tmp_path / "before.safetensors", tmp_path, tmp_path / "new")


def test_a_resumed_run_continues_the_random_numbers_of_the_loss(
    validated: Validated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[float] = []

    def loss(
        model: Pallas, batch: Sequence, weights: LossWeights, generator: torch.Generator
    ) -> tuple[torch.Tensor, dict[str, float]]:
        drawn.append(float(torch.rand(1, generator=generator)))
        return model.deviation.bias.square().sum(), {}

    monkeypatch.setattr(MotionLibrary, "open", lambda *_, **__: validated)
    monkeypatch.setattr(pallas_training, "_training_clips", lambda *_: list(validated.clips))
    monkeypatch.setattr(pallas_training, "checks", lambda _: {})
    monkeypatch.setattr(pallas_training, "build", lambda _: Pallas(SMALL))
    monkeypatch.setattr(pallas_training, "pallas_loss", loss)
    monkeypatch.setattr(pallas_training, "_release", lambda *_: tmp_path)

    def run(steps: int, name: str) -> list[float]:
        drawn.clear()
        text = f"data: {{packs: [], frames: 16, batch: 1}}\nloop: {{steps: {steps}}}"
        (tmp_path / "c.yaml").write_text(text)
        pallas_training.train(tmp_path / "c.yaml", tmp_path, tmp_path / name)
        return drawn[:]

    parts = run(2, "run") + run(4, "run")
    assert len(set(parts)) == 4
    assert parts == run(4, "whole")


def test_only_the_first_process_validates_and_prints(
    validated: Validated,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "c.yaml").write_text("data: {packs: []}")
    monkeypatch.setattr(MotionLibrary, "open", lambda *_, **__: validated)
    monkeypatch.setattr(pallas_training, "_training_clips", lambda *_: list(validated.clips))
    monkeypatch.setattr(pallas_training.processes, "start", lambda: 1)
    monkeypatch.setattr(pallas_training, "checks", lambda _: pytest.fail("not needed here"))
    monkeypatch.setattr(pallas_training, "build", lambda _: Pallas(SMALL))
    monkeypatch.setattr(pallas_training, "fit", lambda model, *_: model)
    pallas_training.train(tmp_path / "c.yaml", tmp_path, tmp_path)
    assert not capsys.readouterr().out


def test_weights_are_calibrated_on_the_cpu(
    validated: Validated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Regression: on a GPU, training ended in an error when its result was calibrated."""

    class Far(Pallas):
        """A network that is on another device until it is moved."""

        moved = False

        def cpu(self) -> "Far":
            self.moved = True
            return self

    def calibrated(model: Far, _: object) -> torch.Tensor:
        assert model.moved
        return torch.ones(22)

    (tmp_path / "c.yaml").write_text("data: {packs: []}")
    monkeypatch.setattr(MotionLibrary, "open", lambda *_, **__: validated)
    monkeypatch.setattr(pallas_training, "_training_clips", lambda *_: list(validated.clips))
    monkeypatch.setattr(pallas_training, "checks", lambda _: {})
    monkeypatch.setattr(pallas_training, "build", lambda _: Far(SMALL))
    monkeypatch.setattr(pallas_training, "fit", lambda model, *_: model)
    monkeypatch.setattr(pallas_training, "calibrate", calibrated)
    assert pallas_training.train(tmp_path / "c.yaml", tmp_path, tmp_path).is_file()


def test_sequences_on_another_device_can_be_masked() -> None:
    """Regression: validation failed on a GPU."""
    far = torch.zeros(1, 2, 91, device="meta")
    assert Sequence(far, far, far, far, far, far).wearing(CALIBRATED_SITES[1]).shape == (1, 2, 91)


def test_training_lowers_the_loss_and_resumes(library: MotionLibrary, tmp_path: Path) -> None:
    noise = torch.Generator().manual_seed(0)

    def loss(model: Pallas, batch: object) -> "tuple[torch.Tensor, dict[str, float]]":
        return pallas_loss(model, batch, LossWeights(), noise)  # type: ignore[arg-type]

    torch.manual_seed(0)
    model = Pallas(SMALL)
    batches = sampler(library, 0, PLAIN)
    first = float(loss(model, next(batches))[0])
    fit(
        model,
        batches,
        loss,
        LoopSettings(steps=40, warm_up=5, validate_every=20),
        tmp_path,
        generator=batches.generator,
    )
    assert float(loss(model, next(batches))[0]) < 0.6 * first
    again = Pallas(SMALL)
    fit(again, sampler(library, 0, PLAIN), loss, LoopSettings(steps=40, warm_up=5), tmp_path)
    assert all(
        torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True)
    ), "resumed where it ended"
    (tmp_path / "checkpoint.safetensors").write_bytes(b"torn")
    with pytest.raises(PallasError, match=r"checkpoint\.safetensors"):
        fit(Pallas(SMALL), batches, loss, LoopSettings(steps=41), tmp_path)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("model: {wdth: 3}", "model: unknown key 'wdth'"),
        ("data: {content: [walk]}", "data: unknown key 'content'"),
        ("nonsense: 1", "unknown section 'nonsense'"),
        ("a: [", "not YAML"),
        ("model: {width: wide}", "width"),
        ("model: {width: [32]}", "width"),
        ("model: {width: 2.5}", "width"),
        ("model: {width: null}", "width"),
        ("model: {width: {a: 1}}", "width"),
        ("model: 3", "model"),
        ("model: [1]", "model"),
        ("loop: {steps: many}", "steps"),
        ("- model", "mapping"),
        ("loop: {steps: 0}", "loop: steps is 0"),
        ("loop: {steps: -3}", "loop: steps is -3, must be from 1 to 1e"),
        ("loop: {validate_every: 0}", "validate_every is 0, must be from 1"),
        ("loop: {warm_up: 0}", "warm_up is 0, must be from 1"),
        ("loop: {minutes: -1}", "minutes is -1, must be from 0"),
        ("loop: {learning_rate: 0}", "learning_rate is 0, must be from"),
        ("loop: {average: 1.0}", "average is 1, must be from 0"),
        ("loop: {clip: -1.0}", "clip is -1, must be from"),
        ("loop: {seed: -1}", "seed is -1, must be from 0"),
        ("data: {frames: 1}", "data: frames is 1, must be from 16"),
        ("data: {batch: 0}", "data: batch is 0, must be from 1"),
        ("model: {hidden: 0}", "hidden is 0"),
        ("model: {solver_blocks: 0}", "solver_blocks is 0"),
        ("augmentation: {mirror: 7}", "augmentation: mirror is 7, must be from 0 to 1"),
        ("augmentation: {speed: [1.4, 0.7]}", r"speed is \[1.4, 0.7\], must be in ascending"),
        ("augmentation: {error_scale: [-1.0, 1.0]}", "error_scale is -1, must be from 0"),
        ("augmentation: {foreign_arm: 0.9, keyed_arm: 0.9}", "add up to 1.92"),
        ("augmentation: {errors: {delay: [4, 0]}}", r"errors: delay is \[4, 0\], must be in"),
        ("augmentation: {errors: {delay: [0, 20]}}", "errors: delay is 20, must be from 0 to 4"),
        ("augmentation: {errors: {noise_deg: -1.0}}", "errors: noise_deg is -1, must be from 0"),
        ("augmentation: {errors: {calibration_deg: [3.0]}}", "calibration_deg has 1 number"),
        ("loss: {upper: -1.0}", "loss: upper is -1, must be from 0"),
        ("loss: {samples: 0}", "loss: samples is 0, must be from 1"),
    ],
)
def test_bad_configurations_are_named(tmp_path: Path, text: str, what: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(PallasError, match=what) as error:
        read_config(path)
    assert "c.yaml" in str(error.value)


def test_training_on_some_contents(library: MotionLibrary) -> None:
    clips = library.select("train")
    some = clips[0].content
    assert {clip.content for clip in clips_of("content", (some,), clips)} == {some}
    assert clips_of("content", (), clips) == clips
    with pytest.raises(PallasError, match="no training clip of the content 'swim'"):
        clips_of("content", (some, "swim"), clips)


def test_released_configurations_are_valid() -> None:
    folder = Path(__file__).resolve().parents[2] / "config" / "training"
    for path in [folder / "pallas.yaml", *(folder / "ablations").glob("*.yaml")]:
        read_config(path)


def test_a_share_of_the_data_is_made_of_whole_subjects_and_grows(library: MotionLibrary) -> None:
    clips = [
        replace(library.clips[0], subject=str(number % 7), stop=60 * (1 + number % 3))
        for number in range(40)
    ]
    everything = sum(clip.seconds for clip in clips)
    before: set[str] = set()
    for share in (0.1, 0.4, 0.8, 1.0):
        part = part_of(clips, share)
        subjects = {clip.subject for clip in part}
        assert sum(clip.seconds for clip in part) >= share * everything
        assert len(part) == sum(clip.subject in subjects for clip in clips)
        assert before <= subjects
        before = subjects
