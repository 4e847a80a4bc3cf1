"""The streaming step of PALLAS in the form required by the export, and the export of weights to
`models/pallas.onnx`.
"""

import json
from datetime import date
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from pallas_ros.body.errors import PallasError
from pallas_ros.body.names import EXTRA_SITES, JOINTS, MODEL_GRAVITY, MODEL_RATE_HZ, SHINS, SITES
from pallas_ros.data.licences import licence_in
from pallas_ros.data.virtual_imu import EXTRA_INPUTS
from pallas_ros.files.json_text import parse_json
from pallas_ros.files.weights import weights_metadata
from pallas_ros.geometry import rotations
from pallas_ros.model.config import INPUTS, PallasConfig
from pallas_ros.model.fused import FusedPallasStep, can_be_fused
from pallas_ros.model.gru import GruConfig, GruPallas
from pallas_ros.model.legs import LATENT
from pallas_ros.model.pallas import Pallas
from pallas_ros.model.solver import Mixing

DATA_OUTPUTS = ("rotations", "positions", "contacts", "root_velocity", "deviation")


class PallasStep(nn.Module):
    """Processes one frame. Outputs: see docs/guide/architecture.md.

    Inputs: ``imu`` (B, 48), ``latent`` (B, 8; zeros for the most plausible legs), if the network
    supports them ``extra`` (B, 91) of the optional sensors (zeros if none is worn), states.
    """

    def __init__(self, model: Pallas) -> None:
        super().__init__()
        self.model = model.eval()
        for module in model.modules():
            if isinstance(module, Mixing):
                module.freeze()
        self.states = tuple(model.initial_state(1))
        self.output_names = (*DATA_OUTPUTS, *(f"next_{name}" for name in self.states))

    def example_inputs(self, batch: int) -> dict[str, Tensor]:
        """Zeros (batch, ...) for every input of `forward`, in its order."""
        data = {"imu": torch.zeros(batch, INPUTS), "latent": torch.zeros(batch, LATENT)}
        if self.model.config.optional_sensors:
            data["extra"] = torch.zeros(batch, EXTRA_INPUTS)
        state = {f"state_{name}": value for name, value in self.model.initial_state(batch).items()}
        return {**data, **state}

    def forward(self, imu: Tensor, latent: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        """Process one frame.

        Args:
            imu: (B, 48), see `pallas_ros.data.virtual_imu.features`.
            latent: (B, 8) of the legs; zeros for the most plausible.
            rest: ``extra`` (B, 91) if the network takes optional sensors, then the states.

        Returns:
            r6d (B, 22, 6), positions (B, 22, 3) m, contacts (B, 2), root velocity (B, 3) m/s and
            standard deviations (B, 22) m, all in the waist's heading frame; then the next states.
        """
        extra = rest[0][:, None] if self.model.config.optional_sensors else None
        known = dict(zip(self.states, rest[len(rest) - len(self.states) :], strict=True))
        out = self.model(imu[:, None], known, latent, extra)
        data = (
            rotations.to_r6d(out.rotations)[:, 0],
            out.positions[:, 0],
            torch.sigmoid(out.contact_logits)[:, 0],
            out.root_velocity[:, 0],
            torch.exp(out.log_deviation.clamp(-6.5, 0.0))[:, 0],
        )
        return (*data, *(out.state[name] for name in self.states))


def load_model(path: str | Path, *, older: bool = False) -> Pallas:
    """The network of a ``.safetensors`` file, in evaluation mode.

    Args:
        path: the file.
        older: also accept weights of version 0.2 or older, to compare with them.

    Raises:
        PallasError: the file is missing, damaged, too old, or contains another network.
    """
    metadata = weights_metadata(path)
    try:
        document: dict[str, Any] = parse_json(
            metadata["pallas"], str(path), "description of a model"
        )
        if not older and _is_older(document):
            raise PallasError(
                f"{path}: weights of version 0.2 or older, trained on other shins: use"
                " models/pallas.safetensors, or train again with `pallas train pallas`"
            )
        with safe_open(path, framework="pt") as file:
            if document["kind"] == "pallas":  # weights of 0.1 have no optional sensors
                document["config"].setdefault("optional_sensors", False)
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        model = (
            GruPallas(GruConfig(**document["config"]))
            if document["kind"] == "pallas-gru"
            else Pallas(PallasConfig(**document["config"]))
        )
        parameters = dict(model.named_parameters())
        if set(parameters) != set(weights):
            raise PallasError(
                f"{path}: its weights do not match the network '{document['kind']}' has"
            )
        with torch.no_grad():
            for name, p in parameters.items():
                p.copy_(weights[name])
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError, OSError) as error:
        raise PallasError(f"{path}: not weights of PALLAS ({error})") from None
    return model.eval()


def _is_older(document: dict[str, Any]) -> bool:
    """Whether weights are of a version that trained on leaning shins: of 0.1, without optional
    sensors, or of 0.2, whose settings have no ``lying``.
    """
    if document["kind"] != "pallas":
        return False
    training = document.get("training")
    augmentation = training.get("augmentation") if isinstance(training, dict) else None
    return "optional_sensors" not in document["config"] or (
        isinstance(augmentation, dict) and "lying" not in augmentation
    )


def step_from_safetensors(path: str | Path) -> PallasStep:
    """Load the step for the torch backend (entry-point group ``pallas.streams``)."""
    return PallasStep(load_model(path))


def export(
    weights: str | Path, path: str | Path, git: str = "", extra: dict[str, Any] | None = None
) -> Path:
    """Write the ``.onnx`` file of trained weights."""
    from pallas_ros.torch_runtime.backend import export_stream

    model = load_model(weights)
    document = json.loads(weights_metadata(weights)["pallas"])
    metadata: dict[str, Any] = {
        "kind": "pallas",
        "rate_hz": int(MODEL_RATE_HZ),
        "joints": list[str](JOINTS),
        "sites": list[str](SITES),
        "optional_sites": list[str](EXTRA_SITES) if model.config.optional_sensors else [],
        "normalisation": {
            "acceleration": MODEL_GRAVITY,
            "height_m": 1.75,
            "acceleration_lag_frames": 2,
        },
        "licence": licence_in(document),
        "shins": SHINS,
        "git": git,
        "created": date.today().isoformat(),
    }
    # ablations are not fused
    step = FusedPallasStep(model) if can_be_fused(model) else PallasStep(model)
    return export_stream(step, path, {**metadata, **(extra or {})})
