"""Serial protocols, one file each. To add one: write its decoder and encoder, and add its line here (docs/sensors.md shows how)."""

from pallas_ros.body.errors import PallasError
from pallas_ros.imu.protocols import bno08x_rvc, csv_line, witmotion, ximu3, xsens
from pallas_ros.imu.protocols.base import Decoder, DecoderStats, Encoder, ProtocolSpec, Reading

PROTOCOLS: dict[str, ProtocolSpec] = {
    spec.name: spec
    for spec in (
        witmotion.SPEC,
        xsens.SPEC,
        bno08x_rvc.SPEC,
        ximu3.SPEC,
        csv_line.SPEC,
    )
}
"""Every protocol by name."""


def protocol(name: str) -> ProtocolSpec:
    """The protocol of that name.

    Raises:
        PallasError: there is none; names those there are.
    """
    if name not in PROTOCOLS:
        raise PallasError(f"unknown sensor protocol '{name}': known are {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]


__all__ = ["PROTOCOLS", "Decoder", "DecoderStats", "Encoder", "ProtocolSpec", "Reading", "protocol"]
