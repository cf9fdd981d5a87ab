"""Build the shared base image and the images of UDFs."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from invoke.context import Context

from . import options
from .core.build import execute, results
from .core.build import report as texts
from .core.build.gather import plan_base, plan_images
from .core.engine import Engine, connect
from .core.inputs import group
from .core.inputs.recipe import Strategy
from .core.inputs.selection import Selected
from .core.model.errors import BuildxError, ConfigError, EngineUnreachableError
from .core.model.loading import lazily
from .core.model.progress import Say
from .core.model.settings import Settings
from .core.model.udf import scan
from .core.output import report, written
from .core.output.interrupts import interruptible
from .core.plan.decide import Plan

with lazily():
    from .core.build import bases, graph, signing
    from .core.upkeep import refresh as refreshing
    from .core.upkeep import sbom as sboms

_INTERRUPTED = "the build was interrupted; what was built so far stays in the cache"
_BASE = (
    *("registry", "python-image", "network", "platforms", "builder"),
    *("cache-to", "cache-from", "sdk"),
)
_IMAGES = ("root", "tag", *_BASE, "assemble")


@dataclass(frozen=True, kw_only=True)
class _How:
    """The flags of a build beside what is built."""

    force: bool = False
    no_cache: bool = False
    push: bool = False
    metadata: str = ""
    sbom: str = ""
    summary: str = ""
    outputs: str = ""
    checksums: str = ""
    sign: bool = False
    key: str = ""
    json: bool = False
    quiet: bool = False


@options.verb(
    settings=_BASE,
    help={"refresh": "first pin the newest Python images, and take Debian's updates for UDFs"},
)
def base(
    c: Context,
    settings: Settings,
    refresh: bool = False,
    force: bool = False,
    no_cache: bool = False,
    push: bool = False,
    metadata: str = "",
    quiet: bool = False,
) -> None:
    """Build the base image that all UDFs share, unless it exists."""
    written.check(metadata=metadata)
    if told := group.source():
        _say(quiet)(told)
    engine = connect(settings.builder) if settings.builds else None
    if refresh:
        udfs, _ = scan(settings)
        settings = refreshing.refresh(engine, settings, udfs, say=_say(quiet))
    plan = plan_base(engine, settings, force=force, fresh=no_cache, push=push)
    with interruptible(_INTERRUPTED):
        made = bases.build_base(engine, settings, plan, say=_say(quiet))
    report.show(made.reference if quiet else texts.base_line(made))
    if metadata:
        report.write(metadata, results.metadata(engine, settings, [made]))


@options.verb(settings=_IMAGES, udfs="named", flags=_How)
def image_fast(c: Context, settings: Settings, selected: Selected, how: _How) -> None:
    """Build the images of UDFs on the shared base: the fast way."""
    _build(settings, selected, "shared-base", how)


@options.verb(settings=_IMAGES, udfs="named", flags=_How)
def image(c: Context, settings: Settings, selected: Selected, how: _How) -> None:
    """Build the images of UDFs from nothing: the self-contained way."""
    _build(settings, selected, "optimized", how)


@options.verb(
    settings=_IMAGES,
    udfs="all",
    flags=_How,
    help={
        "fast": "build on the shared base; --no-fast builds each from nothing",
        "dry-run": "print the bake definition and build nothing",
    },
)
def image_all(
    c: Context,
    settings: Settings,
    selected: Selected,
    how: _How,
    fast: bool = True,
    dry_run: bool = False,
) -> None:
    """Build the images of all UDFs that changed, in one graph."""
    strategy: Strategy = "shared-base" if fast else "optimized"
    if dry_run:
        if not settings.builds:
            what = "with --builder none, there is no bake definition to print"
            raise ConfigError(what, next_step="give --dry-run without --builder none")
        engine = connect(settings.builder)
        plan = _plan(engine, settings, selected, strategy, how)
        report.show(report.as_json(graph.definition_of(engine, settings, plan)))
        return
    _build(settings, selected, strategy, replace(how, sbom=options.folder(how.sbom)), many=True)


def _build(
    settings: Settings, selected: Selected, strategy: Strategy, how: _How, *, many: bool = False
) -> None:
    written.check(
        metadata=how.metadata,
        summary=how.summary,
        outputs=how.outputs,
        checksums=how.checksums,
    )
    if how.sign or how.key:
        signing.check_sign(sign=how.sign, push=how.push, key=how.key)
    if how.sbom:
        sboms.check(selected.udfs, how.sbom)
    engine = _engine(settings, how)
    plan = _plan(engine, settings, selected, strategy, how)
    title = f"building {len(plan.to_build)} of {len(plan.steps)} images"
    folded = report.fold(title) if many and not how.quiet else nullcontext()
    with interruptible(_INTERRUPTED), folded:
        made = execute.build(engine, settings, plan, say=_say(how.quiet))
    if how.sign:
        signing.sign([each.reference for each in made if each and each.digest], how.key)
    if how.json:
        report.show(report.as_json([each.row() for each in made]))
    elif how.quiet:
        report.show("\n".join(each.reference for each in made if each))
    else:
        report.show(texts.text_table(made) if many else texts.lines(made))
    if how.metadata:
        report.write(how.metadata, results.metadata(engine, settings, made))
    if how.sbom and engine is not None:
        specs = {step.spec.udf.name: step.spec for step in plan.steps}
        sboms.write_built(engine, settings, selected.udfs, made, how.sbom, specs)
    if how.summary:
        report.append(how.summary, "Images", texts.summary(made))
    if how.outputs:
        written.write(Path(how.outputs), results.outputs(made), append=True)
    if how.checksums:
        written.write(Path(how.checksums), results.checksums(made))
    if error := results.failed(made):
        raise error


def _plan(
    engine: Engine | None, settings: Settings, selected: Selected, strategy: Strategy, how: _How
) -> Plan:
    return plan_images(
        *(engine, settings, selected),
        strategy=strategy,
        force=how.force,
        fresh=how.no_cache,
        push=how.push,
    )


def _engine(settings: Settings, how: _How) -> Engine | None:
    """The engine to build with; a push does without where none answers."""
    if not settings.builds:
        if how.sbom:
            what = "--sbom reads images with Docker, and --builder none makes them without"
            raise ConfigError(what, next_step="`invoke sbom`, where Docker is; or leave it out")
        return None
    try:
        return connect(settings.builder)
    except (EngineUnreachableError, BuildxError):
        if not how.push or how.sbom or settings.assemble == "never":
            raise
        return None


def _say(quiet: bool) -> Say:
    return (lambda line: None) if quiet else report.say
