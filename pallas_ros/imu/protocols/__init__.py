"""Serial protocols, one file each, found by the entry-point group ``pallas.protocols``."""

from pallas_ros.core.plugins import Plugins
from pallas_ros.imu.protocols.base import Decoder, DecoderStats, Encoder, ProtocolSpec, Reading

PROTOCOLS = Plugins[ProtocolSpec]("pallas.protocols", "sensor protocol")
"""Every installed protocol by name."""


def protocol(name: str) -> ProtocolSpec:
    """The protocol of that name.

    Raises:
        PallasError: there is none; the message names the closest.
    """
    return PROTOCOLS.find(name)


__all__ = ["PROTOCOLS", "Decoder", "DecoderStats", "Encoder", "ProtocolSpec", "Reading", "protocol"]
