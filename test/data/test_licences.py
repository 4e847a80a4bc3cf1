"""The licence stored in weights."""

from pallas_ros.data.licences import (
    NON_COMMERCIAL,
    PERMISSIVE,
    UNKNOWN,
    licence_in,
    licence_of,
    stricter,
)


def test_the_strictest_pack_decides() -> None:
    assert licence_of(["cmu_full", "cmu_actions"]) == PERMISSIVE
    assert licence_of(["cmu_full", "bandai_namco"]) == NON_COMMERCIAL
    assert licence_of(["cmu_full", "folder"]) == UNKNOWN
    assert licence_of([]) == UNKNOWN


def test_weights_carry_the_licence_of_what_they_were_trained_on() -> None:
    assert licence_in({"licence": "of my own data"}) == "of my own data"
    assert licence_in({"training": {"packs": ["cmu_full"]}}) == PERMISSIVE
    assert licence_in({"training": {"frames": 144}}) == NON_COMMERCIAL


def test_weights_trained_further_keep_the_stricter_licence() -> None:
    assert stricter(PERMISSIVE, PERMISSIVE) == PERMISSIVE
    assert stricter(PERMISSIVE, NON_COMMERCIAL) == NON_COMMERCIAL
    assert stricter(NON_COMMERCIAL, UNKNOWN) == NON_COMMERCIAL
    assert stricter(PERMISSIVE, UNKNOWN) == UNKNOWN
