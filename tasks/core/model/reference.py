"""Image references: the one parser, and the grammar that names and tags have to follow."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Final

DOCKER_HUB: Final = "docker.io"
_LATEST: Final = "latest"

# The grammar of an image reference, from the Distribution specification's reference syntax:
# https://distribution.github.io/distribution/spec/api/ and its Go package "reference".
COMPONENT: Final = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
HOST: Final = r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9.-]*[a-zA-Z0-9])?|\[[0-9a-fA-F:]+\])(?::[0-9]{1,5})?"
NAME: Final = re.compile(rf"{COMPONENT}(?:/{COMPONENT})*")
TAG: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
REGISTRY: Final = re.compile(rf"{HOST}(?:/{COMPONENT})*")
REFERENCE: Final = re.compile(
    rf"(?:{HOST}/)?{COMPONENT}(?:/{COMPONENT})*(?::{TAG.pattern})?(?:@sha256:[0-9a-f]{{64}})?"
)


@dataclass(frozen=True, kw_only=True)
class ImageReference:
    """An image reference in its parts, as Docker reads it.

    ``host`` is the registry; ``docker.io`` where the text names none. ``tag`` is ``""`` where
    the text has only a digest, and ``latest`` where it has neither.
    """

    host: str
    repository: str
    tag: str = _LATEST
    digest: str = ""

    @classmethod
    def parse(cls, text: str) -> ImageReference:
        """``[host/]repository[:tag][@digest]``; any text gives a reference, valid or not."""
        name, _, digest = text.partition("@")
        head, slash, rest = name.partition("/")
        host, path = DOCKER_HUB, name
        if slash and (set(".:") & set(head) or head == "localhost"):
            host, path = head, rest
        path, colon, tag = path.partition(":")
        if host == DOCKER_HUB and "/" not in path:
            path = f"library/{path}"
        return cls(
            host=host,
            repository=path,
            tag=tag if colon else "" if digest else _LATEST,
            digest=digest,
        )

    @property
    def name(self) -> str:
        """The registry and the repository, without tag and digest."""
        return f"{self.host}/{self.repository}"

    @property
    def target(self) -> str:
        """What a registry is asked for: the digest, or else the tag."""
        return self.digest or self.tag

    @property
    def names_a_registry(self) -> bool:
        """Whether asking for the image asks a registry that the reference itself names."""
        return self.host != DOCKER_HUB

    def with_tag(self, tag: str) -> ImageReference:
        """The same repository under another tag."""
        return replace(self, tag=tag, digest="")

    def with_digest(self, digest: str) -> ImageReference:
        """The same repository at a digest, without its tag."""
        return replace(self, tag="", digest=digest)

    @property
    def familiar(self) -> str:
        """The reference as Docker shows it: without the default registry."""
        return str(self).replace(self.name, self.familiar_name, 1)

    @property
    def familiar_name(self) -> str:
        """The name as Docker shows it: without the default registry, tag and digest."""
        if self.host != DOCKER_HUB:
            return self.name
        return self.repository.removeprefix("library/")

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.name}{tag}{digest}"
