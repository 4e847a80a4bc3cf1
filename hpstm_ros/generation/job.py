"""Processes a request in a separate thread, so that the caller is not blocked."""

import threading

from hpstm_ros.generation.producer import Outcome, Producer
from hpstm_ros.generation.request import Request
from pallas_ros.body.errors import PallasError


class Cancelled(PallasError):
    """The job was cancelled."""


class Job:
    """A request that is being processed in a thread.

    Args:
        producer: processes the request.
        request: to process.
        model: name of the generator.

    Attributes:
        stage: current step.
        fraction: progress of the stage, 0 to 1.
        outcome: result, or None until the job has finished.
        error: reason for a failure, otherwise empty.
    """

    def __init__(self, producer: Producer, request: Request, model: str) -> None:
        self.stage = "waiting"
        self.fraction = 0.0
        self.outcome: Outcome | None = None
        self.error = ""
        self._given_up = threading.Event()
        arguments = (producer, request, model)
        self._thread = threading.Thread(target=self._run, args=arguments, daemon=True)
        self._thread.start()

    @property
    def done(self) -> bool:
        """Whether there is an outcome or an error."""
        return not self._thread.is_alive()

    def cancel(self) -> None:
        """Cancel the job at its next step."""
        self._given_up.set()

    def wait(self, seconds: float) -> None:
        """Wait for the thread to end."""
        self._thread.join(seconds)

    def _run(self, producer: Producer, request: Request, model: str) -> None:
        try:
            outcome = producer.produce(request, model, self._progress)
            self._cancel_point()
            self.outcome = outcome
        except PallasError as error:
            self.error = str(error)
        except Exception as error:  # a generator from outside the package may raise anything
            self.error = f"the generator '{model[:40]}' failed: {type(error).__name__}"

    def _progress(self, stage: str, part: float) -> None:
        self._cancel_point()
        self.stage = stage
        self.fraction = part

    def _cancel_point(self) -> None:
        if self._given_up.is_set():
            raise Cancelled("cancelled")
