"""Attestations: what an image was assembled from, in the form that registries keep today.

BuildKit, Docker Scout and cosign read attestation manifests in the index of an image: an OCI
image whose one layer is an in-toto statement, and which names the manifest that it speaks of
(https://docs.docker.com/build/metadata/attestations/attestation-storage/). Every registry takes
them; the OCI's referrers, which are newer, need an API that some lack.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from ..model.labels import EPOCH
from .blob import CONFIG, MANIFEST, Blob, Descriptor, canonical

STATEMENT: Final = "application/vnd.in-toto+json"
PROVENANCE: Final = "https://slsa.dev/provenance/v1"
SPDX: Final = "https://spdx.dev/Document"
BUILD_TYPE: Final = "urn:numaflow-udf-build:assemble:v1"
_REFERENCE: Final = "vnd.docker.reference"
_UNKNOWN: Final = {"architecture": "unknown", "os": "unknown"}


@dataclass(frozen=True, kw_only=True)
class Attestation:
    """An attestation manifest with its parts, and its entry for an index."""

    manifest: Blob
    blobs: tuple[Blob, ...]
    entry: Descriptor


def provenance(
    *,
    parameters: Mapping[str, str],
    materials: Sequence[tuple[str, str]],
    builder: str,
) -> dict[str, Any]:
    """The predicate of SLSA provenance 1.0 (https://slsa.dev/spec/v1.0/provenance).

    ``parameters`` are what the image was asked to be made from; ``materials`` are what it was
    made of, each a URI with its digest (``sha256:...`` or ``sha1:...``).
    """
    return {
        "buildDefinition": {
            "buildType": BUILD_TYPE,
            "externalParameters": dict(parameters),
            "internalParameters": {},
            "resolvedDependencies": [
                {"uri": uri, "digest": _digest_set(digest)} for uri, digest in materials
            ],
        },
        "runDetails": {"builder": {"id": builder}},
    }


def sbom(name: str, fingerprint: str, packages: Mapping[str, str]) -> dict[str, Any]:
    """An SBOM (SPDX 2.3) of Python packages, by name and version.

    Equal images have equal SBOMs: its time is that of the images, and its namespace follows
    from the ``fingerprint``.
    """
    return {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": name,
        "documentNamespace": f"urn:numaflow-udf-build:sbom:{fingerprint}",
        "creationInfo": {
            "created": datetime.fromtimestamp(EPOCH, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "creators": ["Tool: numaflow-udf-build"],
        },
        "packages": [
            {
                "name": package,
                "SPDXID": f"SPDXRef-Package-{package}",
                "versionInfo": version,
                "downloadLocation": "NOASSERTION",
                "externalRefs": [
                    {
                        "referenceCategory": "PACKAGE-MANAGER",
                        "referenceType": "purl",
                        "referenceLocator": f"pkg:pypi/{package}@{version}",
                    }
                ],
            }
            for package, version in sorted(packages.items())
        ],
        "relationships": [
            {
                "spdxElementId": "SPDXRef-DOCUMENT",
                "relationshipType": "DESCRIBES",
                "relatedSpdxElement": f"SPDXRef-Package-{package}",
            }
            for package in sorted(packages)
        ],
    }


def attest(subject: Blob, name: str, predicates: Mapping[str, Any]) -> Attestation:
    """The attestation of the manifest ``subject``; ``predicates`` by their type."""
    layers = []
    blobs = []
    for kind, predicate in predicates.items():
        statement = {
            "_type": "https://in-toto.io/Statement/v0.1",
            "predicateType": kind,
            "predicate": predicate,
            "subject": [{"name": name, "digest": _digest_set(subject.digest)}],
        }
        blob = Blob(media_type=STATEMENT, data=canonical(statement))
        blobs.append(blob)
        layers.append(
            {**blob.descriptor.as_dict(), "annotations": {"in-toto.io/predicate-type": kind}}
        )
    config = Blob(
        media_type=CONFIG,
        data=canonical(
            {
                **_UNKNOWN,
                "config": {},
                "rootfs": {"type": "layers", "diff_ids": [blob.digest for blob in blobs]},
            }
        ),
    )
    manifest = Blob(
        media_type=MANIFEST,
        data=canonical(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "config": config.descriptor.as_dict(),
                "layers": layers,
            }
        ),
    )
    entry = Descriptor(
        media_type=MANIFEST,
        digest=manifest.digest,
        size=len(manifest.data),
        annotations={
            f"{_REFERENCE}.type": "attestation-manifest",
            f"{_REFERENCE}.digest": subject.digest,
        },
        platform=_UNKNOWN,
    )
    return Attestation(manifest=manifest, blobs=(config, *blobs), entry=entry)


def _digest_set(digest: str) -> dict[str, str]:
    algorithm, _, digits = digest.partition(":")
    return {algorithm: digits}
