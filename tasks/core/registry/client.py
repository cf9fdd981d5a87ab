"""A registry, asked directly: what it has under a tag, and other tags for what it has.

The API is https://distribution.github.io/distribution/spec/api/. Nothing here needs Docker.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Final
from urllib.parse import urlsplit

from ..model.errors import PushFailedError
from ..model.parallel import parallel
from ..model.reference import ImageReference
from . import faults
from .authentication import delete, push
from .connection import Connection
from .credentials import Logins, stored_login
from .manifests import ACCEPT, Manifest, Published, Summary, digest_of, images_of, platform_name
from .transport import Sleep, Transport, listed_as_insecure

_HEADERS: Final = {"Accept": ACCEPT}


class Registry:
    """One registry, with the login that Docker has for it. Safe to use from threads.

    ``logins`` gives the login for a host, and ``is_insecure`` says whether Docker may use a
    registry without TLS; by default both are read from Docker's configuration on this machine.

    Every method raises :class:`RegistryUnreachableError` if the registry does not answer,
    :class:`RegistryDeniedError` if it refuses the login, and :class:`PushFailedError` for
    any other refusal.
    """

    def __init__(
        self,
        host: str,
        *,
        logins: Logins = stored_login,
        is_insecure: Callable[[str], bool] = listed_as_insecure,
        sleep: Sleep = time.sleep,
    ) -> None:
        self.host = host
        self.connection = Connection(Transport(host, is_insecure=is_insecure, sleep=sleep), logins)

    # --- questions ----------------------------------------------------------------------------

    def digest(self, reference: ImageReference) -> str:
        """The digest that a tag names, by one HEAD; ``""`` if the tag does not exist."""
        path = f"manifests/{reference.target}"
        answer = self.connection.ask("HEAD", reference.repository, path, headers=_HEADERS)
        if answer is None:
            return ""
        if found := answer.headers.get("Docker-Content-Digest", ""):
            return str(found)
        manifest = self.manifest(reference)
        return manifest.digest if manifest else ""

    def digests(self, references: Iterable[ImageReference]) -> dict[ImageReference, str]:
        """The digests of many tags, asked for in parallel; tags that do not exist left out."""
        names = list(dict.fromkeys(references))
        found = zip(names, parallel(self.digest, names), strict=True)
        return {name: digest for name, digest in found if digest}

    def manifest(self, reference: ImageReference) -> Manifest | None:
        """What a tag or digest names, ``None`` if it does not exist."""
        path = f"manifests/{reference.target}"
        answer = self.connection.ask("GET", reference.repository, path, headers=_HEADERS)
        if answer is None:
            return None
        return Manifest(
            digest=answer.headers.get("Docker-Content-Digest") or digest_of(answer.content),
            media_type=answer.headers.get("Content-Type", "").partition(";")[0],
            content=answer.content,
        )

    def blob(self, reference: ImageReference, digest: str) -> bytes | None:
        """A small blob of the repository of ``reference``, such as a config."""
        answer = self.connection.ask("GET", reference.repository, f"blobs/{digest}")
        return None if answer is None else answer.content

    def content(self, reference: ImageReference, *, sized: bool = False) -> Summary | None:
        """The platforms of what a tag names, and with ``sized`` its size; ``None`` if absent."""
        top = self.manifest(reference)
        if top is None:
            return None
        platforms = tuple(self.platforms(reference, top).values())
        if not top.is_index:
            return Summary(digest=top.digest, platforms=platforms, size=top.size)
        size = 0
        if sized:
            names = [reference.with_digest(digest) for digest in images_of(top)]
            size = sum(part.size for part in parallel(self.manifest, names) if part)
        return Summary(digest=top.digest, platforms=platforms, size=size)

    def platforms(self, reference: ImageReference, manifest: Manifest) -> dict[str, str]:
        """The platform of each image that a manifest of this repository holds, by its digest."""
        if manifest.is_index:
            return images_of(manifest)
        digest = str(manifest.data["config"]["digest"])
        config = self.blob(reference, digest)
        if config is None:
            raise self._refusal(reference, f"its config {digest} does not exist there any more")
        return {manifest.digest: platform_name(json.loads(config))}

    def image(self, reference: ImageReference, platform: str) -> Published | None:
        """What a tag or digest names, and its config for a platform; ``None`` if absent."""
        top = self.manifest(reference)
        if top is None:
            return None
        children = self.platforms(reference, top)
        found = Published(digest=top.digest, platforms=tuple(children.values()))
        child = next((digest for digest, each in children.items() if each == platform), "")
        own = top if child == top.digest else None
        own = own or (self.manifest(reference.with_digest(child)) if child else None)
        if own is None:
            return found
        config = self.blob(reference, str(own.data["config"]["digest"]))
        layers = tuple(str(each["digest"]) for each in own.data.get("layers", ()))
        return replace(found, config=json.loads(config or b"{}"), layers=layers)

    def tags(self, reference: ImageReference) -> list[str]:
        """All tags of the repository of ``reference``; none where it does not exist."""
        found: list[str] = []
        query = "n=1000"
        while query:
            path = f"tags/list?{query}"
            answer = self.connection.ask("GET", reference.repository, path)
            if answer is None:
                break
            found += json.loads(answer.content).get("tags") or []
            # The next page, such as </v2/NAME/tags/list?last=TAG&n=1000>; rel="next".
            following = answer.headers.get("Link", "").partition(">")[0].lstrip("<")
            query = urlsplit(following).query
        return found

    # --- changes ------------------------------------------------------------------------------

    def put(self, reference: ImageReference, manifest: Manifest) -> None:
        """Make a tag name a manifest whose content the repository already has.

        A registry with tags that cannot change may refuse one that names this very manifest.
        """
        repository, host = reference.repository, self.host
        answer = self.connection.send(
            "PUT",
            f"v2/{repository}/manifests/{reference.target}",
            push(repository),
            headers={"Content-Type": manifest.media_type},
            body=manifest.content,
        )
        if answer.ok:
            return
        if b"MANIFEST_BLOB_UNKNOWN" in answer.content or b"MANIFEST_UNKNOWN" in answer.content:
            raise faults.incomplete(host, f"{host}/{repository}", answer.said)
        if answer.status in (400, 409) and self.digest(reference) == manifest.digest:
            return
        self.connection.require(answer, repository)

    def delete(self, reference: ImageReference, digest: str) -> None:
        """Delete a manifest of the repository of ``reference``, with every tag that names it."""
        repository = reference.repository
        place = f"v2/{repository}/manifests/{digest}"
        answer = self.connection.send("DELETE", place, delete(repository))
        if answer.status == 405:
            name = f"{self.host}/{repository}"
            raise self.connection.refusal(name, "it does not allow images to be deleted this way")
        if answer.status != 404:
            self.connection.require(answer, repository)

    def copy_tag(self, source: ImageReference, *tags: str) -> str:
        """Make further tags of its repository name what ``source`` names; its digest."""
        manifest = self.manifest(source)
        if manifest is None:
            raise self._refusal(source, f"{source} does not exist there any more")
        for tag in tags:
            target = source.with_tag(tag)
            if self.digest(target) != manifest.digest:
                self.put(target, manifest)
        return manifest.digest

    def complaint(self, reference: ImageReference) -> str:
        """The error that the registry reports for an upload; ``""`` if it accepts one.

        Docker does not pass on why a registry has failed, which may be that its disk is full.
        """
        repository = reference.repository
        scope = push(repository)
        answer = self.connection.send("POST", f"v2/{repository}/blobs/uploads/", scope)
        if not answer.ok:
            return answer.said
        self.connection.send("DELETE", self.connection.location(answer, repository), scope)
        return ""

    def _refusal(self, reference: ImageReference, why: str) -> PushFailedError:
        return self.connection.refusal(str(reference), why)
