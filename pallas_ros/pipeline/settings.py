"""Settings of the pipeline, and how it is built from them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pallas_ros.body.errors import PallasError
from pallas_ros.body.names import JOINTS, MODEL_RATE_HZ, SITES
from pallas_ros.body.resources import resource
from pallas_ros.body.sites import worn_sites
from pallas_ros.body.skeleton import Skeleton
from pallas_ros.files.parameters import described
from pallas_ros.imu.calibration import Calibration
from pallas_ros.imu.heading import DriftModel, HeadingDrift
from pallas_ros.imu.intake import Intake
from pallas_ros.imu.procedures import calibrator
from pallas_ros.imu.synchroniser import Synchroniser
from pallas_ros.pipeline.pipeline import Pipeline
from pallas_ros.runtime import open_stream
from pallas_ros.runtime.estimator import BodyEstimator

_PARAMETERS = described("pallas_node")


@dataclass(frozen=True)
class PipelineSettings:
    """Parameters of `pallas_node` that are also options of `pallas process`.

    `config/parameters/pallas_node.yaml` describes them and has their defaults.
    """

    model: str = _PARAMETERS["model"].default
    backend: str = _PARAMETERS["backend"].default
    threads: int = _PARAMETERS["threads"].default
    calibration: str = _PARAMETERS["calibration"].default
    still_s: float = _PARAMETERS["still_s"].default
    height_m: float = _PARAMETERS["height_m"].default
    segments: Sequence[str] = ()
    max_wait_s: float = _PARAMETERS["max_wait_s"].default
    hold_s: float = _PARAMETERS["hold_s"].default
    heading_drift: float = _PARAMETERS["heading_drift"].default
    orientation: str = _PARAMETERS["orientation"].default
    body_id: str = _PARAMETERS["body_id"].default
    extra_sites: Sequence[str] = ()

    @property
    def sites(self) -> tuple[str, ...]:
        """Return the worn sites: the four required and the optional ones.

        Raises:
            PallasError: an optional site is unknown or given twice.
        """
        return worn_sites((*SITES, *self.extra_sites))

    def pipeline(self, log: Callable[[str], None] | None = None) -> Pipeline:
        """Load the model and the calibration, and build the pipeline.

        Raises:
            PallasError: one of them is missing or incompatible.
        """
        sites = self.sites
        calibration = (
            Calibration.load(Path(self.calibration).expanduser())
            if self.calibration
            else calibrator("tpose", self.still_s, sites=sites)
        )
        stream = open_stream(
            resource(self.model),
            backend=self.backend,
            threads=self.threads,
            expect={"kind": "pallas", "rate_hz": MODEL_RATE_HZ, "joints": JOINTS, "sites": SITES},
            log=log,
        )
        if self.extra_sites and "extra" not in stream.inputs:
            raise PallasError(
                f"{self.model}: this model supports only the four sensors {', '.join(SITES)}: use"
                " one for optional sensors, or leave extra_sites empty"
            )
        stream.warm_up()
        skeleton = Skeleton.from_height(self.height_m, segment_lengths(self.segments))
        synchroniser = Synchroniser(max_wait_s=self.max_wait_s, hold_s=self.hold_s, sites=sites)
        heading = HeadingDrift(DriftModel.of(self.heading_drift)) if self.heading_drift else None
        intake = Intake(self.orientation, sites)
        if isinstance(calibration, Calibration):
            intake.biases({site: found.gyroscope_bias for site, found in calibration.sites.items()})
        estimator = BodyEstimator(stream, skeleton)
        return Pipeline(calibration, synchroniser, estimator, self.body_id, heading, intake)


def segment_lengths(pairs: Sequence[str]) -> dict[str, float]:
    """Parse segment lengths in m from strings like ``upper_arm=0.31``.

    Raises:
        PallasError: a string is malformed.
    """
    lengths = {}
    for pair in pairs:
        name, _, metres = pair.partition("=")
        try:
            lengths[name.strip()] = float(metres)
        except ValueError:
            raise PallasError(
                f"segment '{pair}': give it as name=metres, like upper_arm=0.31"
            ) from None
    return lengths


Settings = PipelineSettings  # deprecated name, kept for one release
