"""The messages of each kind of UDF: one module for each protocol, one class for each kind."""

from __future__ import annotations

from importlib import import_module
from typing import Final

from ..wire import Client
from .base import Service

_SERVICES: Final = {
    "map": ("map", "UnaryMap"),
    "mapstream": ("map", "StreamMap"),
    "batchmap": ("map", "BatchMap"),
    "sourcetransform": ("transform", "SourceTransform"),
    "reduce": ("reduce", "Reduce"),
    "reducestream": ("reduce", "Reduce"),
    "accumulator": ("accumulator", "Accumulator"),
    "sink": ("sink", "Sink"),
    "source": ("source", "Source"),
    "sideinput": ("sideinput", "SideInput"),
}


def service(kind: str) -> type[Service]:
    """The class that talks to a UDF of ``kind``. Only the stubs of that kind are imported."""
    module, name = _SERVICES[kind]
    found: type[Service] = getattr(import_module(f".{module}", __package__), name)
    return found


__all__ = ["Client", "Service", "service"]
