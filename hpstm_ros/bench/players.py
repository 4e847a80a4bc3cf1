"""Hostile use of generated motion: storms of goals and cancellations, an operator who takes over
and hands back, two who publish bodies at once.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import numpy as np

from hpstm_ros.generation.flow import FlowGenerator
from hpstm_ros.generation.playback import Playback
from hpstm_ros.generation.producer import Producer
from hpstm_ros.generation.request import Request
from hpstm_ros.generation.takeover import TakeOver
from pallas_ros.body.errors import PallasError
from pallas_ros.body.frames import BodyFrame
from pallas_ros.body.motion import Motion

_TEXTS = ("wave with the right hand", "raise both hands", "walk forward", "kick", "turn around")
_STORM = 20
"""Goals and cancellations of a storm at most, all at one instant."""


@cache
def generated_clips(seconds: float = 2.0) -> tuple[Motion, ...]:
    """Motion of a few requests by the released model, without its guards.

    Raises:
        PallasError: the model or the text encoder is not installed.
    """
    producer = Producer(
        score=lambda motion, text: 0.0,
        generators={"flow": FlowGenerator()},
        refuses=lambda motion: None,
        refuses_text=lambda text: None,
    )
    return tuple(
        producer.produce(Request(text=text, seconds=seconds, seed=seed)).candidates[0].motion
        for seed, text in enumerate(_TEXTS)
    )


class Player:
    """What `motion_generator` would publish, under goals that come at random.

    Args:
        random: draws.
        hostility: 0 to 1, how often something hostile is asked.
        clips: played in any order.
    """

    def __init__(
        self, random: np.random.Generator, hostility: float, clips: Sequence[Motion]
    ) -> None:
        self._random = random
        self._hostility = hostility
        self._clips = clips
        self._playback = Playback()
        self._takeover = TakeOver()

    def body(self, live: BodyFrame) -> BodyFrame:
        """The body that is published while the operator's is ``live``."""
        now = live.stamp
        if not self._playback.playing and self._random.random() < 0.05:
            self._play(now)
        if self._random.random() < 0.3 * self._hostility:
            self._ask(now)
        shown = self._takeover.generated(self._playback.tick(now))
        led = self._takeover.operator(live)
        if self._random.random() < 0.03 * self._hostility:
            return live  # a second publisher
        newest = led or shown or self._takeover.shown or live
        return replace(
            newest,
            positions=newest.positions.copy(),
            rotations=newest.rotations.copy(),
            valid=newest.valid.copy(),
            confidence=newest.confidence.copy(),
            covariance=None if newest.covariance is None else newest.covariance.copy(),
        )

    def _play(self, now: int) -> None:
        self._playback.play(self._clips[int(self._random.integers(len(self._clips)))], now)

    def _ask(self, now: int) -> None:
        """A goal, a cancellation, a storm of both, or a change of lead."""
        match int(self._random.integers(6)):
            case 0:
                self._play(now)
            case 1:
                self._playback.stop(now)
            case 2:
                for _ in range(int(self._random.integers(2, _STORM))):
                    self._play(now)
                    if self._random.random() < 0.5:
                        self._playback.stop(now)
            case 3:
                try:
                    self._takeover.take_over(now)
                except PallasError:
                    return
                self._playback.stop(now)
            case 4:
                self._hand_back(now)
            case _:
                self._hand_back(now)
                self._play(now - int(self._random.integers(0, 2_000_000_000)))

    def _hand_back(self, now: int) -> None:
        shown = self._takeover.shown
        if self._takeover.operator_leads and shown is not None:
            self._playback.stand(shown)
            self._takeover.generated(self._playback.tick(now))
        self._takeover.hand_back()
