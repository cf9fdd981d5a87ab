"""The layers of assembled images: what goes into which, and their digests."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from tasks.core.build.assemble import parts_of
from tasks.core.build.layers import LayerCache, PackagesLayer, code_parts
from tasks.core.image.assembly import Part
from tasks.core.image.layer import Layer
from tasks.core.inputs.files import ContextFile, context_files, read, text_file
from tasks.core.model.errors import BuildFailedError, FileChangedError, ProjectFileError
from tasks.core.model.settings import Settings
from tasks.core.model.udf import Udf, discover
from tasks.core.plan.specs import ImageSpec
from tests.unit.plans import LOCKED, spec, udf

CODE: Final = (
    text_file("example.py", "print(1)\n"),
    replace(text_file("run.sh", "#!/bin/sh\n"), executable=True),
    ContextFile(path="assets/link", digest="", target="../example.py"),
)
CODE_DIGEST: Final = "sha256:a337809cad5e34fe1f0bf6d051eb33d5b869a707cfc12122b589dc5b8e50fee7"
"""On every machine and Python: images of one content are one image."""


@pytest.fixture
def cache(tmp_path: Path) -> LayerCache:
    return LayerCache({"XDG_CACHE_HOME": str(tmp_path / "cache")})


def of(*files: ContextFile, data: tuple[str, ...] = ()) -> ImageSpec:
    return replace(spec(udf(data=data)), files=files)


def content(part: Part) -> bytes:
    return b"".join(part.layer.chunks())


def test_the_digest_of_code(cache: LayerCache) -> None:
    (part,) = code_parts(of(*CODE), cache)
    assert part.layer.digest == CODE_DIGEST
    assert part.note == "numaflow-udf code map/a: 3 files, 19 B"


def test_data_is_a_layer_below_the_code(cache: LayerCache) -> None:
    model, asset = text_file("model.bin", "m"), text_file("assets/one/a.txt", "a")
    files = (*CODE[:2], model, asset)
    below, top = code_parts(of(*files, data=("model.bin", "assets")), cache)
    assert [entry.path for entry in below.layer.entries] == ["assets/one/a.txt", "model.bin"]
    assert [entry.path for entry in top.layer.entries] == ["example.py", "run.sh"]
    assert below.note == "numaflow-udf data map/a: 2 files, 2 B"


def test_data_is_packed_once_and_no_copy_is_kept(cache: LayerCache, tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(b"m" * (2 << 20))
    files = (*CODE, read(path, "model.bin"))
    first, _ = code_parts(of(*files, data=("model.bin",)), cache)
    sent = content(first)
    path.unlink()
    again, _ = code_parts(of(*files, data=("model.bin",)), cache)
    assert again.layer.descriptor == first.layer.descriptor
    assert again.note == first.note
    assert list(cache.folder.glob("*.tar")) == []
    with pytest.raises(FileChangedError, match="was removed"):
        content(again)
    path.write_bytes(b"m" * (2 << 20))
    assert content(again) == sent
    # A lost or damaged record costs another reading.
    for record in (cache.folder / "records").iterdir():
        record.write_bytes(b"garbage")
    third, _ = code_parts(of(*files, data=("model.bin",)), cache)
    assert third.layer.digest == first.layer.digest


def test_packages_that_are_lost_are_not_left_out(cache: LayerCache) -> None:
    adding = replace(spec(extra=LOCKED), files=CODE)
    with pytest.raises(BuildFailedError, match="packages of UDF map/a are no longer") as caught:
        parts_of(adding, cache, None)
    assert "run the command again" in caught.value.next_step
    layer = Layer(digest="sha256:1", size=7, root="opt/deps", entries=(), content=None)
    made = parts_of(adding, cache, PackagesLayer(layer=layer))
    assert [part.layer.root for part in made.parts] == ["opt/deps", "udf"]


@pytest.mark.parametrize("item", ["model.bin", "./assets/", "assets//one"])
def test_data_is_named_as_paths_are(tmp_path: Path, item: str) -> None:
    found = loaded(tmp_path, item)
    assert any(found.is_data(path) for path in ("model.bin", "assets/one/a.txt"))
    assert not found.is_data("example.py")


@pytest.mark.parametrize("item", ["model", "assets/on", "."])
def test_data_that_does_not_exist_is_refused(tmp_path: Path, item: str) -> None:
    with pytest.raises(ProjectFileError, match=r"data '.*' of UDF map/a is not a file or folder"):
        loaded(tmp_path, item)


def loaded(root: Path, item: str) -> Udf:
    """A UDF with that data, once its files were read."""
    folder = root / "map/a"
    (folder / "assets/one").mkdir(parents=True)
    for name in ("example.py", "model.bin", "assets/one/a.txt"):
        (folder / name).write_text(name)
    (folder / "pyproject.toml").write_text(f'[tool.numaflow-udf]\ndata = ["{item}"]\n')
    given = Settings.from_config({}, root=str(root))
    (found,) = discover(given)
    context_files(given, found)
    return found
