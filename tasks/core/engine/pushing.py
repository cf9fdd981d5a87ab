"""Pushing images of the engine's store, again after a temporary fault."""

from __future__ import annotations

import re
import time
from typing import Final

from ..model.progress import Say
from ..model.reference import ImageReference
from ..registry import faults
from .client import Engine

PAUSES: Final = (0.5, 1.0, 2.0)
"""Seconds before each further try."""

_DIGEST: Final = re.compile(r"digest: (sha256:[0-9a-f]{64})")


def push(engine: Engine, image: str, say: Say) -> str:
    """Push one tag and give its digest. Layers that arrived before a fault are not sent again.

    Raises the error that the last answer means; see :mod:`tasks.core.registry.faults`.
    """
    for pause in (*PAUSES, None):
        done = engine.docker("push", image)
        if done:
            found = _DIGEST.findall(done.stdout)
            return str(found[-1]) if found else ""
        said = last_words(done.stderr or done.stdout)
        if pause is None or not faults.is_passing(said):
            break
        say(f"pushing {image}: {said}; trying again")
        time.sleep(pause)
    reference = ImageReference.parse(image)
    raise faults.error_of(reference.host, reference.name, said)


def last_words(output: str) -> str:
    """The line of Docker's output that says why it failed: the last one, except for advice."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    cause = [line for line in lines if re.search(faults.PARTIAL, line)]
    return (cause or lines[-1:] or ["no answer"])[0]
