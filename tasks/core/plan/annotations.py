"""What a pushed image says of itself: its attestations and annotations. Pure: no I/O."""

from __future__ import annotations

from collections.abc import Mapping

from ..inputs.origin import Origin


def attestations() -> list[str]:
    """The attestations of a pushed image, as bake's ``attest``.

    ``min`` names the builder and the materials. ``max`` would add the whole definition of the
    build, many times the size of a UDF's own layer.
    """
    return ["type=provenance,mode=min"]


def oci_annotations(
    *, title: str, version: str, origin: Origin, base_name: str = "", base_digest: str = ""
) -> dict[str, str]:
    """The OCI annotations of a pushed image, by key; what is not known is left out.

    They are no labels: a label is part of the image's config, and one that changes with each
    commit would make another image of the same content.
    """
    values = {
        "title": title,
        "version": version,
        "source": origin.source,
        "revision": origin.revision,
        "created": origin.created,
        "base.name": base_name,
        "base.digest": base_digest,
    }
    return {f"org.opencontainers.image.{name}": value for name, value in values.items() if value}


def pushed(values: Mapping[str, str]) -> dict[str, list[str]]:
    """The fields that turn a bake target into one that is pushed with annotations ``values``.

    They stand on the manifest, and on the index that the attestation makes necessary: that is
    what a registry shows. Each by itself: buildx 0.13 does not read the form
    ``manifest,index:...`` in a bake definition.
    """
    return {
        "attest": attestations(),
        "annotations": [
            f"{level}:{name}={value}"
            for level in ("manifest", "index")
            for name, value in values.items()
        ],
    }
