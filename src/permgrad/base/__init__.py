"""What every folder may use."""

__version__ = "0.1.0"
