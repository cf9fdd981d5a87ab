"""What has to be made, and why: settings, specs and facts in, a plan out. Pure: no I/O.

Every decision of a build is here. Whatever carries a plan out adds results to it, and every
reason that the table, ``invoke why`` and ``--dry-run`` show comes from it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from ..inputs.fingerprint import difference, digest
from ..model.errors import ConfigError, EngineUnreachableError
from ..model.labels import FILES, Inputs, RecordedInputs, files_as_one
from ..model.loading import lazily
from ..model.settings import Settings
from ..model.udf import InvalidUdf
from .facts import BuilderFacts, Facts, added_bytes
from .specs import Base, ImageSpec, check_images

with lazily():
    from . import emulation, without_builder

Source = Literal["store", "registry"]
Way = Literal["assemble", "build"]


@dataclass(frozen=True, kw_only=True)
class BaseStep:
    """A base of a plan: made because of ``reason``, or used as it is where that is empty.

    ``source`` says where builds start from: the engine's store, or the registry for a builder
    that does not see it. ``digest`` is that in the registry, where known. ``stored`` says that
    the store has it, ``named`` that it has it under the name that local builds start from.
    ``reuse`` says that it need not be built where the store has it after all, from another run
    or from the registry. ``bytecode`` says whether it gets bytecode.
    """

    base: Base
    reason: str = ""
    source: Source = "store"
    digest: str = ""
    stored: bool = False
    named: bool = False
    reuse: bool = True
    bytecode: bool = True

    @property
    def start(self) -> str:
        """The name that builds start from."""
        return self.base.local if self.source == "store" else self.base.image


@dataclass(frozen=True, kw_only=True)
class Step:
    """One image of a plan: built because of ``reason``, or unchanged where it is empty.

    ``way`` says how: assembled from layers, or built by the builder as a whole.
    ``added`` is what an unchanged image holds beyond its base, in bytes, where it is known.
    ``digest`` is that of the image in its registry, where a push has found it there.
    ``emulated`` says which of its platforms the builder emulates, and for what;
    ``from_source`` are the packages that make it so.
    """

    spec: ImageSpec
    way: Way = "build"
    reason: str = ""
    added: int | None = None
    digest: str = ""
    emulated: tuple[str, ...] = ()
    from_source: tuple[str, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know of this image, one line each."""
        return (*self.spec.notes, *self.emulated)


@dataclass(frozen=True, kw_only=True)
class PackagesStep:
    """A packages layer that has to be made, for one platform; ``users`` are all that add it.

    ``key`` is its name in the layer cache, and ``spec`` an image that needs it. Not each gets
    ``bytecode``.
    """

    key: str
    platform: str
    spec: ImageSpec
    users: tuple[str, ...]
    from_source: bool = False
    bytecode: bool = True


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to make: ``bases`` that the images to build stand on, ``steps`` for all images.

    ``packages`` are the packages layers that assembled images need and that do not exist;
    ``invalid`` are UDFs that cannot be built as they are. ``push`` says that a registry gets
    what it does not have. ``linked`` says that builds cannot start from the engine's store:
    the builder does not see it, or it may not hold all platforms. A base that is made is then
    part of the graph of the images. ``attest`` says that what is pushed tells its origin, and
    ``fresh`` that steps run again: nothing comes from a cache of builds. ``installs`` says that
    this machine makes bases and packages, and no builder does.
    """

    bases: tuple[BaseStep, ...] = ()
    packages: tuple[PackagesStep, ...] = ()
    steps: tuple[Step, ...] = ()
    invalid: tuple[InvalidUdf, ...] = ()
    push: bool = False
    linked: bool = False
    attest: bool = False
    fresh: bool = False
    installs: bool = False

    @property
    def to_build(self) -> tuple[Step, ...]:
        return tuple(step for step in self.steps if step.reason)

    @property
    def to_assemble(self) -> tuple[Step, ...]:
        return tuple(step for step in self.to_build if step.way == "assemble")

    @property
    def missing_bases(self) -> tuple[BaseStep, ...]:
        return tuple(each for each in self.bases if each.reason)

    @property
    def is_empty(self) -> bool:
        return not self.missing_bases and not self.to_build

    def base_of(self, step: Step) -> BaseStep:
        """The base of a step that is built."""
        found = {each.base.image: each for each in self.bases}
        return found.get(step.spec.base.image) or BaseStep(base=step.spec.base)

    def with_bases(self, made: Mapping[str, str]) -> Plan:
        """The plan once these bases exist: their images, each with its digest or ``""``."""
        bases = tuple(
            replace(
                each,
                reason="",
                stored=each.stored or not self.linked,
                digest=made[each.base.image],
                source="registry" if self.linked and made[each.base.image] else each.source,
            )
            if each.base.image in made
            else each
            for each in self.bases
        )
        return replace(self, bases=bases)


def decide(
    settings: Settings,
    specs: Sequence[ImageSpec],
    facts: Facts,
    *,
    force: bool = False,
    fresh: bool = False,
    push: bool = False,
    invalid: Iterable[InvalidUdf] = (),
) -> Plan:
    """What has to be made for ``specs``.

    With ``push``, an image is made where the registry does not have its content; else where
    the engine's store does not have it under its name. ``invalid`` UDFs are passed on to the
    plan; ``fresh`` goes with ``force``. Raises :class:`ConfigError`, :class:`ImageNameError` or
    :class:`EmulationError` where nothing of this can be built.
    """
    check_images(settings, [spec.udf for spec in specs])
    check_platforms(settings, facts, push=push)
    steps = tuple(_step(settings, spec, facts, force=force, push=push) for spec in specs)
    steps, refused = _without_refused(settings, steps, facts)
    built_on = {step.spec.base.image for step in steps if step.reason and step.way == "build"}
    bases = tuple(
        _base_step(settings, base, facts, push=push, builds=base.image in built_on)
        for base in needed_bases(steps).values()
    )
    plan = Plan(
        bases=bases,
        packages=_packages(settings, steps, facts),
        steps=steps,
        invalid=(*invalid, *refused),
        push=push,
        linked=is_linked(settings, facts),
        attest=push and _can_attest(facts.builder),
        fresh=fresh,
        installs=facts.host is not None,
    )
    check_builder(plan, facts)
    return plan


def decide_base(
    settings: Settings,
    base: Base,
    facts: Facts,
    *,
    force: bool = False,
    fresh: bool = False,
    push: bool = False,
) -> Plan:
    """What has to be made so that ``base`` exists: in the registry, or else in the store."""
    check_platforms(settings, facts, push=push)
    step = _base_step(settings, base, facts, push=push, builds=False)
    if force:
        step = replace(step, reason="forced", reuse=False)
    plan = Plan(
        bases=(step,),
        push=push,
        linked=is_linked(settings, facts),
        attest=push and _can_attest(facts.builder),
        fresh=fresh,
        installs=facts.host is not None,
    )
    if plan.installs and step.reason:
        without_builder.check_base(settings, base)
    check_builder(plan, facts)
    return plan


def reason(inputs: Inputs, recorded: RecordedInputs | None, *, force: bool = False) -> str:
    """Why an image has to be built, in a few words; ``""`` where it need not be."""
    if force:
        return "forced"
    if recorded is None:
        return "not built yet"
    if recorded.fingerprint == digest(inputs):
        return ""
    now = files_as_one(inputs) if FILES in recorded.inputs else inputs
    changed = [name for name, *_ in difference(recorded.inputs, now)]
    if not recorded.inputs or not changed:
        return "built by other means"
    if "strategy" in changed:
        return f"built as {recorded.inputs.get('strategy', 'another kind of image')}"
    rest = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
    return f"{changed[0]} changed{rest}"


def is_linked(settings: Settings, facts: Facts) -> bool:
    """Whether builds cannot start from what the engine's store has.

    The builder does not see it, or it is not known to hold every platform that is wanted.
    """
    return not facts.builder.sees_store or settings.platforms not in ((), (facts.native,))


def needed_bases(steps: Iterable[Step]) -> dict[str, Base]:
    """The bases that the builds among ``steps`` start from, by image."""
    return {
        step.spec.base.image: step.spec.base
        for step in steps
        if step.reason and step.spec.strategy == "shared-base"
    }


def check_platforms(settings: Settings, facts: Facts, *, push: bool) -> None:
    """:class:`ConfigError` where the platforms cannot be built here, or are not plain."""
    builder = facts.builder
    if facts.host is not None:
        without_builder.check(settings, push=push)
    if push and not settings.platforms and builder.platforms[0] not in settings.targets:
        # What is pushed is named after its platforms, and others rely on that name.
        own = builder.platforms[0]
        what = f"the builder is of {own}, and this machine of {facts.native}"
        raise ConfigError(what, next_step=f"say for which platform to build: --platforms {own}")
    if len(settings.platforms) < 2 or (push and not builder.sees_store):
        return
    if not builder.store_holds_platforms:
        what = "the engine's image store holds one platform an image"
        step = (
            "turn on its containerd image store (containerd-snapshotter among the features of "
            "daemon.json), or use a builder of its own: --builder NAME --push"
        )
        raise ConfigError(what, next_step=step)


def check_builder(plan: Plan, facts: Facts) -> None:
    """Raise the error of a plan that nothing can carry out: no builder, no engine, no uv."""
    if facts.host is not None and (plan.missing_bases or plan.packages):
        without_builder.check_host(facts.host)
    if facts.builder.exists or facts.host is not None:
        return
    needs = [f"the base image {each.base.image}" for each in plan.missing_bases]
    needs += [f"the packages of {each.users[0]}" for each in plan.packages]
    needs += [f"the image of {each.spec.udf.name}" for each in plan.to_build if each.way == "build"]
    if needs:
        more = f" and {len(needs) - 1} more" if len(needs) > 1 else ""
        what = f"{needs[0]}{more} must be built, and no Docker engine answers"
        step = "start Docker or run `invoke engine`, or push them once from a machine with Docker"
        raise EngineUnreachableError(what, next_step=step)


def _can_attest(builder: BuilderFacts) -> bool:
    return not builder.sees_store or builder.store_holds_platforms


def _step(settings: Settings, spec: ImageSpec, facts: Facts, *, force: bool, push: bool) -> Step:
    image = facts.store.get(spec.image)
    if push:
        found = facts.published.get(spec.content_image)
        why = "forced" if force else "" if found else "not in the registry yet"
        digest_ = found.digest if found and not force else ""
        step = Step(spec=spec, reason=why, digest=digest_)
    else:
        why = reason(spec.inputs, image.recorded if image else None, force=force)
        added = None if why else added_bytes(image, facts.store.get(spec.base.image))
        step = Step(spec=spec, reason=why, added=added)
    step = replace(step, way=_way(settings, spec, facts, push=push))
    if not step.reason or not settings.platforms or facts.host is not None:
        return step
    emulated, from_source = emulation.emulated(settings, spec, facts.builder)
    return replace(step, emulated=emulated, from_source=from_source)


def _without_refused(
    settings: Settings, steps: tuple[Step, ...], facts: Facts
) -> tuple[tuple[Step, ...], tuple[InvalidUdf, ...]]:
    """The steps that can be made without a builder, where there is none, and the other UDFs."""
    if facts.host is None:
        return steps, ()
    kept, refused = [], []
    for step in steps:
        spec = step.spec
        base = _base_step(settings, spec.base, facts, push=True, builds=False)
        if step.reason and (why := without_builder.problem(settings, spec, facts, not base.reason)):
            refused.append(without_builder.refused(spec.udf.name, why))
        else:
            kept.append(step)
    return tuple(kept), tuple(refused)


def _way(settings: Settings, spec: ImageSpec, facts: Facts, *, push: bool) -> Way:
    """How an image is made: from layers wherever nothing of it has to run on its platform.

    Without a push, that takes a store that has the base, for the one platform that is wanted.
    """
    if settings.assemble == "never" or spec.strategy == "optimized" or spec.is_built:
        return "build"
    return "assemble" if push or not is_linked(settings, facts) else "build"


def _packages(settings: Settings, steps: Iterable[Step], facts: Facts) -> tuple[PackagesStep, ...]:
    """The packages layers that have to be made, each once."""
    made: dict[str, PackagesStep] = {}
    for step in steps:
        if not step.reason or step.way == "build" or not step.spec.extra:
            continue
        for platform in settings.targets:
            key = step.spec.packages_key(platform)
            if key in facts.packages:
                continue
            if known := made.get(key):
                made[key] = replace(known, users=(*known.users, step.spec.udf.name))
            else:
                foreign = platform != facts.builder.platforms[0]
                made[key] = PackagesStep(
                    key=key,
                    platform=platform,
                    spec=step.spec,
                    users=(step.spec.udf.name,),
                    from_source=foreign and bool(step.spec.from_source(platform)),
                    bytecode=facts.gets_bytecode(step.spec.base.python),
                )
    return tuple(made.values())


def _base_step(
    settings: Settings, base: Base, facts: Facts, *, push: bool, builds: bool
) -> BaseStep:
    """The step of a base; ``builds`` says that images are built on it."""
    stored = facts.store.get(base.image)
    has = stored is not None and stored.is_base(base.fingerprint)
    published = facts.published.get(base.image)
    if published and not set(settings.targets) <= set(published.platforms):
        published = None
    linked = is_linked(settings, facts)
    found = published.digest if published else ""
    if push and not found:
        why = "not in the registry yet"
    elif push and (linked or not builds):
        why = ""
    elif linked:
        why = "" if found else "not in the registry"
    else:
        why = "" if has else "not built yet"
    return BaseStep(
        base=base,
        reason=why,
        source="registry" if linked and found else "store",
        digest=found,
        stored=has,
        named=stored is not None and base.local in stored.names,
        reuse=not linked and not (push and not found),
        bytecode=facts.gets_bytecode(base.python),
    )
