"""SBOMs: from the metadata in an image to a valid CycloneDX document."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from tasks.core.build.results import Result
from tasks.core.engine import Endpoint, Engine
from tasks.core.inputs.distributions import (
    FOLDERS,
    Distribution,
    distributions,
    is_metadata,
    python_in,
)
from tasks.core.inputs.environment import locked_packages
from tasks.core.model.errors import ConfigError, MissingExtraError
from tasks.core.model.settings import Settings, native_platform
from tasks.core.model.udf import Udf, select
from tasks.core.upkeep import bom, locked_files, sbom
from tasks.core.upkeep.bom import DescribedImage

VENV = "/opt/venv/lib/python3.13/site-packages"
DEPS = "/opt/deps"
ANY = "py3-none-any"
IMAGE = DescribedImage(
    udf="map/a",
    image="reg.example/team/map-a:1",
    fingerprint="0123456789ab",
    created="2026-03-01T10:00:00.123456789Z",
    architecture="arm64",
    python="3.13.5",
    digest=f"reg.example/team/map-a@sha256:{'a' * 64}",
)


def installed(
    place: str, name: str, version: str, *lines: str, direct_url: str = ""
) -> dict[str, bytes]:
    """The files of one installed package; ``lines`` are more of its METADATA."""
    folder = f"{place}/{name}-{version}.dist-info"
    head = ["Metadata-Version: 2.4", f"Name: {name}", f"Version: {version}", *lines]
    found = {
        f"{folder}/METADATA": "\n".join([*head, "", "The text.\nName: other\n"]),
        f"{folder}/WHEEL": f"Wheel-Version: 1.0\nTag: {ANY}\n",
    }
    if direct_url:
        found[f"{folder}/direct_url.json"] = direct_url
    return {path: text.encode() for path, text in found.items()}


def packages_in(files: dict[str, bytes]) -> list[Distribution]:
    return list(distributions(files).values())


def one(*lines: str, direct_url: str = "") -> Distribution:
    [package] = packages_in(installed(VENV, "x", "1.0", *lines, direct_url=direct_url))
    return package


def written(
    packages: list[Distribution], files: locked_files.Files | None = None
) -> dict[str, Any]:
    text = bom.document(IMAGE, packages, files or {})
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    data: dict[str, Any] = json.loads(text)
    return data


def component(data: dict[str, Any], name: str) -> dict[str, Any]:
    [found] = [each for each in data["components"] if each["name"] == name]
    assert isinstance(found, dict)
    return found


# From files to packages


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        (f"{VENV}/x-1.0.dist-info/METADATA", True),
        (f"{VENV}/x-1.0.dist-info/WHEEL", True),
        (f"{VENV}/x-1.0.dist-info/direct_url.json", True),
        (f"{DEPS}/x-1.0.dist-info/METADATA", True),
        ("/opt/venv/pyvenv.cfg", True),
        (f"{VENV}/x-1.0.dist-info/RECORD", True),
        (f"{VENV}/x-1.0.dist-info/INSTALLER", False),
        (f"{VENV}/x-1.0.dist-info/licenses/METADATA", False),
        (f"{VENV}/setuptools/_vendor/y-1.0.dist-info/METADATA", False),
        (f"{VENV}/x/METADATA", False),
        (f"{DEPS}/bin/x", False),
    ],
)
def test_only_metadata_of_installed_packages_is_read(path: str, wanted: bool) -> None:
    assert is_metadata(path) is wanted
    assert path.startswith(FOLDERS)


def test_a_package_of_the_udf_hides_that_of_the_base() -> None:
    files = installed(VENV, "Typing_Extensions", "4.16.0") | installed(VENV, "six", "1.17.0")
    files |= installed(DEPS, "typing-extensions", "4.12.0")
    found = [(each.key, each.version, each.folder) for each in packages_in(files)]
    assert found == [
        ("six", "1.17.0", "/opt/venv"),
        ("typing-extensions", "4.12.0", "/opt/deps"),
    ]


def test_the_folder_names_a_package_whose_metadata_does_not() -> None:
    folder = f"{VENV}/odd_one-2.0.dist-info"
    [package] = packages_in({f"{folder}/METADATA": b"Metadata-Version: 2.1\n\n"})
    assert (package.name, package.version) == ("odd_one", "2.0")


@pytest.mark.parametrize(
    ("lines", "licences"),
    [
        (["License-Expression: MIT", "License: other"], ("MIT",)),
        (["License: BSD-3-Clause", "Classifier: License :: OSI Approved"], ("BSD-3-Clause",)),
        (
            [f"License: {'a text ' * 30}", "Classifier: License :: OSI Approved :: MIT License"],
            ("MIT License",),
        ),
        (
            [
                "License: UNKNOWN",
                "Classifier: License :: OSI Approved :: MIT License",
                "Classifier: License :: OSI Approved :: Apache Software License",
            ],
            ("MIT License", "Apache Software License"),
        ),
        (["Classifier: Programming Language :: Python"], ()),
    ],
)
def test_licences_as_the_author_gives_them(lines: list[str], licences: tuple[str, ...]) -> None:
    assert one(*lines).licences == licences


@pytest.mark.parametrize(
    ("config", "version"),
    [
        ("home = /usr/local/bin\nversion = 3.13.5\n", "3.13.5"),
        ("version_info = 3.14.0.final.0\n", "3.14.0"),
        ("home = x\n", ""),
    ],
)
def test_the_version_of_python(config: str, version: str) -> None:
    assert python_in({"/opt/venv/pyvenv.cfg": config.encode()}) == version
    assert python_in({}) == ""


# The files of locks


def test_the_wheel_is_the_one_with_all_tags_of_what_is_installed() -> None:
    many = "x-1.0-cp313-cp313-manylinux2014_aarch64.manylinux_2_17_aarch64.whl"
    files = locked_files.locked_files(
        [
            {
                "name": "X",
                "version": "1.0",
                "files": [
                    {"file": "x-1.0.tar.gz", "hash": "sha256:00"},
                    {"file": "x-1.0-cp313-cp313-manylinux2014_x86_64.whl", "hash": "sha256:01"},
                    {"file": many, "hash": "sha256:02"},
                    {"file": "x-1.0-py3-none-any.whl", "hash": "sha256:03"},
                ],
            }
        ]
    )

    def of(*tags: str) -> tuple[str, str]:
        return locked_files.wheel_of(
            Distribution(name="x", version="1.0", folder="/opt/venv", tags=frozenset(tags)), files
        )

    arm = ("cp313-cp313-manylinux2014_aarch64", "cp313-cp313-manylinux_2_17_aarch64")
    assert of(*arm) == (many, "02")
    assert of(ANY) == ("x-1.0-py3-none-any.whl", "03")
    assert of(arm[0]) == ("", "")
    assert of() == ("", "")


def test_a_package_from_elsewhere_has_no_wheel_of_the_lock() -> None:
    files = {("x", "1.0"): {"x-1.0-py3-none-any.whl": "03"}}
    assert locked_files.wheel_of(one(), files)[1] == "03"
    source = one(direct_url='{"url": "file:///sdk", "dir_info": {}}')
    assert locked_files.wheel_of(source, files) == ("", "")


def test_the_lock_of_a_udf(tmp_path: Path) -> None:
    own = Udf(name="map/a", path=tmp_path, kind="map", repository="map-a")
    assert locked_files.udf_files(own) == {}
    (tmp_path / "pylock.toml").write_text(
        '[[packages]]\nname = "six"\nversion = "1.18.0"\n'
        'wheels = [{ url = "https://host.invalid/a/six-1.18.0-py2.py3-none-any.whl", '
        'hashes = { sha256 = "ef" } }]\n'
    )
    assert locked_files.udf_files(own) == {
        ("six", "1.18.0"): {"six-1.18.0-py2.py3-none-any.whl": "ef"}
    }
    (tmp_path / "uv.lock").write_text(
        '[[package]]\nname = "six"\nversion = "1.17.0"\n'
        'wheels = [{ url = "https://host.invalid/a/six-1.17.0-py2.py3-none-any.whl", '
        'hash = "sha256:ab" }]\n[[package]]\nname = "own"\n'
    )
    assert locked_files.udf_files(own)["six", "1.17.0"] == {"six-1.17.0-py2.py3-none-any.whl": "ab"}
    (tmp_path / "poetry.lock").write_text(
        '[[package]]\nname = "six"\nversion = "1.16.0"\n'
        'files = [{ file = "six-1.16.0-py2.py3-none-any.whl", hash = "sha256:cd" }]\n'
    )
    assert locked_files.udf_files(own) == {
        ("six", "1.16.0"): {"six-1.16.0-py2.py3-none-any.whl": "cd"}
    }


# The document


def test_a_document_says_what_the_image_holds_and_is_valid() -> None:
    files = installed(VENV, "Six_More", "1.0", "Summary: More.", "License-Expression: MIT")
    data = written(packages_in(files), {("six-more", "1.0"): {f"six_more-1.0-{ANY}.whl": "f" * 64}})
    assert component(data, "Six_More") == {
        "type": "library",
        "bom-ref": "six-more==1.0",
        "name": "Six_More",
        "version": "1.0",
        "description": "More.",
        "purl": "pkg:pypi/six-more@1.0",
        "licenses": [{"license": {"id": "MIT", "acknowledgement": "declared"}}],
        "hashes": [{"alg": "SHA-256", "content": "f" * 64}],
        "externalReferences": [{"type": "distribution", "url": f"six_more-1.0-{ANY}.whl"}],
        "properties": [{"name": "io.numaflow.udf.folder", "value": "/opt/venv"}],
    }
    image = data["metadata"]["component"]
    digest = f"sha256:{'a' * 64}"
    assert (image["type"], image["name"], image["version"]) == ("container", IMAGE.image, digest)
    purl = f"pkg:oci/map-a@{digest}?arch=arm64&repository_url=reg.example/team/map-a"
    assert image["purl"] == purl
    assert data["metadata"]["timestamp"] == "2026-03-01T10:00:00.123456+00:00"


def test_the_same_image_gives_the_same_document_and_another_another() -> None:
    packages = packages_in(installed(VENV, "x", "1.0") | installed(VENV, "y", "2.0"))
    text = bom.document(IMAGE, packages, {})
    assert bom.document(IMAGE, packages, {}) == text
    assert text.endswith("}\n")
    other = written(packages[:1])
    assert other["serialNumber"] != json.loads(text)["serialNumber"]
    assert other["serialNumber"].startswith("urn:uuid:")


@pytest.mark.parametrize(
    ("licences", "expected"),
    [
        (("MIT",), [{"license": {"id": "MIT"}}]),
        (("apache-2.0",), [{"license": {"id": "Apache-2.0"}}]),
        (("Apache-2.0 OR MIT",), [{"expression": "Apache-2.0 OR MIT"}]),
        (("3-Clause BSD License",), [{"license": {"name": "3-Clause BSD License"}}]),
        (("A", "B"), [{"license": {"name": "A"}}, {"license": {"name": "B"}}]),
        ((), None),
    ],
)
def test_licences_in_the_document(
    licences: tuple[str, ...], expected: list[dict[str, Any]] | None
) -> None:
    package = Distribution(name="x", version="1", folder="/opt/venv", licences=licences)
    found = component(written([package]), "x").get("licenses")
    for licence in found or []:
        entry = licence.get("license", licence)
        assert entry.pop("acknowledgement") == "declared"
    assert found == expected


@pytest.mark.parametrize(
    ("direct_url", "purl"),
    [
        (
            {
                "url": "https://me:secret@git.example/x.git",
                "vcs_info": {"vcs": "git", "commit_id": "abc"},
            },
            "pkg:pypi/x@1.0?vcs_url=git%2Bhttps://git.example/x.git%40abc",
        ),
        (
            {"url": "https://token@host.example/x-1.0.zip", "archive_info": {}},
            "pkg:pypi/x@1.0?download_url=https://host.example/x-1.0.zip",
        ),
        ({"url": "file:///tmp/sdk", "dir_info": {}}, "pkg:pypi/x@1.0"),
    ],
)
def test_packages_from_elsewhere_say_where_from(direct_url: dict[str, Any], purl: str) -> None:
    data = written([one(direct_url=json.dumps(direct_url))])
    assert component(data, "x")["purl"] == purl
    assert "secret" not in json.dumps(data)
    assert "/tmp/sdk" not in json.dumps(data)


def test_who_needs_whom_in_this_image() -> None:
    files = installed(
        VENV,
        "top",
        "1",
        "Requires-Dist: middle[fast]>=1",
        'Requires-Dist: only-old ; python_version < "3.11"',
        'Requires-Dist: for-arm ; platform_machine == "aarch64"',
        'Requires-Dist: for-intel ; platform_machine == "x86_64"',
        'Requires-Dist: for-tests ; extra == "test"',
        "Requires-Dist: not a requirement !!",
        "Requires-Dist: absent",
    )
    files |= installed(VENV, "middle", "1", 'Requires-Dist: engine ; extra == "fast"')
    for name in ("only_old", "for_arm", "for_intel", "for_tests", "engine"):
        files |= installed(VENV, name, "1")
    edges = {
        each["ref"]: each.get("dependsOn", [])
        for each in written(packages_in(files))["dependencies"]
    }
    assert edges["top==1"] == ["for-arm==1", "middle==1"]
    assert edges["middle==1"] == ["engine==1"]
    assert edges["image"] == ["for-intel==1", "for-tests==1", "only-old==1", "top==1"]


def test_an_image_without_packages_has_a_document_too() -> None:
    data = written([])
    assert data["metadata"]["component"]["name"] == IMAGE.image
    assert "components" not in data


def test_without_the_library_the_next_step_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(MissingExtraError) as caught:
        bom.document(IMAGE, [], {})
    assert "pip install -e '.[sbom]'" in caught.value.next_step


def test_every_wheel_of_this_lock_can_be_told_by_its_tags() -> None:
    """No two wheels of one package in the lock have the same tags, and no name is odd."""
    from packaging.utils import parse_wheel_filename

    for (name, version), files in locked_files.locked_files(locked_packages().values()).items():
        wheels = [file for file in files if file.endswith(".whl")]
        tags = {frozenset(parse_wheel_filename(file)[3]) for file in wheels}
        assert wheels, name
        assert len(tags) == len(wheels), f"{name} {version}"


# Where it is written


def test_one_udf_is_written_to_the_file_and_several_to_a_folder(tmp_path: Path) -> None:
    settings = Settings.from_config(None)
    udfs = select(settings, ["map/even_odd", "map/flatmap"])
    file, folder = tmp_path / "a.json", tmp_path / "new"
    assert sbom.places(udfs[:1], str(file)) == {"map/even_odd": file}
    assert sbom.places(udfs[:1], f"{folder}/") == {"map/even_odd": folder / "map-even-odd.cdx.json"}
    assert sbom.places(udfs[:1], str(tmp_path)) == {
        "map/even_odd": tmp_path / "map-even-odd.cdx.json"
    }
    assert sbom.places(udfs, str(folder))["map/flatmap"] == folder / "map-flatmap.cdx.json"
    file.write_text("")
    with pytest.raises(ConfigError, match="is a file, and 2 UDFs"):
        sbom.places(udfs, str(file))


@pytest.mark.parametrize(
    ("platforms", "platform"),
    [("", ""), (f"linux/arm/v7,{native_platform()}", ""), ("linux/arm/v7", "linux/arm/v7")],
)
def test_what_is_read_after_a_build(
    monkeypatch: pytest.MonkeyPatch, platforms: str, platform: str
) -> None:
    seen: dict[str, Any] = {}

    def write(_: object, __: object, udfs: list[Udf], output: str, **rest: Any) -> list[Path]:  # noqa: ANN401
        seen.update(rest, udfs=[udf.name for udf in udfs], output=output)
        return []

    monkeypatch.setattr(sbom, "write", write)
    settings = Settings.from_config(None, platforms=platforms)
    udfs = select(settings, ["map/even_odd", "map/flatmap", "sink/log"])
    results = [
        Result(name="map/even_odd", image="r/x:1", result="built", digest="sha256:ab"),
        Result(name="map/flatmap", image="r/y:1", result="unchanged"),
        Result(name="sink/log", image="r/z:1", result="failed"),
    ]
    engine = Engine(endpoint=Endpoint(host=""))
    sbom.write_built(engine, settings, udfs, results, "sboms/")
    assert seen == {
        "udfs": ["map/even_odd", "map/flatmap"],
        "output": "sboms/",
        "images": {"map/even_odd": "r/x@sha256:ab", "map/flatmap": "r/y:1"},
        "platform": platform,
        "specs": None,
    }
