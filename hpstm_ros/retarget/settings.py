"""Settings of the mapping from the operator's motion to the robot's."""

from dataclasses import dataclass

from pallas_ros.files.parameters import described

_PARAMETERS = described("retarget")
MAPPING = ("mode", "mapping", "scale", "orientation_from", "deviation_scale_m", "stop_deviation_m")
"""Fields of `RetargetSettings` that are parameters of the `retarget` node, with its defaults and
ranges (`config/parameters/retarget.yaml`).
"""


@dataclass
class RetargetSettings:
    """Mapping of the operator's motion to the robot's; every field can be changed at run time.

    Attributes:
        mode: ``absolute``: the robot's hand is at the mapped position of the operator's hand;
            ``clutched``: it follows the displacement of the operator's hand since engaging.
        mapping: ``same``: the left arm drives the left arm; ``mirrored``: as in a mirror.
        scale: factor on the ratio of reaches.
        orientation_from: ``wrist``, or ``forearm`` if the hand is not measured.
        deviation_scale_m: standard deviation of a position at which its weight is halved.
        stop_deviation_m: standard deviation of the hand at which the arm stops; it slows down from
            half of this value on.
        iterations: maximum number of inverse kinematics iterations per body.
        speed_factor: speed limit of goals relative to the joints' velocity limits. With 1, tasks
            that exceed the joint limits are traded off by their weights. With more, the supervisor
            would clamp each joint separately, and the hand would leave its path.
        leash_s: maximum lead of goals over the arm, as time at full speed.
    """

    mode: str = _PARAMETERS["mode"].default
    mapping: str = _PARAMETERS["mapping"].default
    scale: float = _PARAMETERS["scale"].default
    orientation_from: str = _PARAMETERS["orientation_from"].default
    deviation_scale_m: float = _PARAMETERS["deviation_scale_m"].default
    stop_deviation_m: float = _PARAMETERS["stop_deviation_m"].default
    iterations: int = 2
    speed_factor: float = 1.0
    leash_s: float = 0.1

    def __post_init__(self) -> None:
        """Reject invalid settings."""
        self.check()

    def check(self) -> None:
        """Check the fields that are parameters of the node.

        Raises:
            PallasError: a field is out of the parameter's range or choices.
        """
        for name in MAPPING:
            _PARAMETERS[name].check(getattr(self, name))
