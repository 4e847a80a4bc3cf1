"""What the tests of bags share lies beside them: `bag_samples`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
