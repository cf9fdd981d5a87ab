"""Build the shared base image and the images of UDFs."""

from __future__ import annotations

from fnmatch import fnmatchcase

from invoke.context import Context
from invoke.tasks import task

from . import options
from .core.build import builds
from .core.engine import connect
from .core.inputs import changes
from .core.model.errors import UnknownUdfError
from .core.model.settings import Settings
from .core.model.udf import Refused, Udf, scan, select
from .core.output import report
from .core.output.interrupts import interruptible
from .core.plan.plan import Strategy
from .core.upkeep import sbom as sboms

_INTERRUPTED = "the build was interrupted; what was built until then stays in the cache"
_BASE = (
    *("registry", "python-image", "network", "platforms", "builder"),
    *("cache-to", "cache-from", "sdk"),
)
_IMAGES = ("root", "tag", *_BASE)
_HOW = ("force", "push", "metadata")


@task(auto_shortflags=False, help=options.of(*_BASE, *_HOW))
@options.with_settings(*_BASE)
def base(
    c: Context,
    settings: Settings,
    force: bool = False,
    push: bool = False,
    metadata: str = "",
) -> None:
    """Build the base image that all UDFs share, unless it is there."""
    engine = connect(settings.builder)
    image, plan = builds.plan_base(engine, settings, force=force, push=push)
    if plan.is_empty:
        made = builds.have_base(engine, settings, image, plan)
    else:
        with interruptible(_INTERRUPTED):
            made = builds.build_base(engine, settings, image, plan, say=report.say)
    if metadata:
        report.write(metadata, builds.metadata(engine, settings, [made]))
    report.show(report.base_line(made))


@task(
    auto_shortflags=False,
    iterable=["udf"],
    help=options.of("udf", *_IMAGES, *_HOW, "sbom", "json"),
)
@options.with_settings(*_IMAGES)
def image_fast(
    c: Context,
    settings: Settings,
    udf: list[str],
    force: bool = False,
    push: bool = False,
    metadata: str = "",
    sbom: str = "",
    json: bool = False,
) -> None:
    """Build the image of one UDF on the shared base: the fast way."""
    _build(
        settings,
        udf,
        "shared-base",
        force=force,
        push=push,
        metadata=metadata,
        sbom=sbom,
        json=json,
    )


@task(
    auto_shortflags=False,
    iterable=["udf"],
    help=options.of("udf", *_IMAGES, *_HOW, "sbom", "json"),
)
@options.with_settings(*_IMAGES)
def image(
    c: Context,
    settings: Settings,
    udf: list[str],
    force: bool = False,
    push: bool = False,
    metadata: str = "",
    sbom: str = "",
    json: bool = False,
) -> None:
    """Build the image of one UDF from nothing: the self-contained way."""
    _build(
        settings, udf, "optimized", force=force, push=push, metadata=metadata, sbom=sbom, json=json
    )


@task(
    auto_shortflags=False,
    iterable=["only", "exclude"],
    help=options.of(
        *_IMAGES,
        *_HOW,
        "sbom",
        "json",
        **{
            "fast": "build on the shared base; --no-fast builds each from nothing",
            "only": "build only UDFs that match this pattern, such as 'map/*'",
            "exclude": "leave out UDFs that match this pattern",
            "changed-since": "build only what changed since this git revision",
            "summary": options.SUMMARY,
            "dry-run": "print the bake definition and build nothing",
        },
    ),
)
@options.with_settings(*_IMAGES)
def image_all(
    c: Context,
    settings: Settings,
    only: list[str],
    exclude: list[str],
    changed_since: str = "",
    summary: str = "",
    fast: bool = True,
    force: bool = False,
    push: bool = False,
    metadata: str = "",
    sbom: str = "",
    dry_run: bool = False,
    json: bool = False,
) -> None:
    """Build the images of all UDFs that changed, in one graph."""
    strategy: Strategy = "shared-base" if fast else "optimized"
    udfs, refused = _matching(settings, only, exclude)
    if changed_since:
        udfs = changes.changed_since(settings, udfs, changed_since, strategy)
    if sbom:
        sbom = options.folder(sbom)
        sboms.check(udfs, sbom)
    engine = connect(settings.builder)
    plan = builds.plan_images(
        engine, settings, udfs, strategy=strategy, force=force, refused=refused, push=push
    )
    if dry_run:
        report.show(report.as_json(builds.definition_of(engine, settings, plan)))
        return
    title = f"building {len(plan.to_build)} of {len(plan.steps)} images"
    with interruptible(_INTERRUPTED), report.fold(title):
        results = builds.build(engine, settings, plan, say=report.say)
    if metadata:
        report.write(metadata, builds.metadata(engine, settings, results))
    if sbom:
        sboms.write_built(engine, settings, udfs, results, sbom)
    if summary:
        report.append(summary, "Images", report.built_markdown(results))
    report.show(report.as_json(report.built_rows(results)) if json else report.built_table(results))
    if error := builds.failed(results):
        raise error


def _matching(
    settings: Settings, only: list[str], exclude: list[str]
) -> tuple[list[Udf], list[Refused]]:
    """The UDFs, and those that cannot be used, whose names the patterns let through."""
    udfs, refused = scan(settings)

    def wanted(name: str) -> bool:
        chosen = not only or any(fnmatchcase(name, pattern) for pattern in only)
        return chosen and not any(fnmatchcase(name, pattern) for pattern in exclude)

    names = [*(udf.name for udf in udfs), *(each.name for each in refused)]
    for pattern in only:
        if not any(fnmatchcase(name, pattern) for name in names):
            what = f"no UDF matches --only '{pattern}'"
            raise UnknownUdfError(what, next_step="run `invoke list` to see the UDFs")
    return (
        [udf for udf in udfs if wanted(udf.name)],
        [each for each in refused if wanted(each.name)],
    )


def _build(
    settings: Settings,
    names: list[str],
    strategy: Strategy,
    *,
    force: bool,
    push: bool,
    metadata: str,
    sbom: str,
    json: bool,
) -> None:
    udfs = select(settings, names)
    if sbom:
        sboms.check(udfs, sbom)
    engine = connect(settings.builder)
    plan = builds.plan_images(engine, settings, udfs, strategy=strategy, force=force, push=push)
    with interruptible(_INTERRUPTED):
        results = builds.build(engine, settings, plan, say=report.say)
    if metadata:
        report.write(metadata, builds.metadata(engine, settings, results))
    if sbom:
        sboms.write_built(engine, settings, udfs, results, sbom)
    report.show(report.as_json(report.built_rows(results)) if json else report.built_lines(results))
    if error := builds.failed(results):
        raise error
