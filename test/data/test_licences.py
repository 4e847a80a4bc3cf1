"""The licence that weights carry."""

from pallas_ros.data.licences import NON_COMMERCIAL, PERMISSIVE, UNKNOWN, licence_of


def test_the_strictest_pack_decides() -> None:
    assert licence_of(["cmu_full", "cmu_actions"]) == PERMISSIVE
    assert licence_of(["cmu_full", "bandai_namco"]) == NON_COMMERCIAL
    assert licence_of(["cmu_full", "folder"]) == UNKNOWN
    assert licence_of([]) == UNKNOWN
