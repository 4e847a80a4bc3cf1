"""Encoders of text, motion and scene, and of pairs of them, into one space (MonSTeR, ICCV 2025).

The embedding of a pair is aligned with the third modality, so that information that only two of
them contain together (a sitting person requires a seat at this place) is represented in the
space.
"""

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from hpstm_ros.language.alignment.movement import FRAMES, WIDTH
from hpstm_ros.language.alignment.scene import BOXES, MEETING_WIDTH, NEED_WIDTH, SHAPE_WIDTH
from hpstm_ros.language.features import FEATURES

OUTPUTS = ("text", "motion", "scene", "text_motion", "text_scene", "motion_scene")


@dataclass(frozen=True)
class AlignmentConfig:
    """Shape of the network.

    Attributes:
        width: of the hidden layers.
        dim: of the joint embedding space.
        parts: segments of a window whose means are separate inputs.
        sentence: width of the frozen sentence vectors.
        sides: whether the explicit features of a text are used.
        dropout: of sentence vectors and hidden layers.
    """

    width: int = 128
    dim: int = 128
    parts: int = 4
    sentence: int = 384
    sides: bool = True
    dropout: float = 0.2

    def as_dict(self) -> dict[str, Any]:
        """The settings as a dictionary, for the metadata of a released model."""
        return asdict(self)


class MotionEncoder(nn.Module):
    """Encodes windows of `hpstm_ros.language.alignment.movement` as one vector.

    The mean, spread and extremes of each feature over the window, and its means over a few parts,
    are the inputs of a perceptron. It costs a fiftieth of a convolutional encoder, and a few
    thousand descriptions do not suffice to learn more detail.
    """

    mean: Tensor
    deviation: Tensor
    index: Tensor

    def __init__(self, config: AlignmentConfig) -> None:
        super().__init__()
        self.parts = config.parts
        self.register_buffer("mean", torch.zeros(WIDTH))
        self.register_buffer("deviation", torch.ones(WIDTH))
        self.register_buffer("index", torch.arange(FRAMES) + 0.5)
        wide = 2 * config.width
        self.layers = nn.Sequential(
            nn.Dropout(config.dropout),
            nn.Linear((4 + config.parts) * WIDTH, wide),
            nn.LayerNorm(wide),
            nn.GELU(),
            nn.Dropout(config.dropout),
            nn.Linear(wide, config.width),
            nn.GELU(),
        )

    def forward(self, movement: Tensor, there: Tensor) -> Tensor:
        """Encode ``movement`` (B, 40, 85), with mask ``there`` (B, 40), as (B, W)."""
        there = there[..., None]
        count = there.sum(1).clamp(min=1.0)
        x = ((movement - self.mean) / self.deviation).clamp(-6.0, 6.0) * there
        mean = x.sum(1) / count
        spread = ((x * x).sum(1) / count - mean * mean).clamp(min=1e-4).sqrt()
        far = 1e2 * (1 - there)
        some = there.amax(1)
        columns = [mean, spread, (x - far).amax(1) * some, (x + far).amin(1) * some]
        place = self.index[None, :, None] / count[:, None] * self.parts  # 0 to `parts`
        for part in range(self.parts):
            weight = (1 - (place - part - 0.5).abs()).clamp(min=0.0) * there
            columns.append((x * weight).sum(1) / weight.sum(1).clamp(min=1e-3))
        hidden: Tensor = self.layers(torch.cat(columns, dim=-1))
        return hidden


class Alignment(nn.Module):
    """All encoders.

    `forward` returns the six embeddings (B, dim) of unit length, in the order of `OUTPUTS`.
    """

    def __init__(self, config: AlignmentConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        drop = config.dropout
        self.sentence = nn.Sequential(nn.Dropout(drop), nn.Linear(config.sentence, width))
        self.features = nn.Linear(len(FEATURES), width)
        self.text = nn.Sequential(
            nn.LayerNorm(2 * width), nn.Linear(2 * width, width), nn.GELU(), nn.Dropout(drop)
        )
        self.motion = MotionEncoder(config)
        self.label = nn.Sequential(nn.Dropout(drop), nn.Linear(config.sentence, width // 4))
        self.box = nn.Sequential(
            nn.Linear(SHAPE_WIDTH + width // 4, width), nn.GELU(), nn.Linear(width, width)
        )
        self.meeting = nn.Sequential(
            nn.Linear(width + MEETING_WIDTH, width), nn.GELU(), nn.Linear(width, width)
        )
        self.scene = nn.Sequential(nn.Linear(2 * width, width), nn.GELU())
        self.met = nn.Sequential(nn.Linear(2 * width + NEED_WIDTH, width), nn.GELU())
        self.pairs = nn.ModuleDict(
            {
                name: nn.Sequential(nn.Linear(inputs * width, width), nn.GELU())
                for name, inputs in (("text_motion", 2), ("text_scene", 2), ("motion_scene", 3))
            }
        )
        self.heads = nn.ModuleDict({name: nn.Linear(width, config.dim) for name in OUTPUTS})
        self.log_scale = nn.Parameter(torch.tensor(2.66))  # exp: 14.3, the start of CLIP

    def hidden_text(self, sentence: Tensor, features: Tensor) -> Tensor:
        """Hidden vector (B, W) of sentence vectors and explicit features."""
        if not self.config.sides:
            features = torch.zeros_like(features)
        joined = torch.cat((self.sentence(sentence), self.features(features)), dim=-1)
        hidden: Tensor = self.text(joined)
        return hidden

    def hidden_scene(
        self, shapes: Tensor, labels: Tensor, meetings: Tensor, there: Tensor, need: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Hidden vectors (B, W) of the scene itself, and of its contacts with the motion."""
        there = there[..., None]
        boxes = self.box(torch.cat((shapes, self.label(labels)), dim=-1))
        met = self.meeting(torch.cat((boxes, meetings), dim=-1))
        alone: Tensor = self.scene(_pooled(boxes, there))
        together: Tensor = self.met(torch.cat((_pooled(met, there), need), dim=-1))
        return alone, together

    def embed(self, name: str, *hidden: Tensor) -> Tensor:
        """Embedding (B, dim) of unit length from the hidden vectors (B, W) of its modalities."""
        x = hidden[0] if len(hidden) == 1 else self.pairs[name](torch.cat(hidden, dim=-1))
        return functional.normalize(self.heads[name](x), dim=-1)

    def forward(
        self,
        sentence: Tensor,
        features: Tensor,
        movement: Tensor,
        valid: Tensor,
        shapes: Tensor,
        labels: Tensor,
        meetings: Tensor,
        there: Tensor,
        need: Tensor,
    ) -> tuple[Tensor, ...]:
        """The six embeddings."""
        t = self.hidden_text(sentence, features)
        m = self.motion(movement, valid)
        s, met = self.hidden_scene(shapes, labels, meetings, there, need)
        return (
            self.embed("text", t),
            self.embed("motion", m),
            self.embed("scene", s),
            self.embed("text_motion", t, m),
            self.embed("text_scene", t, s),
            self.embed("motion_scene", m, s, met),
        )

    output_names = OUTPUTS

    def example_inputs(self, batch: int) -> dict[str, Tensor]:
        """Zeros (batch, ...) for every input of `forward`, by name, in its order."""
        return {
            "sentence": torch.zeros(batch, self.config.sentence),
            "features": torch.zeros(batch, len(FEATURES)),
            "movement": torch.zeros(batch, FRAMES, WIDTH),
            "valid": torch.zeros(batch, FRAMES),
            "shapes": torch.zeros(batch, BOXES, SHAPE_WIDTH),
            "labels": torch.zeros(batch, BOXES, self.config.sentence),
            "meetings": torch.zeros(batch, BOXES, MEETING_WIDTH),
            "there": torch.zeros(batch, BOXES),
            "need": torch.zeros(batch, NEED_WIDTH),
        }


def _pooled(x: Tensor, there: Tensor) -> Tensor:
    """Masked mean and maximum over the second axis; zeros if all elements are masked."""
    mean = (x * there).sum(1) / there.sum(1).clamp(min=1.0)
    some = there.amax(1)
    highest = (x * there - 1e4 * (1 - there)).amax(1) * some
    return torch.cat((mean, highest), dim=-1)
