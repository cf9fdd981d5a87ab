"""Build the shared base image and the images of UDFs."""

from __future__ import annotations

from invoke.context import Context
from invoke.tasks import task

from tasks import options
from tasks.core import builds, report
from tasks.core.engine import connect
from tasks.core.plan import Strategy
from tasks.core.settings import Settings
from tasks.core.udf import select

_SHARED = ("udf", "root", "registry", "tag", "python-image", "network", "builder", "sdk")


@task(
    auto_shortflags=False,
    help=options.of("registry", "python-image", "network", "builder", "sdk", "force"),
)
def base(
    c: Context,
    registry: str = "",
    python_image: str = "",
    network: str = "",
    builder: str = "",
    sdk: str = "",
    force: bool = False,
) -> None:
    """Build the base image that all UDFs share, unless it is there."""
    settings = Settings.from_config(
        c.config,
        registry=registry,
        python_image=python_image,
        network=network,
        builder=builder,
        sdk=sdk,
    )
    engine = connect()
    image, plan = builds.plan_base(engine, settings, force=force)
    if plan.is_empty:
        report.show(f"{image.image} is there already: nothing to do (--force builds it again)")
        return
    seconds = builds.build_base(engine, settings, plan, say=report.say)
    report.show(f"{image.image} built in {report.seconds(seconds)}, also tagged {image.latest}")


@task(auto_shortflags=False, iterable=["udf"], help=options.of(*_SHARED, "force", "json"))
def image_fast(
    c: Context,
    udf: list[str],
    root: str = "",
    registry: str = "",
    tag: str = "",
    python_image: str = "",
    network: str = "",
    builder: str = "",
    sdk: str = "",
    force: bool = False,
    json: bool = False,
) -> None:
    """Build the image of one UDF on the shared base, in under a second."""
    settings = Settings.from_config(
        c.config,
        root=root,
        registry=registry,
        tag=tag,
        python_image=python_image,
        network=network,
        builder=builder,
        sdk=sdk,
    )
    _build(settings, udf, "shared-base", force=force, json=json)


def _build(
    settings: Settings, names: list[str], strategy: Strategy, *, force: bool, json: bool
) -> None:
    udfs = select(settings, names)
    engine = connect()
    plan = builds.plan_images(engine, settings, udfs, strategy=strategy, force=force)
    results = builds.build(engine, settings, plan, say=report.say)
    report.show(report.as_json(report.built_rows(results)) if json else report.built_lines(results))
    if error := builds.failed(results):
        raise error
