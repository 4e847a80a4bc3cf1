"""Topic metadata of a bag: message definitions and offered QoS."""

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import yaml
from rosbags.typesys import Stores, TypesysError, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from pallas_ros.body.errors import PallasError

_SOURCE_MESSAGES = Path(__file__).resolve().parents[2] / "msg"
_FOREVER = {"sec": 9223372036, "nsec": 854775807}
DEFINITION_LIMIT = 1 << 17
"""Maximum characters of a definition, parsed at 60 kB/s; MoveIt's longest has half as many."""
_PROFILE_LIMIT = 4096  # maximum characters of the first profile of a topic, which has 400
_POLICY = re.compile(r"""\b(reliability|durability|depth)["']?\s*:\s*["']?(\w{1,20})""")


@dataclass(frozen=True)
class Qos:
    """Offered QoS of a topic, as far as needed for replay."""

    reliable: bool = True
    latched: bool = False
    depth: int = 10

    def dump(self) -> str:
        """Return ``offered_qos_profiles`` of rosbag2 metadata version 8 and earlier.

        This YAML text can be read by every ROS 2 since Humble.
        """
        profile = {
            "history": 1,
            "depth": self.depth,
            "reliability": 1 if self.reliable else 2,
            "durability": 1 if self.latched else 2,
            "deadline": _FOREVER,
            "lifespan": _FOREVER,
            "liveliness": 1,
            "liveliness_lease_duration": _FOREVER,
            "avoid_ros_namespace_conventions": False,
        }
        return str(yaml.dump([profile], Dumper=_NoAliases, sort_keys=False)).strip()

    @classmethod
    def parse(cls, text: str) -> "Qos":
        """Parse the first profile of ``text``; the default if it is not readable.

        Parsed by regular expression instead of as YAML, since its length is not limited.
        """
        found: dict[str, str] = {}
        for name, value in _POLICY.findall(text[:_PROFILE_LIMIT]):
            found.setdefault(name, value)
        depth = found.get("depth", "10")
        return cls(
            reliable=found.get("reliability", "1") in ("0", "1", "reliable", "system_default"),
            latched=found.get("durability", "2") in ("1", "transient_local"),
            depth=min(max(int(depth), 1), 1000) if depth.isascii() and depth.isdigit() else 10,
        )


class BagMessage(NamedTuple):
    """One recorded message, serialised."""

    topic: str
    msgtype: str
    stamp: int
    """ns, reception timestamp."""
    data: bytes


@dataclass
class BagTopic:
    """A topic of a bag: type, offered QoS, message count from the index, type definition."""

    name: str
    msgtype: str
    qos: Qos
    count: int
    definition: str = ""
    encoding: str = ""
    type_hash: str = ""


class StorageFile(Protocol):
    """One storage file, open for reading.

    Attributes:
        name: of the file, without its folder.
        topics: of ROS 2 messages.
        encodings: of the other topics, by name: ``json``, ``protobuf``, ...
        first, last: ns, timestamps of the first and last message.
    """

    name: str
    topics: list[BagTopic]
    encodings: dict[str, str]
    first: int
    last: int

    @property
    def damage(self) -> str:
        """Describe known damage to the file; complete after `check`."""
        ...

    def messages(self, topics: set[str], start: int, stop: int) -> Iterator[BagMessage]:
        """Yield messages of ``topics`` with start <= stamp < stop, in order of timestamp."""
        ...

    def check(self, progress: Callable[[int], None]) -> None:
        """Read every byte; ``progress`` is called with the message count."""
        ...


class _NoAliases(yaml.SafeDumper):
    """Dump YAML without anchors, like rosbag2."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


@lru_cache(maxsize=1)
def _known_types() -> Typestore:
    return get_typestore(Stores.ROS2_KILTED)


def message_definition(msgtype: str) -> tuple[str, str]:
    """Return the definition of ``pkg/msg/Type`` with its dependencies, and its REP-2016 hash.

    Standard types are built in; others are looked up in the ROS installation, and those of pallas
    also in its sources.

    Raises:
        PallasError: the definition of the type, or of a dependency, is not available.
    """
    return _definition(msgtype, os.environ.get("AMENT_PREFIX_PATH", ""))


@lru_cache(maxsize=256)
def _definition(msgtype: str, prefixes: str) -> tuple[str, str]:
    store = _known_types()
    _register(msgtype, prefixes, set())
    try:
        return store.generate_msgdef(msgtype, ros_version=2)[0], store.hash_rihs01(msgtype)
    except (TypesysError, KeyError) as error:
        raise PallasError(f"no complete definition of message type {msgtype}: {error}") from None


def _register(msgtype: str, prefixes: str, underway: set[str]) -> None:
    store = _known_types()
    if msgtype in store.fielddefs or msgtype in underway:
        return
    underway.add(msgtype)
    text = _find_message_file(msgtype, prefixes).read_text(encoding="utf-8")
    try:
        types = get_types_from_msg(text, msgtype)
    except Exception as error:
        raise PallasError(
            f"the definition of message type {msgtype} cannot be read: {error}"
        ) from None
    for part in _parts(types[msgtype][1]):
        _register(part, prefixes, underway)
    store.register(types)


def _parts(fields: Any) -> set[str]:
    """Yield the message types named in a parsed definition, including nested arrays."""
    if isinstance(fields, str):
        return {fields} if fields.count("/") == 2 else set()
    if isinstance(fields, (list, tuple)):
        return set().union(*(_parts(field) for field in fields)) if fields else set()
    return set()


def _find_message_file(msgtype: str, prefixes: str) -> Path:
    parts = msgtype.split("/")
    if len(parts) == 3 and parts[1] == "msg":
        folders = [
            Path(prefix) / "share" / parts[0] / "msg"
            for prefix in prefixes.split(os.pathsep)
            if prefix
        ]
        if parts[0] == "pallas":
            folders.insert(0, _SOURCE_MESSAGES)
        for folder in folders:
            file = folder / f"{parts[2]}.msg"
            if os.path.exists(file):
                return file
    raise PallasError(
        f"no definition of message type {msgtype}: source the workspace that defines it, or omit"
        " its topic"
    )


class Decoder:
    """Deserialise the messages of one bag with its own definitions, else with the built-in ones."""

    def __init__(self) -> None:
        """Start without definitions; add those of the bag with `learn`."""
        self._own: Typestore = get_typestore(Stores.EMPTY)
        self._unread: dict[str, str] = {}

    def learn(self, msgtype: str, definition: str, encoding: str) -> None:
        """Add a definition of the bag; it is parsed at the first message of the type."""
        if encoding == "ros2msg" and 0 < len(definition) <= DEFINITION_LIMIT:
            self._unread.setdefault(msgtype, definition)

    def decode(self, msgtype: str, data: bytes) -> Any:
        """Return the message as an object with the fields of ``msgtype``.

        Raises:
            PallasError: the type is unknown, or the bytes do not match it.
        """
        store = self._store(msgtype)
        try:
            return store.deserialize_cdr(data, msgtype)
        except (
            Exception
        ) as error:  # malicious bytes: struct.error, IndexError, UnicodeDecodeError, ...
            raise PallasError(
                f"a message of type {msgtype[:80]} is damaged ({type(error).__name__})"
            ) from None

    def _store(self, msgtype: str) -> Typestore:
        if msgtype in self._unread:
            self._read(msgtype, self._unread.pop(msgtype))
        if msgtype in self._own.fielddefs:
            return self._own
        _definition(msgtype, os.environ.get("AMENT_PREFIX_PATH", ""))
        return _known_types()

    def _read(self, msgtype: str, definition: str) -> None:
        """Parse a definition; ignore it if invalid, since a built-in type may be used instead."""
        try:
            types = get_types_from_msg(definition, msgtype)
            self._own.register(
                {name: value for name, value in types.items() if name not in self._own.fielddefs}
            )
        except Exception:  # malicious text: the parser may raise anything
            return
