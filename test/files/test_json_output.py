"""Files given with ``--json``."""

import json
from pathlib import Path

import pytest

from pallas_ros import cli
from pallas_ros.body.errors import PallasError
from pallas_ros.files.json_output import check_json, write_json


def test_a_document_is_whole_or_absent(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    check_json(out)
    check_json(None)
    assert not list(tmp_path.iterdir())
    write_json({"rows": [1]}, out)
    with pytest.raises(TypeError):
        write_json({"rows": {1, 2}}, out)
    assert json.loads(out.read_text()) == {"rows": [1]}
    assert [path.name for path in tmp_path.iterdir()] == ["out.json"]
    for path in (tmp_path / "none" / "out.json", tmp_path):
        with pytest.raises(PallasError, match="with --json"):
            check_json(path)


@pytest.mark.parametrize(
    "words",
    [
        ("pallas",),
        ("hpstm",),
        ("hpstm_gen",),
        ("tokens",),
        ("latent",),
        ("unlearning",),
        ("alignment",),
        ("text_pose",),
        ("dynamics", "--measured", "nothing"),
    ],
)
def test_an_evaluation_refuses_a_path_before_it_starts(
    words: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Regression: a path that cannot be written was found after hours of work, which was lost."""
    path = str(tmp_path / "none" / "out.json")
    data = [] if words[0] == "dynamics" else ["--data", str(tmp_path)]
    assert cli.main(["eval", *words, *data, "--json", path]) == 2
    assert "cannot be written" in capsys.readouterr().err
