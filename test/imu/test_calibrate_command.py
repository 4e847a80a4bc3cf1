"""`pallas calibrate` as a user runs it."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pallas_ros.body.names import SITES
from pallas_ros.cli import main
from pallas_ros.imu.calibration import Calibration
from pallas_ros.imu.motions import calibration_motion
from pallas_ros.imu.protocols import PROTOCOLS
from pallas_ros.imu.simulator import SensorSimulator
from pallas_ros.imu.virtual import SensorNoise, VirtualSensors


def test_simulated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "me.yaml"
    assert main(["calibrate", str(file), "--simulate", "--seed", "3"]) == 0
    said = capsys.readouterr().out
    assert "[2/6] raise both arms sideways to the T-pose" in said
    assert said.splitlines()[-1] == f"{file}: calibrated (functional)"
    assert Calibration.load(file).procedure == "functional"
    assert main(["calibrate", str(file), "--simulate", "--procedure", "npose_tpose", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert set(result["sites"]) == set(SITES)


def test_from_a_recording(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tracks = VirtualSensors(SensorNoise.none().with_(heading_offset=2.0), 1).tracks(
        calibration_motion(), 60.0
    )
    count = min(len(track.time) for track in tracks.values())
    np.savez(
        tmp_path / "session.npz",
        sites=np.array(SITES),
        stamp=np.arange(count) / 60.0,
        orientation=np.stack([track.orientation[:count] for track in tracks.values()], axis=1),
        linear_acceleration=np.stack(
            [track.acceleration[:count] for track in tracks.values()], axis=1
        ),
        calibrated=False,
    )
    assert (
        main(["calibrate", str(tmp_path / "me.yaml"), "--from", str(tmp_path / "session.npz")]) == 0
    )
    found = Calibration.load(tmp_path / "me.yaml")
    for site, track in tracks.items():
        assert np.cos(found.sites[site].heading_offset - track.heading_offset) == pytest.approx(
            1.0, abs=2e-3
        )


@pytest.fixture
def simulator(tmp_path: Path) -> Iterator[SensorSimulator]:
    links = {site: tmp_path / "ports" / site for site in SITES}
    running = SensorSimulator(
        calibration_motion(False), PROTOCOLS["csv"], SensorNoise(), links=links
    ).start()
    yield running
    running.stop()


def test_from_ports(
    simulator: SensorSimulator, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "me.yaml"
    ports = list(simulator.ports.values())
    asked = ["calibrate", str(file), "--ports", *ports, "--protocol", "csv"]
    assert main([*asked, "--procedure", "npose_tpose", "--still", "1.0", "--timeout", "30"]) == 0
    assert Calibration.load(file).sites["neck"].sensor == ports[1]
    assert main([*asked, "--check"]) == 0
    assert "belongs to these sensors" in capsys.readouterr().out
    assert main([*asked, "--check", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["sensors"]["neck"] == ports[1]


def test_a_sensor_that_sends_nothing_is_named_while_the_others_send(
    simulator: SensorSimulator, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    master, silent = os.openpty()
    try:
        ports = [*list(simulator.ports.values())[:3], os.ttyname(silent)]
        asked = ["calibrate", str(tmp_path / "me.yaml"), "--ports", *ports, "--protocol", "csv"]
        assert main([*asked, "--procedure", "tpose", "--timeout", "1.5"]) == 2
        assert f"right_wrist: {ports[3]}: open, but no csv data" in capsys.readouterr().out
        Calibration.identity().save(tmp_path / "me.yaml")
        assert main([*asked, "--check", "--timeout", "0.5"]) == 2
        assert "not checked, no data from right_wrist: " in capsys.readouterr().err
    finally:
        os.close(master)
        os.close(silent)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["me.yaml"], "no sensors given"),
        (["me.npz", "--simulate"], "a calibration file ends in .yaml"),
        (["me.yaml", "--simulate", "--procedure", "known_pose"], "needs --pose"),
        (["me.yaml", "--simulate", "--procedure", "rest"], "make one with `pallas calibrate`"),
        (["me.yaml", "--from", "none.npz"], "no such file"),
        (
            ["me.yaml", "--ports", "/nowhere/1", "/nowhere/2", "/nowhere/3", "/nowhere/4"],
            "is not plugged in",
        ),
        (["me.yaml", "--ports", "/nowhere/1"], "1 ports are given"),
        (["me.yaml", "--simulate", "--still", "nan"], "--still nan"),
        (["me.yaml", "--simulate", "--still=-1"], "--still -1"),
        (["me.yaml", "--simulate", "--still", "0"], "--still 0"),
        (["me.yaml", "--simulate", "--timeout", "0"], "--timeout 0"),
        (["me.yaml", "--simulate", "--seed=-1"], "--seed -1"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(
    arguments: list[str],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["calibrate", *arguments]) == 2
    captured = capsys.readouterr()
    assert words in captured.err
    assert len(captured.err.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())
