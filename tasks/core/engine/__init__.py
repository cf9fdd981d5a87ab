"""The engine: the only package that runs the docker CLI or imports the docker SDK."""

from __future__ import annotations

from .client import Engine, Image, connect
from .endpoint import Endpoint

__all__ = ["Endpoint", "Engine", "Image", "connect"]
