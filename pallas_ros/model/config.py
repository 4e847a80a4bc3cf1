"""Sizes and parts of the PALLAS network, and the constants of its inputs and outputs."""

from dataclasses import dataclass

from pallas_ros.body.errors import PallasError
from pallas_ros.body.names import (
    EXTRA_SITES,
    JOINTS,
    UPPER_JOINTS,
)
from pallas_ros.body.sites import SITE
from pallas_ros.files.settings import check_ranges

INPUTS = 48
MOVING = 18
"""Number of values with running means: four accelerations and the vectors of both forearms."""
LAGS = (2, 6)
"""Intervals, in frames, over which changes of the inputs are computed."""
SHORT_MEANS_S = (0.1, 0.4, 1.2)
"""Time constants of the means of acceleration: leaky integrals, that is, velocities."""
LONG_MEANS_S = (1.0, 4.0, 16.0)
"""Time constants of the long context, from which the queries of the cross-attention are
computed.
"""
SOLVED = UPPER_JOINTS[1:]
"""Joints solved by S: the upper body without the pelvis, whose orientation is measured."""
REMEMBERED = tuple(
    SOLVED.index(JOINTS.index(f"{side}_{joint}"))
    for joint in ("collar", "shoulder")
    for side in ("left", "right")
)
"""Indices in `SOLVED` of the joints of `ArmMemory`."""
EXTRA_JOINTS = tuple(SITE[site].index for site in EXTRA_SITES)
"""The joints that the optional sensors measure."""

_MAX = 65_536
"""Largest size in `PallasConfig`."""


@dataclass(frozen=True)
class PallasConfig:
    """Sizes of the network, and switches for ablations."""

    width: int = 192
    heads: int = 4
    hidden: int = 320
    window: int = 40
    legs_hidden: int = 192
    solver_hidden: int = 96
    solver_blocks: int = 3
    long_short: bool = True
    solver: str = "invertible"
    legs: str = "autoregressive"
    arms: str = "remembered"
    arms_hidden: int = 128
    optional_sensors: bool = True
    """False for networks of only the four sensors."""

    def __post_init__(self) -> None:
        """Validate the sizes.

        Raises:
            PallasError: sizes are inconsistent; the message names them.
            ValueError: a size is out of range.
        """
        if self.window <= max(LAGS):
            raise PallasError(
                f"model.window is {self.window} frames, but must be more than {max(LAGS)}"
            )
        if self.heads < 1 or self.width < 1 or self.width % (2 * self.heads):
            raise PallasError(
                f"model.width {self.width} cannot be shared by {self.heads} heads of equal, even"
                " width"
            )
        for part, known in (
            ("solver", ("invertible", "linear")),
            ("legs", ("autoregressive", "direct")),
            ("arms", ("remembered", "direct")),
        ):
            if getattr(self, part) not in known:
                raise PallasError(
                    f"model.{part} is '{getattr(self, part)}', but must be {' or '.join(known)}"
                )
        sizes = ("hidden", "legs_hidden", "solver_hidden", "solver_blocks", "arms_hidden")
        check_ranges(
            self, width=(1, _MAX), window=(1, _MAX), **dict.fromkeys(sizes, (1.0, float(_MAX)))
        )
