"""Convert the weights of ablations to half precision: `python tools/halve_weights.py IN OUT`.

They serve for comparison only, so half the size is sufficient.
"""

import sys

from safetensors import safe_open
from safetensors.torch import save_file

source, target = sys.argv[1:]
with safe_open(source, framework="pt") as file:
    save_file(
        {name: file.get_tensor(name).half() for name in file.keys()},  # noqa: SIM118
        target,
        metadata=file.metadata(),
    )
