"""Settings of the mapping from the operator's motion to the robot's."""

from dataclasses import dataclass

from pallas_ros.body.errors import PallasError

_RANGES = {"scale": (0.1, 3.0), "deviation_scale_m": (0.001, 1.0), "stop_deviation_m": (0.01, 1.0)}


@dataclass
class RetargetSettings:
    """Mapping of the operator's motion to the robot's; every field can be changed at run time.

    Attributes:
        mode: ``absolute``: the robot's hand is at the mapped position of the operator's hand;
            ``clutched``: it follows the displacement of the operator's hand since engaging.
        mapping: ``same``: the left arm drives the left arm; ``mirrored``: as in a mirror.
        scale: factor on the ratio of reaches, 0.1 to 3.
        orientation_from: ``wrist``, or ``forearm`` if the hand is not measured.
        deviation_scale_m: standard deviation of a position at which its weight is halved.
        stop_deviation_m: standard deviation of the hand at which the arm stops.
        iterations: maximum number of inverse kinematics iterations per body.
        speed_factor: speed limit of goals relative to the joints' velocity limits. With 1, tasks
            that exceed the joint limits are traded off by their weights. With more, the supervisor
            would clamp each joint separately, and the hand would leave its path.
        leash_s: maximum lead of goals over the arm, as time at full speed.
    """

    mode: str = "absolute"
    mapping: str = "same"
    scale: float = 1.0
    orientation_from: str = "wrist"
    deviation_scale_m: float = 0.03
    stop_deviation_m: float = 0.15
    iterations: int = 2
    speed_factor: float = 1.0
    leash_s: float = 0.1

    def __post_init__(self) -> None:
        """Reject invalid settings."""
        self.check()

    def check(self) -> None:
        """Raise a `PallasError` if a field is out of range."""
        if self.mode not in ("absolute", "clutched"):
            raise PallasError(f"mode is {self.mode!r}, but must be absolute or clutched")
        if self.mapping not in ("same", "mirrored"):
            raise PallasError(f"mapping is {self.mapping!r}, but must be same or mirrored")
        if self.orientation_from not in ("wrist", "forearm"):
            raise PallasError(
                f"orientation_from is {self.orientation_from!r}, but must be wrist or forearm"
            )
        for name, (low, high) in _RANGES.items():
            if not low <= getattr(self, name) <= high:
                raise PallasError(
                    f"{name} is {getattr(self, name)}, but must be from {low:g} to {high:g}"
                )
