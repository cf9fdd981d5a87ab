"""The command lines that are measured, as a user types them: one function for each tool."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from ..inputs import credentials
from ..model.settings import Settings
from ..model.udf import image_name
from . import host
from .approaches import Approach
from .lab import Lab
from .tools import Buildah

INVOKE: Final = (sys.executable, "-m", "invoke")
"""How the tasks are called: with the Python that runs this, from the folder it runs in."""

NOWHERE: Final = "127.0.0.1:1/bench"
"""Where images of a measurement are named to be: nothing answers there, and at once."""

BAKE_FILE: Final = "bench-bake.json"
# Images for CI often set it. The tasks would be compiled anew in every measured run.
_NOT_MEASURED: Final = frozenset({"PYTHONDONTWRITEBYTECODE"})
_NO_ENGINE: Final = "unix:///nonexistent/docker.sock"
_NETWORK_FILE: Final = "bench-network.yaml"


@dataclass(frozen=True, kw_only=True)
class Build:
    """One measured build: which UDFs of which root, and under which names.

    ``every`` says that these are all UDFs of the root. ``push`` sends the images to
    ``registry``. ``fresh`` uses no step of an earlier build. ``python_image`` is another one
    than the machine's. ``platform`` is another one as well. ``alone`` is the cache folder of
    a build that has no engine.
    """

    root: str
    udfs: tuple[str, ...]
    tag: str
    registry: str = NOWHERE
    every: bool = False
    push: bool = False
    fresh: bool = False
    python_image: str = ""
    platform: str = ""
    alone: Path | None = None

    def image(self, udf: str) -> str:
        """The image of one UDF."""
        return f"{self.registry}/{image_name(udf)}:{self.tag}"

    def pushed_for(self, platform: str, python_image: str, registry: str) -> Build:
        """The same for another platform, from another Python image into another registry."""
        found = replace(self, platform=platform, python_image=python_image)
        return replace(found, registry=registry, push=True)

    @property
    def environ(self) -> dict[str, str]:
        """What the tasks are told by the environment."""
        found = {
            "INVOKE_UDF_ROOT": self.root,
            "INVOKE_UDF_TAG": self.tag,
            "INVOKE_UDF_REGISTRY": self.registry,
        }
        if self.python_image:
            found["INVOKE_UDF_PYTHON_IMAGE"] = self.python_image
        if self.platform:
            found["INVOKE_UDF_PLATFORMS"] = self.platform
        if self.alone:
            found |= {"XDG_CACHE_HOME": str(self.alone), "DOCKER_HOST": _NO_ENGINE}
        return found


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What builds need on this machine: environment, secrets, network, and the Python image."""

    lab: Lab
    python_image: str
    network: str
    secrets: tuple[str, ...]
    environ: Mapping[str, str] = field(repr=False)
    buildah: Buildah | None = None

    @classmethod
    def of(cls, lab: Lab, settings: Settings, buildah: Buildah | None) -> Machine:
        """What is found on this machine."""
        environ = {
            key: text
            for key, text in lab.environ.items()
            if not key.startswith("INVOKE_") and key not in _NOT_MEASURED
        }
        environ |= host.index(lab.environ)
        environ["INVOKE_UDF_PYTHON_IMAGE"] = settings.python_image
        if settings.network:
            environ["INVOKE_UDF_NETWORK"] = settings.network
        # The tasks turn attestations off for local builds; so builds by hand go without, too.
        environ["BUILDX_NO_DEFAULT_ATTESTATIONS"] = "1"
        found = credentials.gather(environ)
        lines = found.environment.get(credentials.HOST_ENV, "")
        if mirror := environ.get(host.MIRROR):
            lines += f"{host.MIRROR}={mirror}\n"
        secrets = [each for each in found.secrets if not each.startswith("id=host-env")]
        if lines:
            environ[credentials.HOST_ENV] = lines
            secrets.append(f"id=host-env,env={credentials.HOST_ENV}")
        return cls(
            lab=lab,
            python_image=settings.python_image,
            network=settings.network or lab.engine.network,
            secrets=tuple(secrets),
            environ=environ,
            buildah=buildah,
        )

    def commands(self, approach: Approach, build: Build) -> list[list[str]]:
        """The commands of a build, to be run one after the other."""
        return {
            "invoke": self._invoke,
            "docker": self._docker,
            "bake": self._bake,
            "buildah": self._buildah,
        }[approach.tool](approach, build)

    def docker(
        self, dockerfile: str, context: str, *options: str, udf: str = "", python_image: str = ""
    ) -> list[str]:
        """One ``docker buildx build``. Its progress is plain, so that it can be read."""
        argv = [*self._buildx(), "build", "--progress", "plain", "--file", dockerfile, *options]
        argv += ["--network", self.network] if self.network else []
        argv += self._arguments(udf, python_image)
        return [*argv, context]

    def _invoke(self, approach: Approach, build: Build) -> list[list[str]]:
        more = ["--push"] if build.push else []
        if build.every and approach.task_all:
            return [[*INVOKE, *approach.task_all, *more]]
        return [[*INVOKE, *approach.task, "--udf", udf, *more] for udf in build.udfs]

    def _docker(self, approach: Approach, build: Build) -> list[list[str]]:
        more = ["--push"] if build.push else []
        more += ["--no-cache"] if build.fresh else []
        more += ["--platform", build.platform] if build.platform else []
        return [
            self.docker(
                *(approach.dockerfile, approach.context, "--tag", build.image(udf), *more),
                # A user's own Dockerfile knows its UDF.
                udf=f"{build.root}/{udf}" if approach.context == "." else "",
                python_image=build.python_image,
            )
            for udf in build.udfs
        ]

    def _bake(self, approach: Approach, build: Build) -> list[list[str]]:
        argv = [*self._buildx(), "bake", "--progress", "plain", "--file", BAKE_FILE]
        argv += ["--file", _NETWORK_FILE] if self.network else []
        argv += ["--push"] if build.push else []
        argv += ["--no-cache"] if build.fresh else []
        argv += ["--set", f"*.platform={build.platform}"] if build.platform else []
        return [[*argv, *(image_name(udf) for udf in build.udfs)]]

    def _buildah(self, approach: Approach, build: Build) -> list[list[str]]:
        assert self.buildah
        options = ["--layers", "--isolation", "oci", "--network", "host", "--pull=never"]
        options += ["--file", approach.dockerfile]
        options += ["--ignorefile", f"{approach.dockerfile}.dockerignore"]
        found = []
        for udf in build.udfs:
            image = build.image(udf)
            arguments = self._arguments(f"{build.root}/{udf}", build.python_image)
            more = [*options, *arguments, "--tag", image]
            found.append(self.buildah.argv("build", *more, approach.context))
            if build.push:
                found.append(self.buildah.argv("push", "--tls-verify=false", image))
        return found

    def _buildx(self) -> list[str]:
        endpoint = self.lab.engine.endpoint
        builder = [] if self.lab.own else ["--builder", endpoint.builder]
        return [*endpoint.docker, "buildx", *builder]

    def _arguments(self, udf: str, python_image: str = "") -> list[str]:
        pairs = {"PYTHON_IMAGE": python_image or self.python_image}
        pairs |= {"EXAMPLE_PATH": udf} if udf else {}
        words = [word for key, text in pairs.items() for word in ("--build-arg", f"{key}={text}")]
        return words + [word for each in self.secrets for word in ("--secret", each)]

    def write_bake_file(self, folder: Path, approach: Approach, build: Build) -> None:
        """Write the bake file that somebody keeps by hand: a target for each UDF."""
        targets: Mapping[str, Mapping[str, object]] = {
            image_name(udf): {
                "context": approach.context,
                "dockerfile": approach.dockerfile,
                "contexts": {"udf": f"{build.root}/{udf}"},
                "args": {"PYTHON_IMAGE": build.python_image or self.python_image},
                "secret": list(self.secrets),
                "tags": [build.image(udf)],
            }
            for udf in build.udfs
        }
        _write(folder / BAKE_FILE, {"target": targets})
        # buildx before 0.17 takes a target's network from a Compose file alone. JSON is YAML.
        network = {"build": {"context": approach.context, "network": self.network}}
        _write(folder / _NETWORK_FILE, {"services": dict.fromkeys(targets, network)})


def _write(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2), encoding="utf-8")
