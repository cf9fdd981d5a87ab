"""Build the shared base image and the images of UDFs."""

from __future__ import annotations

from fnmatch import fnmatchcase

from invoke.context import Context
from invoke.tasks import task

from tasks import options
from tasks.core import builds, changes, report
from tasks.core import sbom as sboms
from tasks.core.engine import connect
from tasks.core.errors import UnknownUdfError
from tasks.core.interrupts import interruptible
from tasks.core.plan import Strategy
from tasks.core.settings import Settings
from tasks.core.udf import Refused, Udf, scan, select

_INTERRUPTED = "the build was interrupted; what was built until then stays in the cache"
_HOW = (
    *("registry", "python-image", "network", "platforms", "builder"),
    *("cache-to", "cache-from", "sdk", "force", "push", "metadata"),
)
_SHARED = ("udf", "root", "tag", *_HOW)


@task(
    auto_shortflags=False,
    help=options.of(*_HOW),
)
def base(
    c: Context,
    registry: str = "",
    python_image: str = "",
    network: str = "",
    platforms: str = "",
    builder: str = "",
    cache_to: str = "",
    cache_from: str = "",
    sdk: str = "",
    force: bool = False,
    push: bool = False,
    metadata: str = "",
) -> None:
    """Build the base image that all UDFs share, unless it is there."""
    settings = Settings.from_config(
        c.config,
        registry=registry,
        python_image=python_image,
        network=network,
        platforms=platforms,
        builder=builder,
        cache_to=cache_to,
        cache_from=cache_from,
        sdk=sdk,
    )
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


@task(auto_shortflags=False, iterable=["udf"], help=options.of(*_SHARED, "sbom", "json"))
def image_fast(
    c: Context,
    udf: list[str],
    root: str = "",
    registry: str = "",
    tag: str = "",
    python_image: str = "",
    network: str = "",
    platforms: str = "",
    builder: str = "",
    cache_to: str = "",
    cache_from: str = "",
    sdk: str = "",
    force: bool = False,
    push: bool = False,
    metadata: str = "",
    sbom: str = "",
    json: bool = False,
) -> None:
    """Build the image of one UDF on the shared base: the fast way."""
    settings = Settings.from_config(
        c.config,
        root=root,
        registry=registry,
        tag=tag,
        python_image=python_image,
        network=network,
        platforms=platforms,
        builder=builder,
        cache_to=cache_to,
        cache_from=cache_from,
        sdk=sdk,
    )
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


@task(auto_shortflags=False, iterable=["udf"], help=options.of(*_SHARED, "sbom", "json"))
def image(
    c: Context,
    udf: list[str],
    root: str = "",
    registry: str = "",
    tag: str = "",
    python_image: str = "",
    network: str = "",
    platforms: str = "",
    builder: str = "",
    cache_to: str = "",
    cache_from: str = "",
    sdk: str = "",
    force: bool = False,
    push: bool = False,
    metadata: str = "",
    sbom: str = "",
    json: bool = False,
) -> None:
    """Build the image of one UDF from nothing: the self-contained way."""
    settings = Settings.from_config(
        c.config,
        root=root,
        registry=registry,
        tag=tag,
        python_image=python_image,
        network=network,
        platforms=platforms,
        builder=builder,
        cache_to=cache_to,
        cache_from=cache_from,
        sdk=sdk,
    )
    _build(
        settings, udf, "optimized", force=force, push=push, metadata=metadata, sbom=sbom, json=json
    )


@task(
    auto_shortflags=False,
    iterable=["only", "exclude"],
    help=options.of(
        *_SHARED[1:],
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
def image_all(
    c: Context,
    only: list[str],
    exclude: list[str],
    root: str = "",
    registry: str = "",
    tag: str = "",
    python_image: str = "",
    network: str = "",
    platforms: str = "",
    builder: str = "",
    cache_to: str = "",
    cache_from: str = "",
    sdk: str = "",
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
    settings = Settings.from_config(
        c.config,
        root=root,
        registry=registry,
        tag=tag,
        python_image=python_image,
        network=network,
        platforms=platforms,
        builder=builder,
        cache_to=cache_to,
        cache_from=cache_from,
        sdk=sdk,
    )
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
    if not names:
        what = "no UDF is named"
        raise UnknownUdfError(what, next_step="give --udf, such as --udf map/even_odd")
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
