"""Publishing: how a registry gets the images of a plan, and what is told of them.

An image has two tags: the one that the user chose, which moves, and one that names its
content (``fp-`` and its fingerprint), which does not. A registry that has the latter has the
image, whoever built it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ..engine import Engine
from ..engine.pushing import push
from ..engine.registries import registry_for
from ..model import labels
from ..model.errors import ConfigError, NotBuiltError, PushFailedError, UdfError
from ..model.parallel import parallel
from ..model.progress import Say
from ..model.reference import ImageReference
from ..model.settings import Settings
from ..model.udf import Udf
from ..plan.decide import Step
from ..plan.specs import Base, content_tag
from ..registry import faults
from ..registry.client import Registry
from ..registry.manifests import Manifest, merged

# At a time: each is a program of its own, and the engine uploads several layers for each.
_UPLOADS: Final = 4


@dataclass(frozen=True, kw_only=True)
class Published:
    """An image in a registry, or why it is not there."""

    digest: str = ""
    tags: tuple[str, ...] = ()
    error: UdfError | None = None


def registry_of(engine: Engine | None, settings: Settings) -> Registry:
    """The registry of the settings, with what ``engine`` is configured to do with it.

    Raises :class:`ConfigError` where they name none.
    """
    if not settings.registry:
        what = "a push needs a registry, and none is set"
        step = "give --registry or set udf.registry, such as ghcr.io/team"
        raise ConfigError(what, next_step=step)
    host = ImageReference.parse(f"{settings.registry}/x").host
    if engine is None:
        return Registry(host)
    return registry_for(engine, host)


# --- bases ------------------------------------------------------------------------------------


def before(registry: Registry, wanted: Iterable[Base]) -> dict[str, Manifest]:
    """What stands under the tags of bases before they are pushed: other platforms, perhaps."""
    names = [base.image for base in wanted]
    found = parallel(lambda name: registry.manifest(ImageReference.parse(name)), names)
    return {name: manifest for name, manifest in zip(names, found, strict=True) if manifest}


def publish_bases(
    registry: Registry,
    engine: Engine | None,
    built: Sequence[Base],
    earlier: Mapping[str, Manifest],
    *,
    stored: bool,
    say: Say,
) -> dict[str, str]:
    """Push bases and move their tag ``latest``; their digests, by image.

    ``stored`` says that they are in the engine's store, and not pushed by their builder.
    ``earlier`` is what :func:`before` has given: an image for another platform is kept.
    """
    result = {}
    for base in built:
        reference = ImageReference.parse(base.image)
        if stored and engine is not None:
            _push(registry, engine, reference, say)
        if old := earlier.get(base.image):
            _keep_platforms(registry, reference, old)
        result[base.image] = registry.copy_tag(reference, ImageReference.parse(base.latest).tag)
    return result


def _keep_platforms(registry: Registry, reference: ImageReference, old: Manifest) -> None:
    new = registry.manifest(reference)
    if new is None or new.digest == old.digest:
        return
    names = registry.platforms(reference, old) | registry.platforms(reference, new)
    if both := merged(old, new, names):
        registry.put(reference, both)


# --- images of UDFs ---------------------------------------------------------------------------


def publish(
    registry: Registry, engine: Engine | None, steps: Sequence[Step], *, stored: bool, say: Say
) -> dict[str, Published]:
    """Push what was built, and move the tags of what the registry has already; by target.

    An image that cannot be pushed does not keep the others from it.
    """

    def one(step: Step) -> Published:
        content = ImageReference.parse(step.spec.content_image)
        chosen = ImageReference.parse(step.spec.image)
        try:
            if step.digest or not stored or engine is None:
                digest = registry.copy_tag(content, chosen.tag)
            else:
                digest = _push_under(registry, engine, chosen, content, say)
        except UdfError as error:
            return Published(error=error)
        return Published(digest=digest, tags=(chosen.tag, content.tag))

    return dict(
        zip([step.spec.target for step in steps], parallel(one, steps, _UPLOADS), strict=True)
    )


def push_built(
    engine: Engine, settings: Settings, udfs: Sequence[Udf], say: Say
) -> dict[str, Published]:
    """Push the images that the engine has of ``udfs``, as they are; by the name of the UDF.

    Raises :class:`NotBuiltError` where one is not there.
    """
    registry = registry_of(engine, settings)
    names = {udf.name: udf.image(settings) for udf in udfs}
    images = engine.images(list(names.values()))
    for udf, image in names.items():
        if image not in images:
            what = f"the image {image} of UDF {udf} is not built yet"
            raise NotBuiltError(what, next_step=f"`invoke image-fast --udf {udf} --push`")

    def one(image: str) -> Published:
        reference = ImageReference.parse(image)
        fingerprint = images[image].labels.get(labels.FINGERPRINT, "")
        try:
            if not fingerprint:  # built by other means: nothing names its content
                digest = _push(registry, engine, reference, say)
                return Published(digest=digest, tags=(reference.tag,))
            content = reference.with_tag(content_tag(fingerprint))
            digest = _push_under(registry, engine, reference, content, say)
        except UdfError as error:
            return Published(error=error)
        return Published(digest=digest, tags=(reference.tag, content.tag))

    return dict(zip(names, parallel(one, list(names.values()), _UPLOADS), strict=True))


def _push_under(
    registry: Registry, engine: Engine, chosen: ImageReference, content: ImageReference, say: Say
) -> str:
    """Push the image that is ``chosen`` here as ``content``, then move the tag there.

    While it pushes an image that has an attestation, Docker lets the tag name one part after
    the other. The tag that others use moves once, and when everything is there.
    """
    engine.tag(str(chosen), str(content))
    try:
        _push(registry, engine, content, say)
    finally:
        engine.untag(str(content))
    return registry.copy_tag(content, chosen.tag)


def _push(registry: Registry, engine: Engine, reference: ImageReference, say: Say) -> str:
    """Push one tag; where the registry has failed, the error tells what it says of that."""
    try:
        return push(engine, str(reference), say)
    except PushFailedError:
        if said := registry.complaint(reference):
            raise faults.error_of(reference.host, reference.name, said) from None
        raise


# --- what was published, for machines -----------------------------------------------------------


def metadata(
    registry: Registry, images: Mapping[str, str], published: Mapping[str, Published]
) -> list[dict[str, Any]]:
    """One entry an image in the registry; ``images`` gives the image of each name in ``published``.

    ``size`` is what a pull transfers of all platforms, in bytes.
    """
    there = {name: each for name, each in published.items() if each.digest}

    def one(name: str) -> dict[str, Any]:
        repository = ImageReference.parse(images[name]).familiar_name
        content = registry.content(
            ImageReference.parse(images[name]).with_digest(there[name].digest), sized=True
        )
        return {
            "udf": name,
            "image": repository,
            "tags": list(there[name].tags),
            "digest": there[name].digest,
            "reference": f"{repository}@{there[name].digest}",
            "size": content.size if content else 0,
            "platforms": list(content.platforms) if content else [],
        }

    return parallel(one, list(there))
