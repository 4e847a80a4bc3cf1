"""Sizes and parts of the PALLAS network, and the constants of its inputs and outputs."""

from dataclasses import dataclass

from pallas_ros.body.errors import PallasError
from pallas_ros.body.names import (
    EXTRA_SITES,
    JOINTS,
    UPPER_JOINTS,
)
from pallas_ros.body.sites import SITE

INPUTS = 48
MOVING = 18
"""Numbers whose running means are kept: four accelerations and the vectors of both forearms."""
LAGS = (2, 6)
"""Frames over which the inputs' change is taken."""
SHORT_MEANS_S = (0.1, 0.4, 1.2)
"""Time constants of the means of acceleration: leaky integrals, that is, velocities."""
LONG_MEANS_S = (1.0, 4.0, 16.0)
"""Time constants of the long context that the cross-attention's queries are made from."""
SOLVED = UPPER_JOINTS[1:]
"""The joints S solves for: the upper body without the pelvis, whose orientation is measured."""
REMEMBERED = tuple(
    SOLVED.index(JOINTS.index(f"{side}_{joint}"))
    for joint in ("collar", "shoulder")
    for side in ("left", "right")
)
"""Places in `SOLVED` of the joints that `ArmMemory` keeps."""
EXTRA_JOINTS = tuple(SITE[site].index for site in EXTRA_SITES)
"""The joints that the optional sensors measure."""


@dataclass(frozen=True)
class PallasConfig:
    """Size of the network, and the parts that ablations leave out."""

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
    """False for networks of the four sensors alone."""

    def __post_init__(self) -> None:
        """Refuse sizes that do not fit together.

        Raises:
            PallasError: which.
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
