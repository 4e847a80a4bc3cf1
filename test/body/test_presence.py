"""Ids of bodies that come from a later publisher."""

from itertools import product

import pytest

from pallas_ros.body.presence import id_of_publisher, plain_id, same_publisher


@pytest.mark.parametrize(
    "own",
    [
        "operator",
        "cam_publisher_left",
        "cam_publisher",
        "publisher2",
        "a_publisher2b",
        "a\nb",
        "7",
        "",
    ],
)
def test_only_the_numbers_at_the_end_are_those_of_publishers(own: str) -> None:
    assert id_of_publisher(own, 1) == plain_id(own) == own
    second = id_of_publisher(own, 2)
    assert plain_id(second) == own
    assert plain_id(id_of_publisher(second, 13)) == own
    assert same_publisher(own, "ben") and same_publisher(second, "ben_publisher2")
    assert not same_publisher(own, second)
    assert not same_publisher(second, id_of_publisher(second, 2))


@pytest.mark.parametrize("nodes", [1, 2, 3])
def test_ids_differ_after_any_replacements_along_the_way(nodes: int) -> None:
    """The operator's id must not return after a replacement, nor one that looks renamed."""
    found: dict[str, tuple[str, tuple[int, ...]]] = {}
    for own in ("operator", "operator_publisher2", "operator_publisher2.1"):
        for numbers in product((1, 2, 3), repeat=nodes):
            name = own
            for number in numbers:
                name = id_of_publisher(name, number)
            assert found.setdefault(name, (own, numbers)) == (own, numbers)


def test_a_long_id_is_split_quickly() -> None:
    hostile = "_publisher2" * 100_000 + "x"
    assert plain_id(hostile) == hostile
    assert plain_id(hostile[:-1]) == hostile[: -len("_publisher2x")]
    assert plain_id("_publisher" + 100_000 * ".") == "_publisher" + 100_000 * "."
