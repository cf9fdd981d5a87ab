"""Attestations: statements about a manifest, as registries and buildx read them."""

from __future__ import annotations

import json

from tasks.core.image import attestation, manifest
from tasks.core.image.blob import MANIFEST, Blob

SUBJECT = Blob(media_type=MANIFEST, data=b'{"layers":[]}')
PROVENANCE = attestation.provenance(
    parameters={"udf": "map/a"},
    materials=[("pkg:docker/base:1", f"sha256:{'0' * 64}"), ("git+https://x", "sha1:abc")],
    builder="urn:builder",
)


def test_the_statement_names_the_manifest_that_it_speaks_of() -> None:
    made = attestation.attest(SUBJECT, "r.test/map-a:v1", {attestation.PROVENANCE: PROVENANCE})
    config, statement = made.blobs
    parsed = json.loads(statement.data)
    assert parsed["subject"] == [
        {
            "name": "r.test/map-a:v1",
            "digest": {"sha256": SUBJECT.digest.removeprefix("sha256:")},
        }
    ]
    assert parsed["predicateType"] == "https://slsa.dev/provenance/v1"
    dependencies = parsed["predicate"]["buildDefinition"]["resolvedDependencies"]
    assert [each["digest"] for each in dependencies] == [{"sha256": "0" * 64}, {"sha1": "abc"}]
    assert json.loads(config.data)["rootfs"]["diff_ids"] == [statement.digest]


def test_the_entry_of_an_index_is_no_image() -> None:
    made = attestation.attest(SUBJECT, "r.test/map-a:v1", {attestation.PROVENANCE: PROVENANCE})
    index = manifest.index([(SUBJECT, {"os": "linux", "architecture": "amd64"})], more=[made.entry])
    image, about = json.loads(index.data)["manifests"]
    assert image["platform"]["os"] == "linux"
    assert about["platform"] == {"os": "unknown", "architecture": "unknown"}
    assert about["annotations"]["vnd.docker.reference.type"] == "attestation-manifest"
    assert about["annotations"]["vnd.docker.reference.digest"] == SUBJECT.digest
    assert about["digest"] == made.manifest.digest
    assert about["size"] == len(made.manifest.data)
    (layer,) = json.loads(made.manifest.data)["layers"]
    assert layer["annotations"] == {"in-toto.io/predicate-type": attestation.PROVENANCE}


def test_a_bill_of_materials_is_the_same_for_the_same_packages() -> None:
    one = attestation.sbom("map/a", "f" * 64, {"six": "1.17.0", "attrs": "25.1"})
    other = attestation.sbom("map/a", "f" * 64, {"attrs": "25.1", "six": "1.17.0"})
    assert json.dumps(one) == json.dumps(other)
    names = [(each["name"], each["versionInfo"]) for each in one["packages"]]
    assert names == [("attrs", "25.1"), ("six", "1.17.0")]
    references = [each["externalRefs"][0]["referenceLocator"] for each in one["packages"]]
    assert references == ["pkg:pypi/attrs@25.1", "pkg:pypi/six@1.17.0"]
    assert one["spdxVersion"] == "SPDX-2.3"
