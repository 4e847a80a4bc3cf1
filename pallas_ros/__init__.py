"""IMUs in, a full 22-joint body out, live.

What users build with is exported here and imported on first use; none of it needs ROS.
"""

import lazy_loader

__version__ = "0.2.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
