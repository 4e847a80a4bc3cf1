"""A body in; a smooth body with a covariance and a supervised robot arm out.

What users build with is exported here and imported on first use; none of it needs ROS.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
