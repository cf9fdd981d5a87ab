"""Assembles images into a registry, without an engine and without a builder.

The layers of a base are mounted from its repository, so that an image costs what it adds. A
packages layer is kept in the base's repository under a tag of its own, from where machines that
did not make it take it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from ..engine.stored import ImageParts
from ..image import attestation, manifest
from ..image import config as configs
from ..image.archive import Variant
from ..image.attestation import Attestation
from ..image.blob import (
    CONFIG,
    MANIFEST,
    BadImageError,
    Blob,
    Descriptor,
    canonical,
    parse_object,
)
from ..image.layer import MEDIA_TYPE, Layer
from ..image.manifest import read_manifest
from ..inputs.origin import Origin
from ..model.errors import UdfError
from ..model.parallel import parallel
from ..model.reference import ImageReference
from ..plan.annotations import oci_annotations
from ..plan.decide import Plan, Step
from ..plan.specs import Base, ImageSpec
from ..registry.blobs import BlobSource
from ..registry.client import Registry
from ..registry.pushing import ImageUpload, push_images
from .assemble import Assembled, failure, parts_of
from .layers import PACKAGES_ROOT, LayerCache, PackagesLayer
from .published import bad_base, image_parts
from .results import Result

Packages = Mapping[str, PackagesLayer]
"""Packages layers by their key."""

_BUILDER: Final = "urn:numaflow-udf-build"


@dataclass(frozen=True, kw_only=True)
class Target:
    """Where images go, and what they say of themselves: ``platforms`` in one order.

    ``created`` is in seconds of the epoch. ``origin`` is where the source comes from; without
    it, nothing is attested.
    """

    registry: Registry
    platforms: tuple[str, ...]
    created: int
    origin: Origin | None


def into_registry(
    target: Target,
    plan: Plan,
    steps: Sequence[Step],
    packages: Packages,
    cache: LayerCache,
) -> dict[str, Result]:
    """Assemble and push images; the result of each by its bake target.

    An image that cannot be made or pushed does not keep the others from it. Raises the error
    of a base that the registry does not have whole, since nothing can follow.
    """
    bases = _bases(target, {step.spec.base.image: step.spec.base for step in steps}, cache)
    results: dict[str, Result] = {}
    ready: list[tuple[Step, Assembled, ImageUpload]] = []
    for step in steps:
        try:
            upload, made = _upload(target, plan, step, bases, packages, cache)
        except UdfError as error:
            results[step.spec.target] = failure(step, error)
        else:
            ready.append((step, made, upload))
    for (step, made, upload), done in zip(
        ready, push_images(target.registry, [each for *_, each in ready]), strict=True
    ):
        if done.error:
            results[step.spec.target] = failure(step, done.error)
            continue
        results[step.spec.target] = Result(
            name=step.spec.udf.name,
            image=step.spec.image,
            result="built",
            reason=step.reason,
            added=made.added,
            shares=step.spec.shares,
            from_base=step.spec.extra.from_base,
            notes=made.all_notes(step),
            digest=done.digest,
            tags=tuple(reversed(upload.tags)),
        )
    return results


def published_packages(
    registry: Registry, specs: Iterable[ImageSpec], platforms: Sequence[str]
) -> dict[str, PackagesLayer]:
    """The packages layers that the registry has, by key; their content stays there."""
    wanted = {
        spec.packages_key(platform): _packages_reference(spec, platform)
        for spec in specs
        for platform in platforms
    }
    found = parallel(registry.manifest, list(wanted.values()))
    layers = {}
    for key, known in zip(wanted, found, strict=True):
        if known is None:
            continue
        try:
            config, (descriptor,) = read_manifest(known.content)
            about = parse_object(registry.blob(wanted[key], config.digest) or b"", "a config")
            versions = {str(name): str(each) for name, each in about["versions"].items()}
            notes = tuple(str(each) for each in about.get("notes") or ())
        except (AttributeError, BadImageError, KeyError, ValueError):
            continue  # not what we put there: it is made again, and the tag is set anew
        if descriptor.media_type == MEDIA_TYPE:
            layer = Layer(
                digest=descriptor.digest,
                size=descriptor.size,
                root=PACKAGES_ROOT,
                entries=(),
                content=None,
            )
            layers[key] = PackagesLayer(layer=layer, notes=notes, versions=versions)
    return layers


def publish_packages(
    target: Target, steps: Sequence[Step], packages: Packages, known: Iterable[str]
) -> None:
    """Keep packages layers in the registry: those that it does not have yet by ``known``."""
    there = set(known)
    uploads = []
    for step in steps:
        for platform in target.platforms if step.spec.extra else ():
            key = step.spec.packages_key(platform)
            if key in there or key not in packages:
                continue
            there.add(key)
            layer = packages[key].layer
            about = {
                "rootfs": {"type": "layers"},
                "versions": dict(packages[key].versions),
                **({"notes": list(packages[key].notes)} if packages[key].notes else {}),
            }
            config = Blob(media_type=CONFIG, data=canonical(about))
            made = manifest.manifest(config.descriptor, [layer.descriptor])
            reference = _packages_reference(step.spec, platform)
            uploads.append(
                ImageUpload(
                    repository=reference.repository,
                    manifest=made.data,
                    media_type=MANIFEST,
                    blobs=(BlobSource.of_bytes(config.data), _source(layer)),
                    tags=(reference.tag,),
                )
            )
    for done in push_images(target.registry, uploads):
        if done.error:
            raise done.error


def _packages_reference(spec: ImageSpec, platform: str) -> ImageReference:
    base = ImageReference.parse(spec.base.image)
    return base.with_tag(f"packages-{spec.packages_key(platform)[:24]}")


def _bases(
    target: Target, bases: Mapping[str, Base], cache: LayerCache
) -> dict[tuple[str, str], ImageParts]:
    """What bases consist of, by image and platform, as the registry's manifests say."""

    def one(base: Base) -> dict[tuple[str, str], ImageParts]:
        image = ImageReference.parse(base.image)
        parts = image_parts(
            target.registry, image, target.platforms, cache.records, bad_base(image)
        )
        return {(base.image, platform): each for platform, each in parts.items()}

    found = parallel(one, list(bases.values()))
    return {key: parts for each in found for key, parts in each.items()}


def _upload(
    target: Target,
    plan: Plan,
    step: Step,
    bases: Mapping[tuple[str, str], ImageParts],
    packages: Packages,
    cache: LayerCache,
) -> tuple[ImageUpload, Assembled]:
    """An image as it is pushed, and its parts for one of its platforms."""
    spec = step.spec
    base = ImageReference.parse(spec.base.image)
    annotations = _annotations(target, plan, step)
    images: list[tuple[Variant, ImageUpload]] = []
    every: list[Assembled] = []
    for platform in target.platforms:
        key = spec.packages_key(platform) if spec.extra else ""
        made = parts_of(spec, cache, packages.get(key))
        every.append(made)
        lower = bases[spec.base.image, platform]
        variant = made.on(lower, target.created, annotations)
        upload = ImageUpload(
            repository=ImageReference.parse(spec.image).repository,
            manifest=variant.manifest.data,
            media_type=MANIFEST,
            blobs=(
                BlobSource.of_bytes(variant.config.data),
                *(_source(layer, base.repository) for layer in variant.layers),
                *(_mounted(layer, base.repository) for layer in lower.layers),
            ),
        )
        images.append((variant, upload))
    tags = (spec.content_tag, ImageReference.parse(spec.image).tag)
    if target.origin is None and len(images) == 1:
        return replace(images[0][1], tags=tags), every[0]
    platforms = [(variant.manifest, _platform(variant)) for variant, _ in images]
    attested = [
        _attested(target, plan, step, variant, bases[spec.base.image, name], packages)
        for (variant, _), name in zip(images, target.platforms, strict=True)
        if target.origin is not None
    ]
    index = manifest.index(
        platforms, more=[each.entry for each in attested], annotations=annotations
    )
    whole = ImageUpload(
        repository=images[0][1].repository,
        manifest=index.data,
        media_type=index.media_type,
        tags=tags,
        parts=(
            *(upload for _, upload in images),
            *(
                ImageUpload(
                    repository=images[0][1].repository,
                    manifest=each.manifest.data,
                    media_type=MANIFEST,
                    blobs=tuple(BlobSource.of_bytes(blob.data) for blob in each.blobs),
                )
                for each in attested
            ),
        ),
    )
    return whole, every[0]


def _platform(variant: Variant) -> dict[str, Any]:
    return configs.platform(configs.parse(variant.config.data))


def _annotations(target: Target, plan: Plan, step: Step) -> dict[str, str]:
    if target.origin is None:
        return {}
    spec = step.spec
    return oci_annotations(
        title=spec.udf.name,
        version=spec.content_tag.removeprefix("fp-"),
        origin=target.origin,
        base_name=spec.base_name,
        base_digest=plan.base_of(step).digest,
    )


def _attested(
    target: Target,
    plan: Plan,
    step: Step,
    variant: Variant,
    base: ImageParts,
    packages: Packages,
) -> Attestation:
    """The provenance of an image, and the SBOM of its Python packages.

    The provenance names its source, its base and the layers on it.
    """
    spec, origin = step.spec, target.origin or Origin()
    revision, _, dirty = origin.revision.partition("-")
    materials = [(f"pkg:docker/{spec.base.image}", plan.base_of(step).digest or base.id)]
    if origin.source and revision:
        materials.append((f"git+{origin.source}", f"sha1:{revision}"))
    materials += [(f"layer:{layer.root}", layer.digest) for layer in variant.layers]
    parameters = {
        "udf": spec.udf.name,
        "fingerprint": spec.fingerprint,
        **({"source": "the working tree differs from the revision"} if dirty else {}),
    }
    predicate = attestation.provenance(parameters=parameters, materials=materials, builder=_BUILDER)
    keys = [spec.packages_key(platform) for platform in target.platforms if spec.extra]
    added = next((packages[key].versions for key in keys if key in packages), {})
    installed = {
        name.removeprefix("package "): state.partition(" ")[0]
        for name, state in spec.base.inputs.items()
        if name.startswith("package ")
    }
    bill = attestation.sbom(spec.udf.name, spec.fingerprint, {**installed, **added})
    predicates = {attestation.PROVENANCE: predicate, attestation.SPDX: bill}
    return attestation.attest(variant.manifest, spec.image, predicates)


def _source(layer: Layer, repository: str = "") -> BlobSource:
    """A layer of ours. One of packages is in ``repository``, as well or without content here."""
    if layer.content is None and not layer.entries:
        return BlobSource(digest=layer.digest, size=layer.size, repository=repository)
    source = BlobSource.of_chunks(layer.digest, layer.size, layer.chunks)
    return replace(source, repository=repository) if layer.root == PACKAGES_ROOT else source


def _mounted(layer: Descriptor, repository: str) -> BlobSource:
    return BlobSource(digest=layer.digest, size=layer.size, repository=repository)
