"""The version, here so that nothing has to look for an installed package."""

__version__ = "0.2.0"
