"""The generated messages: DDS serialisation preserves them, and an independent reader agrees on
every byte.
"""

import importlib
import json
import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (make setup)")
pytest.importorskip("pallas.msg", reason="needs the generated messages (make setup)")

from rclpy.serialization import deserialize_message, serialize_message
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

ROOT = Path(__file__).resolve().parents[2]
MESSAGES = sorted(path.stem for path in (ROOT / "msg").glob("*.msg"))


def fill(kind: str, chance: random.Random) -> Any:
    """Return a random value of an interface type, drawn from ``chance``."""
    if kind.startswith("sequence<"):
        return [
            fill(kind[len("sequence<") : -1].split(",")[0], chance)
            for _ in range(chance.randrange(1, 5))
        ]
    if kind.endswith("]"):
        inner, count = kind[:-1].split("[")
        return [fill(inner, chance) for _ in range(int(count))]
    if kind == "string":
        return chance.choice(["", "left_wrist", "Ω ≤ 4 rad/s"])
    if kind == "boolean":
        return chance.random() < 0.5
    if kind in ("float", "double"):
        return float(np.float32(chance.uniform(-9, 9)))
    if "int" in kind and "/" not in kind:
        return chance.randrange(0, 100)
    package, name = kind.split("/")
    message = getattr(importlib.import_module(f"{package}.msg"), name)()
    for field, inner in message.get_fields_and_field_types().items():
        setattr(message, field, fill(inner, chance))
    return message


@pytest.fixture(scope="module")
def typestore() -> Any:
    """The rosbags library's parse of msg/*.msg."""
    store = get_typestore(Stores.ROS2_JAZZY)
    for name in MESSAGES:
        store.register(
            get_types_from_msg((ROOT / "msg" / f"{name}.msg").read_text(), f"pallas/msg/{name}")
        )
    return store


@pytest.mark.parametrize("name", MESSAGES)
@pytest.mark.parametrize("seed", range(3))
def test_message_goes_round(name: str, seed: int, typestore: Any):
    message = fill(f"pallas/{name}", random.Random(seed))
    data = serialize_message(message)
    assert deserialize_message(data, type(message)) == message
    read = typestore.deserialize_cdr(data, f"pallas/msg/{name}")
    again = bytes(typestore.serialize_cdr(read, f"pallas/msg/{name}"))
    assert deserialize_message(again, type(message)) == message


@pytest.mark.parametrize("name", MESSAGES)
def test_message_is_built_from_the_definition_in_the_checkout(name: str, typestore: Any):
    assert built_hash("pallas", name) == typestore.hash_rihs01(f"pallas/msg/{name}"), (
        "run `make setup`"
    )


def test_tf2_msgs_is_that_of_the_underlay(typestore: Any):
    """Nodes with different types do not communicate: TFMessage must be the one of the underlay."""
    assert built_hash("tf2_msgs", "TFMessage") == typestore.hash_rihs01("tf2_msgs/msg/TFMessage")


def built_hash(package: str, name: str) -> str:
    """Return the type hash (REP-2011) of a built message, from the description installed with
    it.
    """
    for prefix in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep):
        description = Path(prefix) / "share" / package / "msg" / f"{name}.json"
        if description.exists():
            hashes = json.loads(description.read_text())["type_hashes"]
            return next(
                item["hash_string"]
                for item in hashes
                if item["type_name"] == f"{package}/msg/{name}"
            )
    pytest.skip("this ROS 2 has no type hashes")


def test_service_goes_round():
    from pallas.srv import Calibrate

    chance = random.Random(1)
    for part in (Calibrate.Request, Calibrate.Response):
        message = part()
        for field, kind in message.get_fields_and_field_types().items():
            setattr(message, field, fill(kind, chance))
        assert deserialize_message(serialize_message(message), part) == message
