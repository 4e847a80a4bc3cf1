"""The format xacro for `fuzz_formats.py`: a file with every element, and hostile expressions."""

import random
from pathlib import Path

import fuzz_mutations as change

XACRO = b"""<robot xmlns:xacro="http://www.ros.org/wiki/xacro" name="arm">
<xacro:arg name="prefix" default="a_"/><xacro:property name="length" value="${2 * 0.1}"/>
<xacro:property name="sizes" value="${[0.1, 0.2, radians(30)]}"/>
<xacro:macro name="part" params="name parent:=base size:=${length} *shape">
<link name="$(arg prefix)${name}"><visual><xacro:insert_block name="shape"/></visual></link>
<joint name="${name}_joint" type="revolute"><parent link="$(arg prefix)${parent}"/>
<child link="$(arg prefix)${name}"/><origin xyz="0 0 ${size}"/><axis xyz="0 ${1 if size &gt; 0 else 0} 1"/>
<limit lower="${-pi / 2}" upper="${math.pi / 2}" velocity="2" effort="20"/></joint></xacro:macro>
<link name="$(arg prefix)base"/>
<xacro:part name="one"><geometry><box size="${sizes[0]} 0.1 0.1"/></geometry></xacro:part>
<xacro:part name="two" parent="one" size="${max(sizes) ** 2}"><geometry><sphere radius="0.1"/></geometry></xacro:part>
<xacro:if value="${len(sizes) == 3 and not False}"><xacro:part name="three" parent="two">
<geometry><box size="${python.sum(sizes)} 0.1 0.1"/></geometry></xacro:part></xacro:if>
<xacro:unless value="${'a' in '$(arg prefix)'}"><xacro:include filename="none.xacro"/></xacro:unless>
</robot>"""  # noqa: E501
EXPRESSIONS = (
    b"().__class__",
    b"(lambda: 1)()",
    b"[x for x in sizes]",
    b"9 ** 9 ** 9",
    b"'a' * 10 ** 10",
    b"python.range(10 ** 9)",
    b"python.sum(python.range(10 ** 7))",
    b"math.factorial(10 ** 5)",
    b"xacro.load_yaml('/dev/zero')",
    b"xacro.load_yaml('/etc/passwd')",
    b"xacro.fatal('x' * 1000)",
    b"'%1000000000d' % 1",
    b"length.real",
    b"sizes[10]",
    b"name",
    b"-" * 5000 + b"1",
    b"(" * 300 + b"1" + b")" * 300,
    b"1 / 0",
    b"str.format('{0}', 1)",
)
PARTS = (
    b"<xacro:part name='p'/>",
    b"<xacro:macro name='part'><xacro:part/></xacro:macro>",
    b"<xacro:include filename='/dev/zero'/>",
    b"<xacro:include filename='*'/>",
    b"<xacro:element xacro:name='${length}'/>",
    b"<xacro:attribute name='a' value='b'/>",
    b"<xacro:call macro='part'/>",
    b"<xacro:property name='length' value='${length}'/>",
    b"<a>$(env HOME) $(eval 1) $(find arm) $(cwd)</a>",
)


def changed(data: bytes, draw: random.Random) -> bytes:
    """Change an expression, insert an element, or change the document or its bytes."""
    kind = draw.random()
    if kind < 0.4:
        pieces = data.split(b"${")
        place = draw.randrange(1, len(pieces))
        rest = pieces[place].partition(b"}")[2]
        pieces[place] = draw.choice(EXPRESSIONS).replace(b"<", b"&lt;") + b"}" + rest
        return b"${".join(pieces)
    if kind < 0.6:
        pieces = data.split(b">\n")
        place = draw.randrange(1, len(pieces))
        return b">\n".join([*pieces[:place], draw.choice(PARTS)[:-1], *pieces[place:]])
    if kind < 0.8:
        return change.xml_of(data, draw)
    return change.text_of(data, draw)


def read(path: Path, _: bool) -> None:
    """Expand it and read its tree."""
    from hpstm_ros.retarget import urdf

    urdf.read(path)
