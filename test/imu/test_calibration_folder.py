"""The folder of the service ``~/calibrate``: files outside it are never read or written, and files
in it are not overwritten by default.
"""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pallas_ros.body.errors import PallasError
from pallas_ros.imu.calibration import Calibration
from pallas_ros.imu.calibration_folder import CalibrationFolder

FOUND = Calibration({}, "tpose")


def test_it_saves_and_reads_by_name_and_by_path(tmp_path: Path) -> None:
    folder = CalibrationFolder(tmp_path / "made" / "later")
    path = folder.save(FOUND, "me.yaml")
    assert path == tmp_path / "made" / "later" / "me.yaml"
    assert "tpose" in path.read_text()
    assert folder.find(str(path)) == path


def test_nothing_is_replaced_unasked(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("precious")
    folder = CalibrationFolder(tmp_path)
    for refused in (folder.check_free, lambda name: folder.save(FOUND, name)):
        with pytest.raises(PallasError, match="already exists"):
            refused("mine.yaml")
    with pytest.raises(FileExistsError):  # the file came while the wearer stood still
        FOUND.save(tmp_path / "mine.yaml", overwrite=False)
    assert (tmp_path / "mine.yaml").read_text() == "precious"
    assert [entry.name for entry in tmp_path.iterdir()] == ["mine.yaml"]
    CalibrationFolder(tmp_path, overwrite=True).save(FOUND, "mine.yaml")
    assert "tpose" in (tmp_path / "mine.yaml").read_text()


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../me.yaml",
        "a/me.yaml",
        "/etc/me.yaml",
        "~/me.yaml",
        "me.txt",
        ".bashrc",
        ".yaml",
        ".me.yaml",
        "me.yaml/../../me.yaml",
        "m\0e.yaml",
        "x" * 200 + ".yaml",
        "x" * 5000 + ".yaml",
        "x" * 300 + "/me.yaml",
        "link.yaml",
        "out/me.yaml",
    ],
)
def test_other_places_are_refused_in_a_sentence(tmp_path: Path, name: str) -> None:
    target = tmp_path / "target.yaml"
    target.write_text("precious")
    folder = CalibrationFolder(tmp_path / "folder", overwrite=True)
    folder.path.mkdir()
    (folder.path / "link.yaml").symlink_to(target)
    (folder.path / "out").symlink_to(tmp_path)
    for action in (lambda: folder.save(FOUND, name), lambda: folder.load(name)):
        with pytest.raises(PallasError) as refused:
            action()
        assert len(str(refused.value)) < 400
    assert target.read_text() == "precious"
    assert not (tmp_path / "me.yaml").exists()


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.text(alphabet=st.sampled_from("./~a\\\0 -:y\u2044e\n"), max_size=12))
def test_no_name_leads_out(tmp_path: Path, name: str) -> None:
    folder = CalibrationFolder(tmp_path / "folder")
    for suffix in ("", ".yaml", "/.yaml"):
        try:
            path = folder.find(name + suffix)
        except PallasError:
            continue
        assert path.resolve().parent == (tmp_path / "folder").resolve()
