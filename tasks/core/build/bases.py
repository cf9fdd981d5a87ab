"""Makes bases: waited for, pulled or built, each once, and pushed where a plan says so."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from ..engine import Engine
from ..inputs.fingerprint import short
from ..model.loading import lazily
from ..model.progress import Say
from ..model.reference import ImageReference
from ..model.settings import Settings
from ..plan.decide import BaseStep, Plan
from ..plan.specs import BASE_REPOSITORY, Base
from ..private_engine.standin import pull
from . import publish
from .graph import has_base, run_graph
from .results import Result
from .specs import created

with lazily():
    from . import host, layers

# A registry that does not say within this many seconds that it has a base has none.
_PULL_SECONDS: Final = 10.0


def build_base(engine: Engine | None, settings: Settings, plan: Plan, *, say: Say) -> Result:
    """Make the base of a plan: pulled or built, and pushed where the plan says so.

    Without an engine, this machine makes it in the registry.
    """
    (step,) = plan.bases
    if not step.reason:
        return _existing_base(engine, settings, plan, step)
    start = time.monotonic()
    digest, pulled = "", False
    if engine is None:
        cache = layers.LayerCache(os.environ)
        digest = host.make_bases(settings, plan, cache, created(), say)[step.base.image]
    else:
        with bases_locked(engine, plan, say) as left:
            if left.push:
                digest = push_bases(engine, settings, left, say)[step.base.image]
            else:
                run_graph(engine, settings, left, say)
            pulled = not left.missing_bases
    return Result(
        name=BASE_REPOSITORY,
        image=step.base.image,
        result="pulled" if pulled else "built",
        seconds=time.monotonic() - start,
        digest=digest,
        tags=_base_tags(step.base) if digest else (),
    )


def _existing_base(engine: Engine | None, settings: Settings, plan: Plan, step: BaseStep) -> Result:
    """The result of a base that exists: its tag ``latest`` is moved to it.

    Another checkout may have moved it since; a build by hand starts from it.
    """
    base = step.base
    if plan.push:
        reference, latest = (ImageReference.parse(name) for name in (base.image, base.latest))
        digest = publish.registry_of(engine, settings).copy_tag(reference, latest.tag)
        return Result(
            name=BASE_REPOSITORY,
            image=base.image,
            result="unchanged",
            digest=digest,
            tags=_base_tags(base),
        )
    if engine is not None and not plan.linked:
        found = engine.images([base.image, base.latest])
        if found[base.image].id != (found[base.latest].id if base.latest in found else ""):
            engine.tag(base.image, base.latest)
    return Result(name=BASE_REPOSITORY, image=base.image, result="unchanged")


def _base_tags(base: Base) -> tuple[str, ...]:
    return tuple(ImageReference.parse(name).tag for name in (base.image, base.latest))


@contextlib.contextmanager
def bases_locked(engine: Engine, plan: Plan, say: Say) -> Iterator[Plan]:
    """Hold the missing bases, and give the plan without those that another run has made."""
    with contextlib.ExitStack() as held:
        made = {}
        for step in plan.missing_bases:
            held.enter_context(engine.lock(f"base-{short(step.base.fingerprint)}"))
            if step.reuse and _exists(engine, step.base, say):
                made[step.base.image] = step.digest
        left = plan.with_bases(made)
        if left.missing_bases and plan.steps:
            names = ", ".join(each.base.image for each in left.missing_bases)
            say(f"the base image {names} does not exist: building it first, once for all UDFs")
        yield left


def _exists(engine: Engine, base: Base, say: Say) -> bool:
    """Whether the engine has a base, from another run or, if need be, from the registry."""
    if has_base(engine, base):
        return True
    if not base.registry:
        return False
    say(f"pulling {base.image} ...")
    start = time.monotonic()
    if reason := pull(engine.endpoint, base.image, _PULL_SECONDS):
        say(f"{base.image} cannot be pulled: {reason}")
        return False
    if not has_base(engine, base):
        say(f"{base.image} in the registry was made from other inputs than its tag says: ignored")
        return False
    say(f"pulling {base.image}: {time.monotonic() - start:.1f} s")
    engine.tag(base.image, base.latest, base.local)
    return True


def push_bases(engine: Engine, settings: Settings, plan: Plan, say: Say) -> dict[str, str]:
    """Build the bases of a plan and push them; their digests, by image."""
    registry = publish.registry_of(engine, settings)
    bases = [each.base for each in plan.missing_bases]
    earlier = publish.before(registry, bases)
    run_graph(engine, settings, replace(plan, steps=(), invalid=()), say)
    say(f"pushing {', '.join(base.image for base in bases)} ...")
    return publish.publish_bases(registry, engine, bases, earlier, stored=engine.builds, say=say)
