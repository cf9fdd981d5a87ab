"""What an image in the store consists of: its config, and its layers as a manifest names them.

The engine tells neither of them when it is asked about an image; its archive (`docker save`)
has both. It is read only as far as needed, and what was found is kept by the image's ID.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import tarfile
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import IO, Any, Final, Literal

from ..image import config as configs
from ..image.archive import File, blob_path
from ..image.blob import BadImageError, Descriptor, parse_object
from ..image.cache import Records
from ..image.layer import MEDIA_TYPE as LAYER
from ..image.manifest import read_index, read_manifest
from .channel import Channel, EngineLostError

Store = Literal["containerd", "classic", "podman"]

_CHUNK: Final = 1 << 20
# Configs and manifests are smaller; a layer below this size is read for nothing.
_SMALL: Final = 4 << 20


@dataclass(frozen=True, kw_only=True)
class ImageParts:
    """An image that a store has: its ID, config, and layers from the lowest up.

    containerd's store keeps layers as they were pulled or built, most of them compressed. The
    others keep their files only; to them a layer is a plain tar, named by its diff ID.
    ``by_manifest`` says that the ID is the digest of a manifest, as only containerd's store has it.
    """

    id: str
    config: Mapping[str, Any]
    layers: tuple[Descriptor, ...]
    by_manifest: bool = False


def store_of(info: Mapping[str, Any]) -> Store:
    """The image store of an engine, from :meth:`Channel.info`."""
    plugins = info.get("Plugins") or {}
    # The docker CLI leaves out what Docker does not have; the kinds of logs it passes on.
    if "BuildahVersion" in info or "k8s-file" in (plugins.get("Log") or ()):
        return "podman"
    status = info.get("DriverStatus") or ()
    kinds = [str(pair[1]) for pair in status if len(pair) > 1 and pair[0] == "driver-type"]
    return "containerd" if any("containerd" in kind for kind in kinds) else "classic"


def stored_image(
    channel: Channel, image: str, *, platform: str = "", records: Records | None = None
) -> ImageParts:
    """What ``image`` consists of, from ``records`` where it was asked before.

    ``platform`` (``linux/arm64``) tells which one is meant of an image of several. Raises
    :class:`NoSuchImageError` and :class:`BadImageError`.
    """
    image_id = str(channel.inspect(image)["Id"])
    key = f"stored-image {image_id} {platform}"
    if records and (known := _from_record(image_id, records.get(key))):
        return known
    # By its ID: the name may stand for another image by now.
    with channel.save(image_id) as stream:
        found = _find(stream, image_id, platform)
    if records:
        layers = [layer.as_dict() for layer in found.layers]
        record = {"config": dict(found.config), "layers": layers, "by_manifest": found.by_manifest}
        records.put(key, record)
    return found


def layer_files(
    channel: Channel, image: str, store: Store, paths: MutableMapping[str, str]
) -> Iterator[File]:
    """The files of all layers of ``image``, as an archive for ``store`` holds them.

    ``paths`` gets their names by diff ID in the end, where the store names a layer by it.
    """
    found: dict[str, bytes] = {}
    links: dict[str, str] = {}
    with channel.save(image) as stream:
        for member, content in _members(stream):
            if member.issym():  # engines before 25 hold an equal layer once
                links[member.name] = _resolved(member)
            elif content is None:
                continue
            elif member.name.startswith("blobs/") or member.name.endswith(".tar"):
                if member.size <= _SMALL:
                    # It may be the config as well as a layer.
                    found[member.name] = data = _read(content)
                    yield File(name=member.name, size=member.size, chunks=(data,))
                else:
                    yield File(name=member.name, size=member.size, chunks=_chunks(content))
            elif member.size <= _SMALL:
                found[member.name] = _read(content)
    if store != "containerd":
        paths.update(_paths(found, links))


def _paths(found: Mapping[str, bytes], links: Mapping[str, str]) -> dict[str, str]:
    try:
        paths: dict[str, str] = {}
        for each in json.loads(found["manifest.json"]):
            ids = configs.diff_ids(configs.parse(found[each["Config"]]))
            names = [links.get(name, name) for name in each["Layers"]]
            paths |= dict(zip(ids, names, strict=True))
    except (KeyError, TypeError, ValueError) as error:
        what = f"the engine's archive of an image lacks its list of layers: {error}"
        raise BadImageError(what) from error
    return paths


def _resolved(member: tarfile.TarInfo) -> str:
    return member.linkname.removeprefix("../")


def _find(stream: IO[bytes], image_id: str, platform: str) -> ImageParts:
    """The image in an archive, which is read to its end only where layers have no manifest."""
    small: dict[str, bytes] = {}
    sizes: dict[str, int] = {}
    links: dict[str, str] = {}

    def blob(digest: str) -> bytes | None:
        return small.get(blob_path(digest)) or small.get(f"{digest.partition(':')[2]}.json")

    for member, content in _members(stream):
        if member.issym():
            links[member.name] = _resolved(member)
        sizes[member.name] = member.size
        if content is not None and member.size <= _SMALL:
            small[member.name] = _read(content)
            if found := _by_manifest(image_id, platform, blob):
                return found
    config = blob(image_id)
    if config is None:
        what = f"the engine's archive of {image_id} lacks its config or manifest"
        raise BadImageError(what)
    parsed, paths = configs.parse(config), _paths(small, links)
    layers = tuple(
        Descriptor(media_type=LAYER, digest=each, size=sizes.get(paths[each], 0))
        for each in configs.diff_ids(parsed)
    )
    return ImageParts(id=image_id, config=parsed, layers=layers)


def _by_manifest(
    image_id: str, platform: str, blob: Callable[[str], bytes | None]
) -> ImageParts | None:
    """The image, once the archive has told enough: its ID is the digest of its manifest.

    Where it is that of the config, as in the classic store, nothing is found.
    """
    top = blob(image_id)
    if top is None or "rootfs" in parse_object(top, f"what {image_id} stands for"):
        return None
    if manifests := read_index(top):
        top = blob(_chosen(manifests, platform, image_id).digest)
        if top is None:
            return None
    config, layers = read_manifest(top)
    data = blob(config.digest)
    if data is None:
        return None
    parsed = configs.parse(data)
    return ImageParts(id=image_id, config=parsed, layers=layers, by_manifest=True)


def _chosen(manifests: Sequence[Descriptor], platform: str, image_id: str) -> Descriptor:
    # What is for "unknown/unknown" is no image, but tells about one (attestations).
    images = {
        "/".join(
            str(each.platform[name])
            for name in ("os", "architecture", "variant")
            if each.platform.get(name)
        ): each
        for each in manifests
        if each.platform.get("os") != "unknown"
    }
    fitting = [
        each
        for name, each in images.items()
        if not platform or name == platform or name.startswith(f"{platform}/")
    ]
    if len(fitting) != 1:
        wanted = platform or "a platform that nobody named"
        what = f"{image_id} has {', '.join(images) or 'no platform'}, not one image for {wanted}"
        raise BadImageError(what)
    return fitting[0]


def _members(stream: IO[bytes]) -> Iterator[tuple[tarfile.TarInfo, IO[bytes] | None]]:
    with (
        _whole(),
        tarfile.open(fileobj=stream, mode="r|", bufsize=_CHUNK) as archive,
    ):
        for member in archive:
            yield member, archive.extractfile(member) if member.isfile() else None


def _read(content: IO[bytes]) -> bytes:
    with _whole():
        return content.read()


def _chunks(content: IO[bytes]) -> Iterator[bytes]:
    while True:
        with _whole():
            chunk = content.read(_CHUNK)
        if not chunk:
            return
        yield chunk


@contextlib.contextmanager
def _whole() -> Iterator[None]:
    try:
        yield
    except (tarfile.TarError, OSError, http.client.HTTPException) as error:
        what = f"the engine's archive of an image broke off: {error}"
        raise EngineLostError(what) from error


def _from_record(image_id: str, value: Any) -> ImageParts | None:  # noqa: ANN401 (from a file)
    try:
        return ImageParts(
            id=image_id,
            config=dict(value["config"]),
            layers=tuple(map(Descriptor.from_dict, value["layers"])),
            by_manifest=bool(value["by_manifest"]),
        )
    except (KeyError, TypeError, ValueError, BadImageError):
        return None
