"""Makes bases and packages layers on this machine: where ``udf.builder`` is none.

uv installs wheels, for any platform, and runs nothing of them; the rest is files. The layers have
the same files as those of a builder. They may lack bytecode, which is then said.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from ..engine.locks import locked
from ..engine.stored import ImageParts
from ..image import config as configs
from ..image import manifest
from ..image.blob import MANIFEST, Blob, Descriptor
from ..image.layer import Layer, gzipped
from ..inputs.fingerprint import short
from ..inputs.recipe import runtime_stage
from ..model import labels
from ..model.errors import ConfigError, UdfError
from ..model.parallel import parallel
from ..model.progress import Say
from ..model.reference import ImageReference
from ..model.settings import Settings
from ..plan.decide import BaseStep, PackagesStep, Plan
from ..plan.facts import HostFacts
from ..plan.specs import base_labels
from ..registry.blobs import Blobs, BlobSource
from ..registry.client import Registry
from ..registry.pushing import ImageUpload, push_images
from . import publish, uv
from .installed import environment_layer, install_packages, no_bytecode
from .layers import LayerCache, PackagesLayer, remove
from .published import Fail, bad_base, image_parts
from .python_image import PythonImage, read
from .staging import writing

_AT_A_TIME: Final = 4


def examine(versions: Sequence[str]) -> HostFacts:
    """Whether this machine can install, and write bytecode for ``versions`` of Python."""
    _, problem = uv.find(os.environ)
    pythons = uv.pythons(versions, os.environ)
    return HostFacts(problem=problem, wanted=f"uv=={uv.pinned()}", pythons=pythons)


# --- bases ------------------------------------------------------------------------------------


def make_bases(
    settings: Settings, plan: Plan, cache: LayerCache, created: int, say: Say
) -> dict[str, str]:
    """Make the missing bases of a plan in the registry; their digests, by image."""
    registry = publish.registry_of(None, settings)
    made = {}
    for step in plan.missing_bases:
        with locked(f"base-{short(step.base.fingerprint)}"):
            image = ImageReference.parse(step.base.image)
            known = registry.content(image) if step.reason != "forced" else None
            if known and set(settings.targets) <= set(known.platforms):
                made[step.base.image] = known.digest  # another run was quicker
                continue
            say(f"making the base image {step.base.image} without a builder")
            if not step.bytecode:
                say(no_bytecode(step.base.python))
            made[step.base.image] = _make_base(registry, settings, step, cache, created, say)
    return made


def _make_base(
    registry: Registry,
    settings: Settings,
    step: BaseStep,
    cache: LayerCache,
    created: int,
    say: Say,
) -> str:
    base = step.base
    python = ImageReference.parse(base.python_image)
    source = registry_of_python(python, registry)
    fail = _bad_python(python)
    meant = source.digest(python)
    if not meant:
        why = "it does not exist"
        raise fail(why)
    # What the tag means now, for all that follows.
    python = python.with_digest(meant)
    found = image_parts(source, python, settings.targets, cache.records, fail)
    if missing := [each for each in settings.targets if each not in found]:
        why = f"it does not exist for {missing[0]}"
        raise fail(why)
    with _folder(cache) as folder:
        uploads = []
        for platform in settings.targets:
            parts = found[platform]
            about = read(source, python, parts, base.python, cache.records)
            layer = environment_layer(step, platform, about, folder)
            packed = folder / f"{platform.replace('/', '-')}.tar.gz"
            own = gzipped(layer, packed)
            config, content = _image(step, meant, parts, layer, own, created)
            blobs = (
                BlobSource.of_bytes(config.data),
                BlobSource.of_file(packed, own.digest),
                *(_from(source, registry, python, each.digest, each.size) for each in parts.layers),
            )
            uploads.append((config, content, blobs))
        say(f"pushing {base.image} ...")
        upload = _whole(ImageReference.parse(base.image), uploads)
        earlier = publish.before(registry, [base])
        (done,) = push_images(registry, [upload])
        if done.error:
            raise done.error
    given = publish.publish_bases(registry, None, [base], earlier, stored=False, say=say)
    return given[base.image]


def _whole(
    image: ImageReference, uploads: Sequence[tuple[Blob, Blob, tuple[BlobSource, ...]]]
) -> ImageUpload:
    """A base for all its platforms, as it is pushed: config, manifest and blobs of each."""
    parts = tuple(
        ImageUpload(
            repository=image.repository,
            manifest=content.data,
            media_type=MANIFEST,
            blobs=blobs,
        )
        for _, content, blobs in uploads
    )
    if len(parts) == 1:
        return replace(parts[0], tags=(image.tag,))
    index = manifest.index(
        [(content, configs.platform(configs.parse(config.data))) for config, content, _ in uploads]
    )
    return ImageUpload(
        repository=image.repository,
        manifest=index.data,
        media_type=index.media_type,
        tags=(image.tag,),
        parts=parts,
    )


def _image(
    step: BaseStep, meant: str, python: ImageParts, layer: Layer, own: Descriptor, created: int
) -> tuple[Blob, Blob]:
    """Config and manifest of a base; ``own`` is its layer as it is pushed.

    ``meant`` is the digest of the Python image, which a tag may name.
    """
    base = step.base
    pythons = {base.python_image: meant} if "@" not in base.python_image else {}
    note = f"numaflow-udf environment: {len(base.packages)} packages"
    made_by = f"uv {uv.pinned()}, no builder{'' if step.bytecode else ', no bytecode'}"
    config = configs.on_top(
        configs.instructed(python.config, runtime_stage()),
        [configs.Step(diff_id=layer.digest, note=note)],
        labels={**base_labels(base, pythons), labels.BASE_MADE_BY: made_by},
        created=created,
    )
    return config, manifest.manifest(config.descriptor, [*python.layers, own])


def registry_of_python(image: ImageReference, registry: Registry) -> Registry:
    """The registry of a Python image, which may be the one of ``registry``."""
    return registry if image.host == registry.host else Registry(image.host)


def _from(
    source: Registry, registry: Registry, image: ImageReference, digest: str, size: int
) -> BlobSource:
    """A layer of the Python image: mounted, or copied from the registry that has it."""
    if source is registry:
        return BlobSource(digest=digest, size=size, repository=image.repository)
    blobs = Blobs(source.connection)
    return BlobSource(
        digest=digest, size=size, read=lambda offset: blobs.read(image.repository, digest, offset)
    )


def _bad_python(image: ImageReference) -> Fail:
    def fail(why: str) -> ConfigError:
        what = f"the Python image {image} cannot be read from its registry: {why}"
        step = "set udf.python_image to an image in a registry that this machine can read"
        return ConfigError(what, next_step=step)

    return fail


# --- packages ---------------------------------------------------------------------------------


def make_packages(
    settings: Settings, plan: Plan, cache: LayerCache
) -> tuple[dict[str, PackagesLayer], dict[str, UdfError]]:
    """Make the packages layers of a plan: those that were made, and other errors, by key.

    A layer that another run makes at this moment is waited for, not made twice.
    """
    registry = publish.registry_of(None, settings)
    made: dict[str, PackagesLayer] = {}
    failed: dict[str, UdfError] = {}
    pythons: dict[tuple[str, str], PythonImage] = {}
    for step in plan.packages:
        key = (step.spec.base.image, step.platform)
        pythons[key] = pythons.get(key) or _python_below(registry, step, cache)

    def one(step: PackagesStep) -> None:
        with locked(f"packages-{short(step.key)}"):
            try:
                python = pythons[step.spec.base.image, step.platform]
                found = None if plan.fresh else cache.packages(step.key)
                made[step.key] = found or _install(step, python, cache)
            except UdfError as error:
                failed[step.key] = error

    parallel(one, sorted(plan.packages, key=lambda each: each.key), _AT_A_TIME)
    return made, failed


def _python_below(registry: Registry, step: PackagesStep, cache: LayerCache) -> PythonImage:
    """The Python that a packages layer is for: that of the base in the registry."""
    image = ImageReference.parse(step.spec.base.image)
    fail = bad_base(image)
    parts = image_parts(registry, image, [step.platform], cache.records, fail)
    if step.platform not in parts:
        why = f"it does not exist for {step.platform}"
        raise fail(why)
    python = step.spec.base.python
    return read(registry, image, parts[step.platform], python, cache.records)


def _install(step: PackagesStep, python: PythonImage, cache: LayerCache) -> PackagesLayer:
    with _folder(cache) as folder:
        root, notes = install_packages(step, python, folder)
        return cache.put_packages(step.key, root, notes)


@contextmanager
def _folder(cache: LayerCache) -> Iterator[Path]:
    folder = cache.new_folder()
    try:
        with writing(cache.folder):
            yield folder
    finally:
        remove(folder)
