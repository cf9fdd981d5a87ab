"""Image references are read as Docker reads them, and shown as Docker shows them."""

from __future__ import annotations

import pytest

from tasks.core.model.reference import ImageReference

DIGEST = f"sha256:{'0' * 64}"


@pytest.mark.parametrize(
    ("text", "host", "repository", "tag", "digest"),
    [
        ("ghcr.io/team/map-a:v1", "ghcr.io", "team/map-a", "v1", ""),
        ("127.0.0.1:5000/map-a", "127.0.0.1:5000", "map-a", "latest", ""),
        ("localhost/map-a:v1", "localhost", "map-a", "v1", ""),
        ("[::1]:5000/map-a:v1", "[::1]:5000", "map-a", "v1", ""),
        ("team/map-a:v1", "docker.io", "team/map-a", "v1", ""),
        ("map-a:v1", "docker.io", "library/map-a", "v1", ""),
        ("docker.io/map-a", "docker.io", "library/map-a", "latest", ""),
        (f"r.test/a@{DIGEST}", "r.test", "a", "", DIGEST),
        (f"r.test/a:v1@{DIGEST}", "r.test", "a", "v1", DIGEST),
    ],
)
def test_the_parts(text: str, host: str, repository: str, tag: str, digest: str) -> None:
    found = ImageReference.parse(text)
    assert (found.host, found.repository, found.tag, found.digest) == (
        host,
        repository,
        tag,
        digest,
    )
    assert found.target == (digest or tag)
    assert ImageReference.parse(str(found)) == found
    assert ImageReference.parse(found.familiar) == found


@pytest.mark.parametrize(
    ("text", "familiar"),
    [
        ("docker.io/library/python:3.13", "python:3.13"),
        ("team/map-a", "team/map-a:latest"),
        ("map-a:stable", "map-a:stable"),
        ("docker.io/team/a", "team/a:latest"),
        ("localhost:5000/a", "localhost:5000/a:latest"),
        ("a@sha256:00", "a@sha256:00"),
        ("sha256:00", "sha256:00"),  # the id of an image
        ("r.test/library/a:v1", "r.test/library/a:v1"),
        (f"r.test/a@{DIGEST}", f"r.test/a@{DIGEST}"),
    ],
)
def test_the_familiar_form(text: str, familiar: str) -> None:
    assert ImageReference.parse(text).familiar == familiar


def test_another_tag_or_digest_of_the_same_repository() -> None:
    found = ImageReference.parse("r.test/a:v1")
    assert str(found.with_tag("v2")) == "r.test/a:v2"
    assert str(found.with_digest(DIGEST)) == f"r.test/a@{DIGEST}"
    assert str(found.with_digest(DIGEST).with_tag("v1")) == "r.test/a:v1"
    assert found.name == "r.test/a"
    assert found.familiar_name == "r.test/a"
    assert found.names_a_registry
    assert not ImageReference.parse("map-a").names_a_registry
