"""UDFs with all that verifying them needs, read and checked before anything runs."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Final

from ..build.specs import base_of
from ..engine import Engine
from ..inputs.selection import Selected
from ..model.contract import (
    CONTRACTS,
    READ_BATCH,
    READ_TIMEOUT_MS,
    SIDE_INPUTS_FOLDER,
)
from ..model.errors import ProjectFileError, UdfError
from ..model.settings import Settings
from ..model.udf import KINDS, Udf
from . import cases as reading
from . import load
from .conditions import Conditions
from .messages import Cases, encoded
from .probing import ProbeRun
from .verdict import Verdict, not_built

# What Numaflow's controller sets in the pod of a vertex, and a UDF may read.
_POD: Final = {
    "NUMAFLOW_NAMESPACE": "default",
    "NUMAFLOW_PIPELINE_NAME": "verify",
    "NUMAFLOW_VERTEX_NAME": "udf",
    "NUMAFLOW_POD": "verify-udf-0",
    "NUMAFLOW_REPLICA": "0",
    # Of a container without resources, whose limits are those of the host.
    "NUMAFLOW_CPU_REQUEST": "0",
    "NUMAFLOW_MEMORY_REQUEST": "0",
}
_SOURCE: Final = {
    "NUMAFLOW_READ_BATCH_SIZE": str(READ_BATCH),
    "NUMAFLOW_READ_TIMEOUT_MS": str(READ_TIMEOUT_MS),
}

# With it, Python writes the time of each import to stderr. It adds some hundredths of a second.
_IMPORTS: Final = {"PYTHONPROFILEIMPORTTIME": "1"}


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One UDF to verify: its image, an image for the probe, and its cases."""

    udf: Udf
    image: str
    probe_image: str
    cases: Cases = field(repr=False)

    def probe_run(self, container: str, conditions: Conditions) -> ProbeRun:
        """The run of one of its containers; only a sink has others than ``main``."""
        contract = CONTRACTS[self.udf.kind, container]
        own = self.cases.of(container)
        changes = [case for case in own if case.side_inputs]
        reads_side_inputs = bool(self.cases.side_inputs or changes)
        spec = {
            "kind": contract.kind,
            "container": contract.container,
            "ready_seconds": conditions.ready,
            "answer_seconds": conditions.answer,
            "side_inputs_folder": SIDE_INPUTS_FOLDER if reads_side_inputs else "",
            "side_inputs": encoded(self.cases.side_inputs),
            "restart": conditions.restart,
            "cases": [case.spec() for case in own],
        }
        answers = (
            conditions.answer * (len(own) + 4) + sum(case.within_ms for case in changes) / 1000
        )
        if conditions.load:
            messages = load.messages(self.udf.kind, own)
            spec["load"] = {"count": conditions.load, "batch": READ_BATCH, "messages": messages}
            answers += load.LONGEST_SECONDS
        return ProbeRun(
            image=self.image,
            probe_image=self.probe_image,
            spec=spec,
            env={
                **_POD,
                **(_SOURCE if self.udf.kind == "source" else {}),
                "NUMAFLOW_CPU_LIMIT": str(os.cpu_count() or 1),
                "NUMAFLOW_MEMORY_LIMIT": str(self.udf.bounds.memory_bytes),
                **_IMPORTS,
                "NUMAFLOW_UD_CONTAINER_TYPE": contract.type,
                **self.cases.env,
                **(self.cases.load_env if conditions.load else {}),
            },
            grace=conditions.grace,
            non_root=conditions.non_root,
            bounds=self.udf.bounds,
            # A probe that hangs must not hang the whole run.
            limit=conditions.ready * 2 + answers + conditions.grace + 30,
        )


def candidates(engine: Engine, settings: Settings, selected: Selected) -> list[Candidate | Verdict]:
    """Each selected UDF as a candidate, or the verdict on one that cannot be verified.

    Such a verdict has the error: an unknown kind, an invalid ``cases.toml``, an image that is
    not built. A UDF without ``cases.toml`` has no cases. The probe runs in the UDF's base image
    if the engine has it, else in the UDF's own image: both have gRPC and the protocol stubs.
    """
    found: dict[str, tuple[Cases, str] | UdfError] = {}
    bases: dict[str, str] = {}
    for udf in selected.udfs:
        try:
            if udf.python not in bases:
                bases[udf.python] = base_of(settings, udf.python).image
            found[udf.name] = _cases(udf), udf.image(settings)
        except UdfError as error:
            found[udf.name] = error
    names = [each[1] for each in found.values() if isinstance(each, tuple)]
    existing = engine.images([*names, *bases.values()]) if names else {}
    result: list[Candidate | Verdict] = []
    for udf in selected.udfs:
        read = found[udf.name]
        if isinstance(read, UdfError):
            result.append(Verdict(udf=udf.name, kind=udf.kind, error=read))
            continue
        cases, image = read
        base = bases[udf.python]
        if image not in existing:
            missing = not_built([udf.name], [image])
            result.append(Verdict(udf=udf.name, kind=udf.kind, image=image, error=missing))
        else:
            probe_image = base if base in existing else image
            result.append(Candidate(udf=udf, image=image, probe_image=probe_image, cases=cases))
    result += [Verdict(udf=each.name, error=each.error) for each in selected.invalid]
    return result


def candidate(engine: Engine, settings: Settings, udf: Udf) -> Candidate:
    """The candidate for one UDF. Raises the error of one that cannot be verified."""
    (found,) = candidates(engine, settings, Selected(udfs=(udf,)))
    if isinstance(found, Candidate):
        return found
    assert found.error
    raise found.error


def _cases(udf: Udf) -> Cases:
    if not udf.kind:
        what = f"the kind of {udf.name} is unknown: neither its path nor its pyproject.toml has it"
        step = f'set kind under [tool.numaflow-udf], such as kind = "map": {", ".join(KINDS)}'
        raise ProjectFileError(what, next_step=step)
    path = udf.path / "cases.toml"
    return reading.load(path, udf.kind) if path.exists() else Cases()
