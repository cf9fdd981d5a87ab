"""UDFs with all that verifying them needs, read and checked before anything runs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from ..build.specs import base_of
from ..engine import Engine, builder
from ..inputs.added import added_packages
from ..inputs.old_sdk import too_old
from ..inputs.pipelines import Use, uses_of
from ..inputs.selection import Selected
from ..model.contract import (
    CONTRACTS,
    READ_BATCH,
    READ_TIMEOUT_MS,
    SIDE_INPUTS_FOLDER,
    WITHOUT_SERVER,
)
from ..model.errors import EmulationError, ProjectFileError, UdfError, VerifyFailedError
from ..model.places import CASES
from ..model.reading import shown
from ..model.settings import Settings
from ..model.udf import KINDS, Udf
from ..plan.specs import Base
from . import cases as reading
from . import load, pipelines
from .checks import CheckResult
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
    """One UDF to verify: its image, an image for the probe, and its cases.

    ``uses`` are the containers of manifests that run the image: it is started as these say, or
    with the ``args`` of one of its variants. ``checks`` are those that need no run.
    """

    udf: Udf
    image: str
    probe_image: str
    cases: Cases = field(repr=False)
    uses: tuple[Use, ...] = ()
    checks: tuple[CheckResult, ...] = ()
    args: tuple[str, ...] = ()

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
        use = self._use(container)
        answers = (
            conditions.answer * (len(own) + 4) + sum(case.within_ms for case in changes) / 1000
        )
        if conditions.load:
            messages = load.messages(self.udf.kind, own)
            spec["load"] = {
                "count": conditions.load,
                "batch": READ_BATCH,
                "messages": messages,
                "profile": conditions.profile,
            }
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
                **(use.literal_env if use else {}),
                "NUMAFLOW_UD_CONTAINER_TYPE": contract.type,
                **self.cases.env,
                **(self.cases.load_env if conditions.load else {}),
            },
            command=use.command if use else (),
            args=self.args or (use.args if use else ()),
            grace=conditions.grace,
            non_root=conditions.non_root,
            bounds=self.udf.bounds,
            platform=conditions.platform,
            probe_platform=conditions.platform if self.probe_image == self.image else "",
            # A probe that hangs must not hang the whole run.
            limit=conditions.ready * 2 + answers + conditions.grace + 30,
        )

    def _use(self, container: str) -> Use | None:
        """The first container of a manifest that stands where ``container`` does."""
        others = {"fallback": "fallback", "on-success": "onSuccess"}
        for use in self.uses:
            if others.get(container, "") == (use.place if use.place in others.values() else ""):
                return use
        return None


def candidates(
    engine: Engine, settings: Settings, selected: Selected, uses: Sequence[Use] | None = None
) -> list[Candidate | Verdict]:
    """Each selected UDF as a candidate, or the verdict on one that cannot be verified.

    Such a verdict has the error: an unknown kind, an invalid ``cases.toml``, an image that is
    not built. A UDF without ``cases.toml`` has no cases. Each of its variants is a candidate. The
    probe runs in the UDF's base image if the engine has it, else in the UDF's own image: both
    have gRPC and the protocol stubs. ``uses`` are containers of manifests, in the place of those
    in the folder of each UDF: then only what these run is a candidate.
    """
    found: dict[str, list[_Run] | UdfError] = {}
    found_bases: dict[tuple[str, str], Base] = {}
    for udf in selected.udfs:
        try:
            key = (udf.python, udf.base)
            if key not in found_bases:
                found_bases[key] = base_of(settings, *key)
            _check_sdk(settings, udf, found_bases[key])
            mine = uses_of(udf) if uses is None else [use for use in uses if use.names(udf)]
            runs = _runs(udf, mine)
            found[udf.name] = runs if uses is None else [each for each in runs if each.uses]
        except UdfError as error:
            found[udf.name] = error
    names = [udf.image(settings) for udf in selected.udfs if isinstance(found[udf.name], list)]
    bases = {key: base.image for key, base in found_bases.items()}
    existing = engine.images([*names, *bases.values()]) if names else {}
    result: list[Candidate | Verdict] = []
    for udf in selected.udfs:
        read = found[udf.name]
        if isinstance(read, UdfError):
            result.append(Verdict(udf=udf.name, kind=udf.kind, error=read))
            continue
        image = udf.image(settings)
        base = bases[udf.python, udf.base]
        try:
            if image not in existing:
                raise not_built([udf.name], [image])
            if not engine.is_native(existing[image]):
                check_platform(engine, f"linux/{existing[image].architecture}")
        except UdfError as error:
            result.append(Verdict(udf=udf.name, kind=udf.kind, image=image, error=error))
            continue
        # A base for another platform has the same name.
        is_there = base in existing and engine.is_native(existing[base])
        probe_image = base if is_there else image
        result += [Candidate(image=image, probe_image=probe_image, **vars(each)) for each in read]
    result += [Verdict(udf=each.name, error=each.error) for each in selected.invalid]
    return result


def _check_sdk(settings: Settings, udf: Udf, base: Base) -> None:
    """Raise the error of a UDF whose SDK writes no info file: Numaflow would wait in vain."""
    try:
        added = added_packages(udf, base.packages, python=base.python, sdk=settings.sdk is not None)
    except UdfError:
        return  # a build tells
    if problem := too_old(added, udf.kind):
        step = f"update pynumaflow in {shown(udf.path / added.source)}, then build it again"
        raise VerifyFailedError(problem, next_step=step)


@dataclass(frozen=True, kw_only=True)
class _Run:
    """What of a candidate is known without the engine."""

    udf: Udf
    cases: Cases
    uses: tuple[Use, ...]
    checks: tuple[CheckResult, ...]
    args: tuple[str, ...] = ()


def _runs(udf: Udf, uses: Sequence[Use]) -> list[_Run]:
    """Each program of an image: that of its variants, and the one that it starts by itself.

    With variants, the latter has to have cases, or a use of its own.
    """
    runs = []
    for variant in udf.variants:
        own = replace(udf, name=f"{udf.name}:{variant.name}", kind=variant.kind)
        mine = tuple(use for use in uses if pipelines.variant_of(udf, use) == variant)
        runs.append(
            _Run(
                udf=own,
                cases=_cases(own, variant.cases),
                uses=mine,
                checks=tuple(pipelines.check(udf, mine)),
                args=variant.args,
            )
        )
    plain = tuple(use for use in uses if pipelines.variant_of(udf, use) is None)
    if not runs or plain or (udf.path / CASES).exists():
        checks = tuple(pipelines.check(udf, plain))
        runs.insert(0, _Run(udf=udf, cases=_cases(udf, CASES), uses=plain, checks=checks))
    return runs


def check_platform(engine: Engine, platform: str) -> None:
    """Raise :class:`EmulationError` if the engine cannot run containers of ``platform``."""
    known = builder.inspect(engine.endpoint, engine.endpoint.builder).platforms
    if not any(f"{each}/".startswith(f"{platform}/") for each in known):
        what = f"this engine cannot run {platform}, only {', '.join(known)}"
        step = (
            "run verify on a machine of that platform, or register an emulator on this one "
            "(the package qemu-user-static)"
        )
        raise EmulationError(what, next_step=step)


def candidate(engine: Engine, settings: Settings, udf: Udf) -> Candidate:
    """The first candidate of one UDF. Raises the error of one that cannot be verified."""
    found, *_ = candidates(engine, settings, Selected(udfs=(udf,)))
    if isinstance(found, Candidate):
        return found
    assert found.error
    raise found.error


def _cases(udf: Udf, name: str) -> Cases:
    if not udf.kind and (without := _without_server(udf)):
        what = f"{udf.name} cannot be verified: pynumaflow has no server for a {without} yet"
        step = "leave it out with --exclude, or set kind under [tool.numaflow-udf]"
        raise ProjectFileError(what, next_step=step)
    if not udf.kind:
        what = f"the kind of {udf.name} is unknown: neither its path nor its pyproject.toml has it"
        step = f'set kind under [tool.numaflow-udf], such as kind = "map": {", ".join(KINDS)}'
        raise ProjectFileError(what, next_step=step)
    path = udf.path / name
    return reading.load(path, udf.kind) if path.exists() else Cases()


def _without_server(udf: Udf) -> str:
    """What it is by its path, of the kinds that the SDK has no server for; or ``""``."""
    names = [part.lower().replace("-", "").replace("_", "") for part in udf.name.split("/")]
    return next((name for name in names if name in WITHOUT_SERVER), "")
