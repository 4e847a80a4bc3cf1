"""Serial protocols, one module each, registered in the entry-point group ``pallas.protocols``."""

from pallas_ros.core.plugins import Plugins
from pallas_ros.imu.protocols.base import Decoder, DecoderStats, Encoder, ProtocolSpec, Reading

PROTOCOLS = Plugins[ProtocolSpec]("pallas.protocols", "sensor protocol")
"""All installed protocols by name."""


def protocol(name: str) -> ProtocolSpec:
    """Return the protocol of that name.

    Raises:
        PallasError: it does not exist; the message suggests the closest name.
    """
    return PROTOCOLS.find(name)


__all__ = ["PROTOCOLS", "Decoder", "DecoderStats", "Encoder", "ProtocolSpec", "Reading", "protocol"]
