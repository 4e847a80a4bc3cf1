"""HPSTM-Gen: the flow from noise to motion, 4 s at a time, on the manifold of bodies.

After "HPSTM-Gen: Generative Human Pose Sequence Model". A state X holds, frame by frame, positions
and orientations of the joints and the contacts of the feet, standardised. Between noise and data

    X_tau = tau X + (1 - tau) eps,    dX_tau / dtau = X - eps = (E[X | X_tau] - X_tau) / (1 - tau).

(The loss of the source regresses eps - X, but its sampler adds the output of the network: the signs
are inconsistent. The velocity used here is X - eps.) The network predicts root path, orientations
and contacts; forward kinematics with constant bone lengths gives the positions, so the
predicted end point of the flow is a body at every step.

Observed joints replace the noise in the state, with a separate noise level. The past, a gap, an arm
without a sensor and a sequence to smooth are all expressed as masks of observed joints.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hpstm_ros.generation.representation import CONTACTS, FEATURES, FRAMES, ROOT
from hpstm_ros.model.layers import Attention, FeedForward
from hpstm_ros.model.motion_features import FeatureKinematics, J

STATE = 3 + 3 * (J - 1) + 6 * J + 2
"""Root, positions relative to it, r6d, contacts: 200 values per frame."""
_OBSERVED_TAU = 0.95
"""Flow time of an observed joint: almost data, with little noise."""
SIGMA_M = 0.05
"""m, initial standard deviation."""


@dataclass(frozen=True)
class HpstmGenConfig:
    """Shape of the network; stored with the weights."""

    text: int = 384
    """Size of a text vector."""
    width: int = 128
    stem: int = 64
    """Width at full frame rate."""
    heads: int = 4
    hidden: int = 384
    layers: int = 4
    patch: int = 4
    """Frames in a token of the Transformer."""
    manifold: bool = True
    """False for the ablation whose positions are free, without forward kinematics."""
    ddpm: bool = False
    """The ablation with the noise schedule, the objective and the sampler of DDPM (Ho 2020)."""

    def as_dict(self) -> dict[str, Any]:
        """The settings as a dictionary, for the metadata of a model file."""
        return asdict(self)


@dataclass
class Context:
    """Conditions of a window; each part may be missing.

    Attributes:
        text: (B, text) sentence vector and explicit features; zero if missing.
        observed: (B, 120, 200) standardised states; any finite value if not observed.
        seen: (B, 120, 22), 1 if a joint is observed (the pelvis includes the root path).
        noise: (B, 1) standard deviation of the observed positions in 30 mm.
        hands: (B, 120, 8): left wrist's target in m and 1, or zeros; the same for the right.
    """

    text: Tensor
    observed: Tensor
    seen: Tensor
    noise: Tensor
    hands: Tensor


class Layer(nn.Module):
    """A pre-norm Transformer layer, modulated by flow time and text (Peebles 2023)."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.attention = Attention(width, heads)
        self.forward_layer = FeedForward(width, hidden)
        self.own = nn.Parameter(torch.zeros(6, width))

    def forward(self, x: Tensor, modulation: Tensor, bias: Tensor | None = None) -> Tensor:
        """Map tokens (B, L, d), with modulation (B, 6, d), to tokens; ``bias`` as in
        `Attention`.
        """
        m = (modulation + self.own)[:, :, None]
        width = (x.shape[-1],)
        h = F.layer_norm(x, width) * (1 + m[:, 0]) + m[:, 1]
        x = x + (1 + m[:, 2]) * self.attention(h, h, bias)
        h = F.layer_norm(x, width) * (1 + m[:, 3]) + m[:, 4]
        out: Tensor = x + (1 + m[:, 5]) * self.forward_layer(h)
        return out


class HpstmGen(nn.Module):
    """See the module's docstring."""

    mean: Tensor
    scale: Tensor
    joint_of: Tensor
    frequencies: Tensor

    def __init__(self, config: HpstmGenConfig) -> None:
        super().__init__()
        self.config = config
        c = config
        d = config.width
        s = config.stem
        self.kinematics = FeatureKinematics()
        self.register_buffer("mean", torch.zeros(STATE))
        self.register_buffer("scale", torch.ones(STATE))
        self.register_buffer("joint_of", _joint_of(), persistent=False)
        self.register_buffer("frequencies", torch.exp(torch.linspace(0, 5, 16)), persistent=False)
        self.read = nn.Linear(STATE + J + 8 + 1, s)
        self.blend = nn.Conv1d(s, s, 5, padding=2)
        self.embed = nn.Linear(c.patch * s, d)
        self.at = nn.Parameter(0.02 * torch.randn(FRAMES // c.patch, d))
        self.time = nn.Sequential(nn.Linear(32, d), nn.SiLU(), nn.Linear(d, d))
        self.text = nn.Sequential(nn.Linear(c.text + 1, d), nn.SiLU(), nn.Linear(d, d))
        self.modulation = nn.Linear(d, 6 * d)
        self.layers = nn.ModuleList(Layer(d, c.heads, c.hidden) for _ in range(c.layers))
        self.norm = nn.LayerNorm(d)
        self.spread_out = nn.Linear(d, c.patch * s)
        self.merge = nn.Conv1d(s, s, 5, padding=2)
        self.write = nn.Linear(s, FEATURES if c.manifold else STATE)
        spread = nn.Linear(s, 3 * J)
        self.spread = nn.Sequential(nn.Linear(s, s), nn.GELU(approximate="tanh"), spread)
        for last in (self.modulation, self.write, spread):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def standardise(self, features: Tensor) -> Tensor:
        """Convert features (B, T, 137) to standardised states (B, T, 200)."""
        return (self._states(features) - self.mean) / self.scale

    def _states(self, features: Tensor) -> Tensor:
        R = self.kinematics.matrices(features)
        relative = self.kinematics.relative(R)[..., 1:, :].flatten(-2)
        r6d = torch.cat((R[..., 0], R[..., 1]), -1).flatten(-2)
        return torch.cat((features[..., ROOT], relative, r6d, features[..., CONTACTS]), -1)

    def noised(self, state: Tensor, noise: Tensor, tau: Tensor, context: Context) -> Tensor:
        """States (B, T, 200) between noise and data at tau (B, 1, 1), with observed joints
        replaced.
        """
        signal, spread = self.levels(tau)
        return self.put(signal * state + spread * noise, context)

    def levels(self, tau: Tensor) -> tuple[Tensor, Tensor]:
        """Weights of data and noise in a state at tau: linear, or the cosine schedule for DDPM
        (Nichol 2021).
        """
        if not self.config.ddpm:
            return tau, 1 - tau
        return (0.5 * math.pi * tau).sin(), (0.5 * math.pi * tau).cos()

    def put(self, state: Tensor, context: Context) -> Tensor:
        """The state (B, T, size) with the observed joints replaced by their observations."""
        known = context.seen @ self.joint_of
        return known * context.observed + (1 - known) * state

    def forward(self, state: Tensor, tau: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        """Predict the end point of the flow.

        Args:
            state: (B, 120, 200) X_tau with observed joints replaced by their observations.
            tau: (B, 1), 0 for noise, 1 for data.
            context: conditions.

        Returns:
            state (B, 120, 200), on the manifold; logarithm of the standard deviations of the
            positions in units of 5 cm (B, 120, 66), in the axes of the window.
        """
        known = context.seen @ self.joint_of
        at = tau[..., None] + known * (_OBSERVED_TAU - tau[..., None])
        signal, spread = self.levels(at)
        level = (signal * signal + spread * spread).rsqrt()
        noise = context.noise[:, None].expand(-1, FRAMES, -1)
        facts = torch.cat((state * level, context.seen, context.hands, noise), -1)
        h = self.read(facts)
        h = h + F.gelu(self._along(self.blend, h), approximate="tanh")
        out = self._transformer(h, tau, context.text)
        h = F.gelu(self._along(self.merge, h + out), approximate="tanh")
        # the optimal estimate for Gaussian data bypasses the network (Karras et al. 2022)
        by = signal * level * level
        through = spread * level
        written = self.write(h)
        if self.config.manifold:
            none = torch.zeros_like(state[..., 3:66])
            written = torch.cat((written[..., ROOT], none, written[..., 3:]), -1)
        free = by * state + through * written
        return self._placed(free), self.spread(h.detach())

    def _placed(self, free: Tensor) -> Tensor:
        """Standardised states whose positions are computed from the orientations."""
        if not self.config.manifold:
            return free
        raw = free * self.scale + self.mean
        features = torch.cat((raw[..., ROOT], raw[..., 66:]), -1)
        return self.standardise(features)

    def _transformer(self, h: Tensor, tau: Tensor, text: Tensor) -> Tensor:
        c = self.config
        x = self.embed(h.reshape(-1, FRAMES // c.patch, c.patch * c.stem)) + self.at
        angle = tau * self.frequencies
        given = (text.abs().sum(-1, keepdim=True) > 0).to(text.dtype)
        condition = self.time(torch.cat((angle.sin(), angle.cos()), -1))
        text_embedding = self.text(torch.cat((text, given), -1))
        x = torch.cat((x, text_embedding[:, None]), 1)
        modulation = self.modulation(F.silu(condition + text_embedding)).reshape(-1, 6, c.width)
        for layer in self.layers:
            x = layer(x, modulation)
        out: Tensor = self.spread_out(self.norm(x[:, :-1])).reshape(-1, FRAMES, c.stem)
        return out

    @staticmethod
    def _along(layer: nn.Module, x: Tensor) -> Tensor:
        out: Tensor = layer(x.transpose(1, 2)).transpose(1, 2)
        return out

    def positions(self, state: Tensor) -> Tensor:
        """Joint positions (B, T, 22, 3) m in the frame of the window, of standardised states."""
        raw = state[..., :66] * self.scale[:66] + self.mean[:66]
        root = raw[..., None, :3]
        return torch.cat((root, root + raw[..., 3:].reshape(*raw.shape[:-1], J - 1, 3)), -2)


def _joint_of() -> Tensor:
    """Matrix (22, 200): 1 for the values that are observed with a joint; contacts never are."""
    out = torch.zeros(J, STATE)
    out[0, :3] = 1.0
    for joint in range(J):
        if joint:
            out[joint, 3 * joint : 3 * joint + 3] = 1.0
        out[joint, 66 + 6 * joint : 72 + 6 * joint] = 1.0
    return out


def features_of(model: HpstmGen, state: Tensor) -> Tensor:
    """Convert standardised states (B, T, 200) to features (B, T, 137)."""
    raw = state * model.scale + model.mean
    return torch.cat((raw[..., :3], raw[..., 66:]), -1)
