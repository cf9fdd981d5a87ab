"""Assembles images: writes their layers, configs and manifests, and loads them into the store.

No builder takes part. A load sends what the store does not have. An engine that refuses that
gets all layers; where it refuses these as well, the images are built, and each is said.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from ..engine import Engine
from ..engine.channel import Channel, EngineLostError, NoSuchImageError, channel_of
from ..engine.loading import LoadFailedError, LoadRefusedError, load, load_complete
from ..engine.stored import ImageParts, Store, store_of, stored_image
from ..image import config as configs
from ..image import layer as layers
from ..image.archive import Image, Variant
from ..image.assembly import Part, assemble
from ..image.blob import BadImageError
from ..model.errors import (
    BuildFailedError,
    EngineUnreachableError,
    ProjectFileError,
    UdfError,
)
from ..model.progress import Say
from ..model.reference import ImageReference
from ..plan.decide import Step
from ..plan.specs import Base, ImageSpec, image_labels
from .layers import LayerCache, PackagesLayer, code_parts, packages_part
from .results import Result

# Images in one load: the names of all come at its end, so a long one shows nothing for long.
_BATCH = 100


@dataclass(frozen=True, kw_only=True)
class Assembled:
    """An image in parts: ``parts`` lie on the base's layers."""

    spec: ImageSpec
    parts: tuple[Part, ...]
    notes: tuple[str, ...] = ()

    @property
    def added(self) -> int:
        """What it holds beyond its base, in bytes."""
        return sum(_content_size(part.layer) for part in self.parts)

    def all_notes(self, step: Step) -> tuple[str, ...]:
        """What a person should know of it: of its packages layer, and of its step."""
        return (*self.notes, *(note for note in step.notes if note not in self.notes))

    def on(
        self, base: ImageParts, created: int, annotations: Mapping[str, str] | None = None
    ) -> Variant:
        """The image on a base for one platform."""
        return assemble(
            base.config,
            base.layers,
            self.parts,
            labels=image_labels(self.spec),
            env=self.spec.udf.env,
            workdir=self.spec.workdir,
            created=created,
            annotations=annotations,
        )


def _content_size(layer: layers.Layer) -> int:
    """The bytes of its files; of a layer from the cache, those of the whole archive."""
    if not layer.entries:
        return layer.size
    return sum(entry.size or 0 for entry in layer.entries)


@dataclass
class Outcome:
    """What an assembly gave: results by target, and the steps that have to be built instead."""

    results: dict[str, Result] = field(default_factory=dict)
    to_build: list[Step] = field(default_factory=list)


def parts_of(spec: ImageSpec, cache: LayerCache, packages: PackagesLayer | None) -> Assembled:
    """The layers of an image on its base, the packages below the code."""
    if spec.extra and packages is None:
        what = f"the packages of UDF {spec.udf.name} are no longer in the layer cache"
        raise BuildFailedError(what, next_step="run the command again: they are installed again")
    with _explained(spec):
        parts = code_parts(spec, cache)
    if packages is None:
        return Assembled(spec=spec, parts=tuple(parts))
    return Assembled(spec=spec, parts=(packages_part(spec, packages), *parts), notes=packages.notes)


def into_store(
    engine: Engine,
    steps: Sequence[Step],
    packages: Mapping[str, PackagesLayer],
    cache: LayerCache,
    *,
    platform: str,
    created: int,
    say: Say,
) -> Outcome:
    """Assemble images into the engine's store; ``packages`` are layers by their target.

    ``platform`` is the one of which a base is taken that the store holds for several.

    A UDF whose files changed meanwhile fails alone.
    """
    outcome = Outcome()
    ready: list[tuple[Step, Assembled]] = []
    for step in steps:
        try:
            made = parts_of(step.spec, cache, packages.get(step.spec.target))
        except UdfError as error:
            outcome.results[step.spec.target] = failure(step, error)
        else:
            ready.append((step, made))
    if not ready:
        return outcome
    channel = channel_of(engine.endpoint)
    with _load_errors():
        bases = _base_parts(channel, [made.spec.base for _, made in ready], cache, platform)
        # What an engine tells of itself takes it longer than an image.
        known_store = all(base.by_manifest for base in bases.values())
        store: Store = "containerd" if known_store else store_of(channel.info())
        for first in range(0, len(ready), _BATCH):
            batch = ready[first : first + _BATCH]
            images = [_image(made, bases[made.spec.base.image], created) for _, made in batch]
            known = [
                _known(channel, each, image) for (_, each), image in zip(batch, images, strict=True)
            ]
            loaded = _load(channel, store, images, known, batch, say)
            for step, made in batch:
                if step.spec.image in loaded:
                    outcome.results[step.spec.target] = _result(step, made)
                else:
                    outcome.to_build.append(step)
    return outcome


def _image(made: Assembled, base: ImageParts, created: int) -> Image:
    name = str(ImageReference.parse(made.spec.image))
    return Image(names=(name,), variants=(made.on(base, created),))


def _known(channel: Channel, made: Assembled, image: Image) -> frozenset[str]:
    """The layers below the code that the store has from the image of that name."""
    if len(made.parts) == 1:
        return frozenset()
    (variant,) = image.variants
    wanted = configs.diff_ids(configs.parse(variant.config.data))[:-1]
    try:
        stored = channel.inspect(image.names[0])["RootFS"]["Layers"]
    except (KeyError, NoSuchImageError, TypeError):
        return frozenset()
    same = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(wanted, stored, strict=False))
    return frozenset(each for each, _ in same)


def _without(image: Image, known: frozenset[str]) -> Image:
    """The image as it is sent to a store that has ``known`` layers of it."""
    variants = (
        replace(each, layers=tuple(layer for layer in each.layers if layer.digest not in known))
        for each in image.variants
    )
    return replace(image, variants=tuple(variants))


def _base_parts(
    channel: Channel, bases: Iterable[Base], cache: LayerCache, platform: str
) -> dict[str, ImageParts]:
    found: dict[str, ImageParts] = {}
    for base in bases:
        if base.image in found:
            continue
        try:
            found[base.image] = stored_image(
                channel, base.image, platform=platform, records=cache.records
            )
        except (NoSuchImageError, BadImageError) as error:
            what = f"the base image {base.image} cannot be used: {error}"
            raise BuildFailedError(what, next_step="run `invoke base`, then try again") from error
    return found


def _load(
    channel: Channel,
    store: Store,
    images: Sequence[Image],
    known: Sequence[frozenset[str]],
    batch: Sequence[tuple[Step, Assembled]],
    say: Say,
) -> set[str]:
    """Load images; the references of those that the engine has now.

    ``known`` are the layers of each that the engine has.
    """
    names = {str(ImageReference.parse(step.spec.image)): step.spec.image for step, _ in batch}
    try:
        load(channel, store, list(map(_without, images, known)))
    except LoadRefusedError as refused:
        left = [image for image in images if not _familiar(image) <= set(refused.loaded)]
        say(f"the engine does not take layers alone ({refused.said}): sending the bases as well")
        bases = list(dict.fromkeys(step.spec.base.image for step, _ in batch))
        try:
            load_complete(channel, store, left, bases)
        except (LoadRefusedError, NoSuchImageError) as error:
            say(f"{error}: building {_count(left)} instead")
            missing = {name for image in left for name in image.names}
            return {image for name, image in names.items() if name not in missing}
    return set(names.values())


def _familiar(image: Image) -> set[str]:
    return {ImageReference.parse(name).familiar for name in image.names}


def _count(images: Sequence[Image]) -> str:
    return "the image" if len(images) == 1 else f"{len(images)} images"


def _result(step: Step, made: Assembled) -> Result:
    return Result(
        name=step.spec.udf.name,
        image=step.spec.image,
        result="built",
        reason=step.reason,
        added=made.added,
        shares=step.spec.shares,
        from_base=step.spec.extra.from_base,
        notes=made.all_notes(step),
    )


def failure(step: Step, error: UdfError) -> Result:
    """The result of an image that could not be made."""
    return Result(
        name=step.spec.udf.name,
        image=step.spec.image,
        result="failed",
        reason=step.reason,
        error=error.what,
        tail=error.detail,
        cause=error,
    )


@contextmanager
def _explained(spec: ImageSpec) -> Iterator[None]:
    """Errors of reading a UDF's files as errors that a person can act on."""
    try:
        yield
    except (layers.UnfitNameError, OSError) as error:
        what = f"a file of UDF {spec.udf.name} cannot go into its image: {error}"
        raise ProjectFileError(what, next_step="rename it, or name it in .dockerignore") from error


@contextmanager
def _load_errors() -> Iterator[None]:
    """Errors of the engine while it loads, as errors that a person can act on."""
    try:
        yield
    except LoadFailedError as error:
        what = f"the engine did not load the images: {error}"
        raise BuildFailedError(what, next_step="see `docker system df`, then try again") from error
    except EngineLostError as error:
        what = f"the Docker engine went away: {error}"
        raise EngineUnreachableError(what, next_step="run `invoke engine --status`") from error
