"""`invoke why`: what differs between a UDF as it is and its image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..engine import Engine, content
from ..inputs.files import ContextFile
from ..inputs.fingerprint import difference
from ..inputs.recipe import Strategy
from ..model import labels
from ..model.labels import FILE, FILES, Inputs, RecordedInputs, recorded
from ..model.settings import Settings
from ..model.udf import Udf
from ..plan.specs import ImageSpec
from .specs import spec_of


@dataclass(frozen=True, kw_only=True)
class ChangedInputs:
    """What differs between a UDF as it is and its image.

    ``inputs`` are ``(name, in the image, now)``; inputs of the base have ``base:`` before their
    name. ``built`` says whether the image exists, and ``known`` whether it says what it was
    made from.
    """

    name: str
    image: str
    built: bool
    known: bool = True
    inputs: tuple[tuple[str, str, str], ...] = ()

    def row(self) -> dict[str, Any]:
        """The difference with the stable keys of ``--json``."""
        return {
            "udf": self.name,
            "image": self.image,
            "built": self.built,
            "known": self.known,
            "differences": [
                {"input": name, "image": before, "now": now} for name, before, now in self.inputs
            ],
        }


def differences(engine: Engine, settings: Settings, udfs: Sequence[Udf]) -> list[ChangedInputs]:
    """What differs between each UDF and its image, by the strategy that built the image."""
    images = engine.images([udf.image(settings) for udf in udfs])
    bases: dict[str, str] = {}
    result = []
    for udf in udfs:
        image = images.get(udf.image(settings))
        strategy: Strategy = "shared-base"
        if image and image.labels.get(labels.STRATEGY) == "optimized":
            strategy = "optimized"
        spec = spec_of(settings, udf, strategy)
        was = recorded(image.labels) if image else None
        if was and FILES in was.inputs:
            was = replace(was, inputs=_with_files(engine, spec, was))
        found = changed_inputs(spec, was)
        if image and was and was.base_fingerprint == spec.base.fingerprint:
            base = spec.base.image
            if base not in bases:
                stored = engine.images([base]).get(base)
                bases[base] = stored.labels.get(labels.BASE_PYTHON, "") if stored else ""
            found = with_content(found, image.labels.get(labels.BASE_PYTHON, ""), bases[base])
        result.append(found)
    return result


def with_content(found: ChangedInputs, image: str, base: str) -> ChangedInputs:
    """The difference with that of the Python image's content, where both are recorded.

    A tag may mean another image than when the first of two equal bases was made.
    """
    if not labels.differ(image, base):
        return found
    row = ("base: content of the Python image", labels.brief(image), labels.brief(base))
    return replace(found, inputs=(*found.inputs, row))


def _with_files(engine: Engine, spec: ImageSpec, image: RecordedInputs) -> Inputs:
    """What an image was made from, with the files that its label could not list.

    The image itself has them.
    """
    if image.fingerprint == spec.fingerprint:
        return spec.inputs
    others = {name: state for name, state in image.inputs.items() if name != FILES}
    files = [
        ContextFile(
            path=held.path, digest=held.digest, executable=held.executable, target=held.target
        )
        for held in content.held_files(engine, spec.image, "/udf")
    ]
    return others | {f"{FILE}{file.path}": file.state for file in files}


def changed_inputs(spec: ImageSpec, image: RecordedInputs | None) -> ChangedInputs:
    """What differs between a spec and an image that was built."""
    name, reference = spec.udf.name, spec.image
    if image is None:
        return ChangedInputs(name=name, image=reference, built=False)
    if not image.inputs:
        return ChangedInputs(name=name, image=reference, built=True, known=False)
    rows = difference(image.inputs, spec.inputs)
    if image.base_fingerprint != spec.base.fingerprint:
        base = difference(image.base_inputs, spec.base.inputs)
        rows += [(f"base: {name}", before, now) for name, before, now in base]
    return ChangedInputs(name=name, image=reference, built=True, inputs=tuple(rows))
