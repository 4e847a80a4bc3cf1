"""Lifecycle node whose parameters are declared, typed and validated from `config/parameters/`."""

from typing import Any

from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.parameter import Parameter as RosParameter

from pallas_ros.body.errors import PallasError
from pallas_ros.core.plugins import closest
from pallas_ros.files.parameters import Parameter, describe
from pallas_ros.ros.endpoints import EndpointNode

_ARRAY_TYPES = {
    "bools": RosParameter.Type.BOOL_ARRAY,
    "ints": RosParameter.Type.INTEGER_ARRAY,
    "floats": RosParameter.Type.DOUBLE_ARRAY,
    "strings": RosParameter.Type.STRING_ARRAY,
}


class DescribedNode(EndpointNode):
    """Declare and validate the described parameters.

    Invalid values at start are kept in `refused_at_start` and reported by the configure transition.

    Attributes:
        settings: validated value of every described parameter; lists are lists.
        refused_at_start: one sentence per invalid parameter override.
    """

    def __init__(self, name: str, **kwargs: Any) -> None:
        """Declare the parameters of `config/parameters/<name>.yaml`.

        ``kwargs`` are passed to `rclpy.node.Node`.
        """
        super().__init__(name, **kwargs)
        self.settings: dict[str, Any] = {}
        self.refused_at_start: list[str] = []
        self._described = describe(name)
        self._declare()

    def _declare(self) -> None:
        overrides: dict[str, RosParameter[Any]] = self._parameter_overrides
        for parameter in self._described.values():
            value = parameter.default
            if parameter.name in overrides:
                try:
                    value = parameter.check(overrides[parameter.name].value)
                except PallasError as error:
                    self.refused_at_start.append(str(error))
            self.settings[parameter.name] = parameter.check(value)
            self.declare_parameter(
                parameter.name,
                _ros_value(parameter, value),
                _descriptor(parameter),
                ignore_override=True,
            )
        for name in overrides:
            if (
                name not in self._described
                and not self.has_parameter(name)
                and not name.startswith("qos_overrides.")
            ):
                self.refused_at_start.append(
                    f"there is no parameter '{name}': {closest(name, self._described)}"
                )

    def set_parameters_atomically(
        self, parameter_list: list[RosParameter[Any]]
    ) -> SetParametersResult:
        """Set parameters as in rclpy; reject a value that violates its description.

        The reason names the allowed range.
        """
        try:
            checked = [self._checked(parameter) for parameter in parameter_list]
        except PallasError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return super().set_parameters_atomically(checked)

    def set_parameters(self, parameter_list: list[RosParameter[Any]]) -> list[SetParametersResult]:
        """Set parameters one by one, as in rclpy."""
        return [self.set_parameters_atomically([parameter]) for parameter in parameter_list]

    def _checked(self, given: RosParameter[Any]) -> RosParameter[Any]:
        parameter = self._described.get(given.name)
        if parameter is None:
            return given
        value = parameter.check(given.value)
        if parameter.read_only and value != self.settings[parameter.name]:
            raise PallasError(f"parameter '{parameter.name}' can be set at start only")
        return RosParameter(
            given.name,
            _ARRAY_TYPES.get(parameter.type) if parameter.is_list else None,
            _ros_value(parameter, value),
        )


def _ros_value(parameter: Parameter, value: Any) -> Any:
    """Convert a value for ROS.

    An empty list of strings becomes ``[""]``, because YAML parameter files cannot express an
    empty list.
    """
    return list(value) or [""] if parameter.type == "strings" else value


def _descriptor(parameter: Parameter) -> ParameterDescriptor:
    descriptor = ParameterDescriptor(
        name=parameter.name,
        description=parameter.description,
        additional_constraints=parameter.valid_values(),
        read_only=False,
    )
    if parameter.range is not None and parameter.type == "float":
        descriptor.floating_point_range = [
            FloatingPointRange(
                from_value=float(parameter.range[0]), to_value=float(parameter.range[1]), step=0.0
            )
        ]
    if parameter.range is not None and parameter.type == "int":
        descriptor.integer_range = [
            IntegerRange(
                from_value=int(parameter.range[0]), to_value=int(parameter.range[1]), step=1
            )
        ]
    return descriptor
