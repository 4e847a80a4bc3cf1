"""Four IMUs in, a full 22-joint body out, live."""

__version__ = "0.1.0"
