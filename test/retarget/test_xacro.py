"""xacro files are untrusted: they are expanded, but cannot run code, wait, or fill the memory."""

import os
from pathlib import Path

import pytest

pytest.importorskip("xacro", reason="needs the extra [robot]")

from hpstm_ros.retarget import expansion
from pallas_ros.body.errors import PallasError

ROBOT = '<robot xmlns:xacro="http://www.ros.org/wiki/xacro" name="x">%s</robot>'


def expanded(folder: Path, body: str) -> str:
    """Return what a xacro file with these elements expands to."""
    path = folder / "arm.urdf.xacro"
    path.write_text(ROBOT % body)
    return expansion.expanded(path)


def value(folder: Path, expression: str) -> str:
    """Return the value of an expression within a xacro file."""
    return expanded(folder, f'<link name="${{{expression}}}"/>').split('name="')[-1].split('"')[0]


@pytest.mark.parametrize(
    ("expression", "result"),
    [
        ("2 * pi", "6.283185307179586"),
        ("-radians(180) + math.pi", "0.0"),
        ("1 if 2 &lt; 3 &lt;= 3 and not False else 0", "1"),
        ("[1, 2, 3][1:]", "[2, 3]"),
        ("dict(a=1)['a'] + (2, 3)[0]", "3"),
        ("'Left'.lower() + '_' + str(max(1, 2))", "left_2"),
        ("len(python.range(3))", "3"),
        ("'a' in ['a'] or missing", "True"),
        ("2 ** 10 // 3 % 7", "5"),
        ("xacro.tokenize('a,b')[-1]", "b"),
    ],
)
def test_ordinary_expressions_are_evaluated(tmp_path: Path, expression: str, result: str) -> None:
    assert value(tmp_path, expression) == result


def test_settings_in_yaml_files_have_units(tmp_path: Path) -> None:
    """As in the limits of Universal Robots."""
    (tmp_path / "limits.yaml").write_text("pan:\n  upper: !degrees 180\n  name: first\n")
    body = """<xacro:property name="limits" value="${xacro.load_yaml('limits.yaml')}"/>
        <link name="${limits['pan']['upper']} ${limits.pan.name}"/>"""
    assert 'name="3.141592653589793 first"' in expanded(tmp_path, body)


CODE = (
    "(lambda: ().__class__.__base__.__subclasses__())()",
    "[c for c in ().__class__.__base__.__subclasses__()]",
    "().__class__",
    "str.mro()",
    "math.pi.real",
    "'{0.__class__}'.format(1)",
    "f'{().__class__}'",
    "python.vars()",
    "python.type(1)",
    "list(python.map(python.vars, [math]))",
    "xacro.load_yaml.__globals__",
    "__builtins__",
    "__import__('os').system('touch ran')",
    "(x := 1)",
    "1(2)",
)


@pytest.mark.parametrize("expression", CODE)
def test_an_expression_cannot_reach_python(tmp_path: Path, expression: str) -> None:
    with pytest.raises(PallasError, match=r"xacro cannot expand it"):
        value(tmp_path, expression)


def test_an_expression_cannot_be_assembled_from_properties(tmp_path: Path) -> None:
    body = """<xacro:property name="a" value="().__cla"/><xacro:property name="b" value="ss__"/>
        <link name="${$(arg x)}"/>"""
    text = '<xacro:arg name="x" default="(lambda: 1)()"/>' + body
    with pytest.raises(PallasError, match=r"a lambda"):
        expanded(tmp_path, text)


def test_a_substitution_cannot_evaluate_python(tmp_path: Path) -> None:
    with pytest.raises(PallasError, match=r"\$\(eval"):
        expanded(tmp_path, '<link name="$(eval 1 + 1)"/>')


def test_the_environment_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SECRET_KEY", raising=False)
    optional = '<link name="$(optenv SECRET_KEY none)"/>'
    assert 'name="none"' in expanded(tmp_path, optional)
    monkeypatch.setenv("SECRET_KEY", "abc")
    with pytest.raises(PallasError, match="SECRET_KEY, which is not supported"):
        expanded(tmp_path, optional)
    with pytest.raises(PallasError, match="SECRET_KEY"):
        expanded(tmp_path, '<link name="$(env SECRET_KEY)"/>')


ENDLESS = {
    "power": '<link name="${9 ** 9 ** 9}"/>',
    "factorial": '<link name="${math.factorial(10 ** 8)}"/>',
    "text": "<link name=\"${'a' * 10 ** 10}\"/>",
    "recursion": '<xacro:macro name="m"><xacro:m/></xacro:macro><xacro:m/>',
    "doubling": "".join(
        f'<xacro:macro name="m{n}"><xacro:m{n + 1}/><xacro:m{n + 1}/></xacro:macro>'
        for n in range(40)
    )
    + '<xacro:macro name="m40"><link name="a"/></xacro:macro><xacro:m0/>',
    "include": '<xacro:include filename="arm.urdf.xacro"/>',
    "device": '<xacro:include filename="/dev/zero"/>',
    "pipe": '<xacro:include filename="pipe"/>',
    "yaml pipe": "<link name=\"${xacro.load_yaml('pipe')}\"/>",
    "yaml device": "<link name=\"${xacro.load_yaml('/dev/zero')}\"/>",
}


@pytest.mark.parametrize("name", ENDLESS)
def test_an_endless_file_is_refused(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expansion, "CPU_S", 2)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(PallasError, match=r"xacro cannot expand it"):
        expanded(tmp_path, ENDLESS[name])


def test_a_value_that_is_too_large_is_named(tmp_path: Path) -> None:
    with pytest.raises(PallasError, match=r"it needs more than 512 MB of memory"):
        expanded(tmp_path, ENDLESS["text"])


def test_a_long_reason_is_cut_in_the_process(tmp_path: Path) -> None:
    path = tmp_path / "arm.urdf.xacro"
    path.write_text(ROBOT % "<link name=\"${xacro.fatal('a' * 10 ** 6)}\"/>")
    reason = expansion._answer(path)["reason"]
    assert "aaa" in reason and len(reason) <= 1000


def test_entities_are_refused_in_included_files_too(tmp_path: Path) -> None:
    (tmp_path / "part.xacro").write_text(
        '<!DOCTYPE r [<!ENTITY a "b">]><robot><link name="&a;"/></robot>'
    )
    with pytest.raises(PallasError, match=r"entities"):
        expanded(tmp_path, '<xacro:include filename="part.xacro"/>')


def test_an_optional_include_may_be_missing(tmp_path: Path) -> None:
    body = '<xacro:include filename="none.xacro" optional="true"/><link name="a"/>'
    assert '<link name="a"/>' in expanded(tmp_path, body)
    with pytest.raises(PallasError, match=r"none\.xacro: no such file"):
        expanded(tmp_path, '<xacro:include filename="none.xacro"/>')


def test_a_module_in_the_working_folder_is_not_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("xacro", "yaml", "json", "hpstm_ros"):
        (tmp_path / f"{name}.py").write_text("import pathlib\npathlib.Path('ran').touch()\n")
    monkeypatch.chdir(tmp_path)
    assert "<link" in expanded(tmp_path, '<link name="a"/>')
    assert not (tmp_path / "ran").exists()


def test_a_pipe_as_manifest_is_ignored(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "package.xml")
    assert "<link" in expanded(tmp_path, '<link name="a"/>')
