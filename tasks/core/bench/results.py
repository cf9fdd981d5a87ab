"""What was measured: every sample, and what it was taken on. Read from JSON and written to it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Final

from ..model.errors import ConfigError

FORMAT: Final = 1
"""Raised when a key changes its meaning or goes away."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One measured build.

    ``seconds`` is the wall time of the whole process, or of all where there are several;
    ``context_bytes`` were sent to the builder. Of the image: ``image_bytes`` is its size,
    ``unique_bytes`` what no other UDF's image of the approach holds, ``new_bytes`` what was
    not there before this build, and ``push_bytes`` the same as a push sends it, compressed; of
    a scenario that pushes, what the registry got. ``peak_bytes`` is the memory of the largest
    process of the client. What was not looked at is ``None``. ``strategy`` names the approach.
    """

    scenario: str
    strategy: str
    round: int
    seconds: float
    context_bytes: int | None = None
    image_bytes: int | None = None
    unique_bytes: int | None = None
    new_bytes: int | None = None
    push_bytes: int | None = None
    peak_bytes: int | None = None


@dataclass(frozen=True, kw_only=True)
class ScaleSample:
    """One measured task on ``udfs`` generated UDFs. ``peak_bytes`` is the largest process's."""

    step: str
    udfs: int
    round: int
    seconds: float
    peak_bytes: int


@dataclass(kw_only=True)
class Results:
    """A measurement. It grows while it is taken, and can be shown at any moment of it.

    ``repeated`` counts builds that failed and were run once more; their time is in no sample.
    ``parts`` are the runs that it was taken in.
    """

    measured: str = ""
    quick: bool = False
    complete: bool = False
    machine: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    engine: dict[str, Any] = field(default_factory=dict)
    udfs: int = 0
    repeated: int = 0
    parts: int = 1
    samples: list[Sample] = field(default_factory=list)
    scale: list[ScaleSample] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """The measurement under stable keys."""
        rows = asdict(self)
        return {"format": FORMAT, **rows}

    def write(self, path: Path) -> None:
        """Write it as JSON, one sample a line, so that two of them can be compared by eye."""
        data = self.as_dict()
        lines = [f"  {json.dumps(key)}: {_value(key, value)}" for key, value in data.items()]
        path.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Results:
        """A measurement that was written; :class:`ConfigError` where it cannot be used."""
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            if data.pop("format") != FORMAT:
                raise _unusable(path, "it has another format")
            samples = [Sample(**row) for row in data.pop("samples")]
            scale = [ScaleSample(**row) for row in data.pop("scale")]
            known = {each.name for each in fields(cls)}
            kept = {key: value for key, value in data.items() if key in known}
            return cls(**kept, samples=samples, scale=scale)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise _unusable(path, str(error)) from error


def _value(key: str, value: object) -> str:
    if key in ("samples", "scale") and isinstance(value, list) and value:
        rows = ",\n".join(f"    {json.dumps(_short(row))}" for row in value)
        return f"[\n{rows}\n  ]"
    return json.dumps(value)


def _short(row: Mapping[str, Any]) -> dict[str, Any]:
    """A sample without what was not looked at, and with seconds to the tenth of a millisecond."""
    return {
        key: round(value, 4) if isinstance(value, float) else value
        for key, value in row.items()
        if value is not None
    }


def _unusable(path: Path, why: str) -> ConfigError:
    what = f"{path} is not a measurement of `invoke bench`: {why}"
    return ConfigError(what, next_step="write one with `invoke bench --json FILE`")
