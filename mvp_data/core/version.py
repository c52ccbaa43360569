"""The version of both packages; the build backend reads it here without importing them."""

__version__ = "0.1.0"
