"""What our images say of themselves: the names of their labels, and what the labels hold."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

PREFIX: Final = "io.numaflow.udf"
FINGERPRINT: Final = f"{PREFIX}.fingerprint"
INPUTS: Final = f"{PREFIX}.inputs"
BASE_FINGERPRINT: Final = f"{PREFIX}.base.fingerprint"
BASE_INPUTS: Final = f"{PREFIX}.base.inputs"
BASE_MADE_BY: Final = f"{PREFIX}.base.made-by"
"""On a base that no builder made: what made it."""
BASE_PYTHON: Final = f"{PREFIX}.base.python"
"""What the Python image of the base was: its digest, or that of its layers."""
NAME: Final = f"{PREFIX}.name"
KIND: Final = f"{PREFIX}.kind"
STRATEGY: Final = f"{PREFIX}.strategy"
VERIFY_RUN: Final = f"{PREFIX}.verify"
"""On each container and volume that verify makes; its value is the id of the run."""
VERIFY_CLIENT: Final = f"{PREFIX}.verify.client"
"""On the same; its value names the process that made it."""

EPOCH: Final = 315532800
"""The time of every file and image, in seconds: 1980-01-01, the earliest that a ZIP can hold."""

FILES: Final = "files"
"""The input that stands for all files of a UDF, where their list is too long for a label."""

FILE: Final = "file "
"""What the name of an input that is a file starts with."""

LARGEST: Final = 64 * 1024
"""Bytes of a label that lists inputs: beyond, files are recorded as one."""

Inputs = Mapping[str, str]
"""What an image is made from: readable name to readable state."""


@dataclass(frozen=True, kw_only=True)
class RecordedInputs:
    """What an image was made from, as its labels say; empty where they do not."""

    fingerprint: str = ""
    inputs: Inputs = field(default_factory=dict)
    base_fingerprint: str = ""
    base_inputs: Inputs = field(default_factory=dict)


def recorded(labels: Mapping[str, str]) -> RecordedInputs:
    """What ``labels`` say of the inputs of their image."""
    return RecordedInputs(
        fingerprint=labels.get(FINGERPRINT, ""),
        inputs=_mapping(labels.get(INPUTS, "")),
        base_fingerprint=labels.get(BASE_FINGERPRINT, ""),
        base_inputs=_mapping(labels.get(BASE_INPUTS, "")),
    )


def differ(one: str, other: str) -> bool:
    """Whether two values of :data:`BASE_PYTHON` are known to be of different content."""
    kinds = {each.partition(":")[0] for each in (one, other)}
    return one != other and len(kinds) == 1


def brief(content: str) -> str:
    """A value of :data:`BASE_PYTHON` as it is shown."""
    return content.partition(":")[2][:12]


def packed(inputs: Inputs) -> str:
    """Inputs as the text of a label: the same for the same inputs."""
    return json.dumps(dict(inputs), sort_keys=True, separators=(",", ":"))


def recordable(inputs: Inputs) -> str:
    """Inputs as the text of a label of bounded size: a long list of files is one input."""
    text = packed(inputs)
    return text if len(text) <= LARGEST else packed(files_as_one(inputs))


def files_as_one(inputs: Inputs) -> dict[str, str]:
    """Inputs with their files as one input: their number, and a digest of the list."""
    files = {name: state for name, state in inputs.items() if name.startswith(FILE)}
    digest = hashlib.sha256(packed(files).encode()).hexdigest()
    others = {name: state for name, state in inputs.items() if name not in files}
    return {**others, FILES: f"{len(files)} files, {digest[:12]}"}


def _mapping(text: str) -> dict[str, str]:
    try:
        value = json.loads(text) if text else {}
    except ValueError:
        return {}
    if not isinstance(value, dict):
        return {}
    return {str(name): str(state) for name, state in value.items()}
