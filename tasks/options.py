"""The flags that several tasks share: what each means, in one place."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Final

from invoke.context import Context

from .core.model.settings import Settings

Body = Callable[..., None]

HELP: Final = {
    "udf": "UDF by its path, such as map/even_odd; may be given more than once",
    "root": "folder that holds the UDFs (udf.root)",
    "registry": "registry and path to put before image names (udf.registry)",
    "tag": "tag of the images (udf.tag)",
    "python-image": "Python image that everything starts from (udf.python_image)",
    "network": "network of build steps: default, host or none (udf.network)",
    "platforms": "platforms to build for, such as linux/amd64,linux/arm64 (udf.platforms)",
    "builder": "buildx builder to build with (udf.builder)",
    "cache-to": "repository, or type=..., that keeps the build cache (udf.cache_to)",
    "cache-from": "repository, or type=..., whose build cache is used (udf.cache_from)",
    "sdk": "source tree of pynumaflow to use in place of the release (udf.sdk)",
    "force": "build also what is there already",
    "push": "push to the registry what it does not have yet",
    "metadata": "write image, tags, digest, size and platforms to this file as JSON",
    "sbom": "write the SBOM of each image to this file, of several to files in this folder",
    "json": "print the result as JSON",
}

SUMMARY: Final = "add the result to this file in Markdown, such as $GITHUB_STEP_SUMMARY"


def of(*names: str, **own: str) -> dict[str, str]:
    """The help of the shared flags ``names``, and of a task's ``own``."""
    return {**{name: HELP[name] for name in names}, **own}


def with_settings(*names: str) -> Callable[[Body], Body]:
    """Give a task a flag for each of these settings, and the checked settings themselves.

    The body takes them as its second argument; what the task is called with are its own
    arguments and the flags, which stand before those of its own that have a default.
    """
    keys = [name.replace("-", "_") for name in names]
    flags = [
        inspect.Parameter(key, inspect.Parameter.POSITIONAL_OR_KEYWORD, default="", annotation=str)
        for key in keys
    ]

    def decorate(body: Body) -> Body:
        signature = inspect.signature(body)
        context, _, *own = signature.parameters.values()
        needed = [each for each in own if each.default is inspect.Parameter.empty]
        optional = [each for each in own if each.default is not inspect.Parameter.empty]

        @functools.wraps(body)
        def run(c: Context, *arguments: object, **named: object) -> None:
            given = {key: named.pop(key, "") for key in keys}
            body(c, Settings.from_config(c.config, **given), *arguments, **named)

        parameters = [context, *needed, *flags, *optional]
        run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        return run

    return decorate


def folder(path: str) -> str:
    """A path that is meant as a folder, whatever is there now; ``""`` stays."""
    return f"{path.rstrip('/')}/" if path else ""
