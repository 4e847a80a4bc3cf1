"""Live full-body motion from IMUs: IMU samples in, a 22-joint body out.

The public API is exported here and imported on first use; nothing in it needs ROS.
"""

import lazy_loader

__version__ = "0.3.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
