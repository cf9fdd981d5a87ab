"""Declares tasks: each shared setting and flag has its name, default and help here, once.

:func:`verb` makes an Invoke task of a function. The function names what it takes; the help of
shared flags, the flags of settings and those that select UDFs come from here.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

from invoke.context import Context
from invoke.parser.argument import Argument
from invoke.tasks import Task

from .core.inputs.selection import Choice, select
from .core.model.called import as_called
from .core.model.called import declare as declare_task
from .core.model.contract import NUMAFLOW
from .core.model.errors import ConfigError
from .core.model.reference import REFERENCE
from .core.model.settings import Settings
from .core.output.ending import ending

Body = Callable[..., None]

SETTINGS: Final = {
    "root": "folder that holds the UDFs, or several separated by commas (udf.root)",
    "registry": "registry and path to put before image names (udf.registry)",
    "tag": "tag of the images (udf.tag)",
    "python-image": "Python image that everything starts from (udf.python_image)",
    "network": "network of build steps: default, host or none (udf.network)",
    "platforms": "platforms to build for, such as linux/amd64,linux/arm64 (udf.platforms)",
    "builder": "buildx builder to build with, or none: without Docker (udf.builder)",
    "cache-to": "repository, or type=..., that keeps the build cache (udf.cache_to)",
    "cache-from": "repository, or type=..., whose build cache is used (udf.cache_from)",
    "sdk": "source tree of pynumaflow to use in place of the release (udf.sdk)",
    "assemble": "assemble images from layers; --no-assemble builds each (udf.assemble)",
}
"""The help of the flag of each setting."""

FLAGS: Final = {
    "force": "rebuild what already exists",
    "no-cache": "run every build step again, and take nothing from the build cache",
    "push": "push to the registry what it does not have yet",
    "metadata": "write image, tags, digest, size and platforms to this file as JSON",
    "sbom": "write the SBOM of each image to this file; of several, to files in this folder",
    "summary": "add the result to this file in Markdown, such as $GITHUB_STEP_SUMMARY",
    "outputs": "add the image references to this file as outputs of a step, such as $GITHUB_OUTPUT",
    "checksums": "write the digests of pushed images to this file, as sha256sum does",
    "sign": "sign the pushed images with cosign, which must be installed",
    "key": "key of cosign, a file or the URI of a KMS; without it, keyless",
    "json": "print the result as JSON",
    "quiet": "print only image references, one a line",
}
"""The help of flags that several tasks have."""

_NUMBERS: Final[Mapping[str, tuple[int, int]]] = {
    "ready": (1, 3600),
    "answer": (1, 3600),
    "grace": (0, 3600),
    "jobs": (0, 256),
}
"""The least and the most that flags of several tasks may be; 0 jobs are the default."""

_FORMS: Final[Mapping[str, tuple[re.Pattern[str], str]]] = {
    "numaflow": (
        re.compile(r"v?[0-9]{1,4}(\.[0-9]{1,4}){1,2}([-+][0-9A-Za-z.+-]{1,64})?"),
        f"a version, such as {NUMAFLOW}",
    ),
    "image": (
        re.compile(rf"(?:{REFERENCE.pattern})?"),
        "an image reference, such as registry.example/team/map-even-odd:v1",
    ),
}
"""What the values of flags look like, and what to give."""

_SELECTION: Final = {
    "udf": "UDF by its path, such as map/even_odd; may be given more than once",
    "all": "all UDFs below the root",
    "only": "UDFs that match this pattern, such as 'map/*'; may be given more than once",
    "exclude": "leave out UDFs that match this pattern; may be given more than once",
    "changed-since": "only UDFs that changed since this git revision",
}
_LISTS: Final = ("udf", "only", "exclude")
_KINDS: Final[Mapping[str, tuple[object, type]]] = {"assemble": (True, bool)}


def verb(
    *,
    settings: tuple[str, ...] | None = None,
    udfs: Literal["", "named", "all"] = "",
    unchecked: bool = False,
    name: str = "",
    help: Mapping[str, str] | None = None,
    lists: tuple[str, ...] = (),
    instead: str = "",
    flags: type[Any] | None = None,
) -> Callable[[Body], Task[Body]]:
    """Make a task of a function.

    ``settings`` are the settings that have a flag; the function gets the checked
    :class:`Settings` after the context, or what reads them where they are ``unchecked``.
    ``udfs`` gives the task the flags that select UDFs, and the function gets the
    :class:`Selected` after the settings: ``named`` asks for at least one of these flags,
    ``all`` takes all UDFs where none is given. ``help`` is that of the function's own flags;
    ``lists`` are those that may be given more than once. Where the flag ``instead`` of its own is
    given, none that selects UDFs is needed: without one, all are taken. ``flags`` is a dataclass
    of flags that several tasks have; the function gets one after the UDFs.
    """
    keys = [each.replace("-", "_") for each in settings or ()]
    taken = 1 + (settings is not None) + bool(udfs) + bool(flags)
    shared = {each.name: each.default for each in dataclasses.fields(flags)} if flags else {}

    def declare(body: Body) -> Task[Body]:
        own = list(inspect.signature(body).parameters.values())
        needed = [each for each in own[taken:] if each.default is inspect.Parameter.empty]
        optional = [each for each in own[taken:] if each not in needed]

        @functools.wraps(body)
        @ending()
        def run(c: Context, **given: Any) -> None:  # noqa: ANN401  (whatever Invoke parsed)
            _check(given)
            parts: list[object] = [c]
            if settings is not None:
                values = {key: given.pop(key, _KINDS.get(key, ("", str))[0]) for key in keys}
                if "assemble" in values:  # a flag that is only turned off
                    values["assemble"] = "" if values["assemble"] else "never"
                read = functools.partial(Settings.from_config, c.config, **values)
                parts.append(read if unchecked else read())
            if udfs:
                choice = _choice(given)
                everything = udfs == "all" or bool(given.get(instead))
                parts.append(select(parts[1], choice, all_by_default=everything))  # type: ignore[arg-type]
            if flags:
                parts.append(flags(**{key: given.pop(key, value) for key, value in shared.items()}))
            body(*parts, **given)

        run.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [
                own[0],
                *needed,
                *(_flag(each, [], list) for each in (_LISTS if udfs else ())),
                *([_flag("all", False, bool)] if udfs else []),
                *([_flag("changed_since", "", str)] if udfs else []),
                *(_flag(key, *_KINDS.get(key, ("", str))) for key in keys),
                *(_flag(key, value, type(value)) for key, value in shared.items()),
                *optional,
            ]
        )
        texts = {**FLAGS, **(_selection_help(udfs) if udfs else {}), **(help or {})}
        names = [*(each.name for each in own[taken:]), *shared]
        mine = {each.replace("_", "-") for each in names}
        shown = {each: text for each, text in texts.items() if each in mine | set(_selected(udfs))}
        shown |= {each: SETTINGS[each] for each in settings or ()}
        declare_task(name or body.__name__.replace("_", "-"))
        made: Task[Body] = _Task(
            run,
            name=name or None,
            auto_shortflags=False,
            iterable=(*(_LISTS if udfs else ()), *lists),
            help={flag: as_called(text) for flag, text in shown.items()},
        )
        return made

    return declare


class _Argument(Argument):
    """A flag whose value may be of another kind: Invoke has no message for that."""

    def set_value(self, value: object, cast: bool = True) -> None:
        try:
            super().set_value(value, cast)
        except ValueError as error:
            kind = "a whole number" if self.kind is int else "a number"
            raise _wrong(self.names[0], value, kind) from error


class _Task(Task[Body]):
    def get_arguments(self, ignore_unknown_help: bool | None = None) -> list[Argument]:
        arguments = super().get_arguments(ignore_unknown_help)
        for each in arguments:
            each.__class__ = _Argument
        return arguments


def _check(given: Mapping[str, Any]) -> None:
    """Raise :class:`ConfigError` for a value that no task can use."""
    for name, (least, most) in _NUMBERS.items():
        if name in given and not least <= given[name] <= most:
            raise _wrong(name, given[name], f"a number from {least} to {most}")
    for name in given.keys() & _FORMS.keys():
        form, allowed = _FORMS[name]
        if not form.fullmatch(given[name]):
            raise _wrong(name, given[name], allowed)


def _wrong(name: str, value: object, allowed: str) -> ConfigError:
    what = f"--{name} is {value!r}, which is invalid"
    return ConfigError(what, next_step=f"give {allowed}")


def _flag(name: str, default: object, kind: type) -> inspect.Parameter:
    return inspect.Parameter(
        name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=default, annotation=kind
    )


def _selected(udfs: str) -> Mapping[str, str]:
    return _SELECTION if udfs else {}


def _selection_help(udfs: str) -> dict[str, str]:
    whole = " (the default)" if udfs == "all" else ""
    return {**_SELECTION, "all": f"{_SELECTION['all']}{whole}"}


def _choice(given: dict[str, Any]) -> Choice:
    return Choice(
        names=given.pop("udf", None) or (),
        everything=given.pop("all", False),
        only=given.pop("only", None) or (),
        exclude=given.pop("exclude", None) or (),
        changed_since=given.pop("changed_since", ""),
    )


def folder(path: str) -> str:
    """A path that is meant as a folder, whatever exists there now; ``""`` stays."""
    return f"{path.rstrip('/')}/" if path else ""
