"""Former name of `pallas_ros.torch_runtime.backend`, kept for one release.

The module is imported by name, so that nothing in `pallas_ros.runtime` imports torch statically.
"""

import importlib
import sys

sys.modules[__name__] = importlib.import_module("pallas_ros.torch_runtime.backend")
