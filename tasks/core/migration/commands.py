"""The ``docker build`` commands of a Makefile or a build script, with their values put in."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from . import makefile as makefiles
from . import shell
from .reading import read_bytes
from .remarks import Remark, UnresolvedError, Where

_ENGINES: Final = ("docker", "podman", "nerdctl")

# Options of `docker build` and `docker buildx build` that take a value.
_WITH_VALUE: Final = shell.names(
    "add-host allow annotation attest build-arg build-context builder cache-from cache-to call "
    "cgroup-parent cpu-period cpu-quota cpu-shares cpuset-cpus cpuset-mems file iidfile isolation "
    "label memory metadata-file network no-cache-filter output platform progress provenance "
    "sbom secret security-opt shm-size ssh tag target ulimit"
)
_SHORT: Final = {"-t": "tag", "-f": "file", "-o": "output", "-m": "memory", "-c": "cpu-shares"}

# What these tasks decide by themselves.
_SETTLED: Final = shell.names(
    "add-host builder cache-from cache-to compress force-rm load metadata-file network no-cache "
    "output progress provenance pull push quiet rm sbom iidfile attest"
)

_BENIGN: Final = shell.names(
    "[ [[ : cd case command declare dirname echo exec exit export false for function local "
    "mkdir popd printf pushd pwd read readonly return rm set shift sleep source test trap true "
    "unset which"
)
"""Commands that make no part of an image."""

_TOOLS: Final = shell.names("poetry uv pip pip3 pipenv pip-compile virtualenv python python3")
"""Tools that a build target calls to bring a lock up to date."""

_CALLS_MAKE: Final = re.compile(r"(?:\$[({]MAKE[)}]|\bmake)\s(?:.*\s)?(?:-C|--directory)\b")

MAKEFILES: Final = ("GNUmakefile", "makefile", "Makefile")


@dataclass(frozen=True, kw_only=True)
class Build:
    """One ``docker build``: its line, what it builds, and with which values.

    ``target`` is the Makefile's. ``remarks`` name what of the command is not known, or has no
    counterpart.
    """

    where: Where
    target: str = ""
    context: Path | None = None
    dockerfile: Path | None = None
    tags: tuple[str, ...] = ()
    arguments: Mapping[str, str | None] = field(default_factory=dict)
    stage: str = ""
    platforms: str = ""
    remarks: tuple[Remark, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Script:
    """A Makefile or a build script: its builds, and its other commands that do something.

    ``other`` are commands of build targets, or of the script, that are not carried over;
    ``calls`` are the lines that call make in another folder.
    """

    path: Path
    builds: tuple[Build, ...]
    other: tuple[Remark, ...] = ()
    makefile: makefiles.Makefile | None = None
    build_rules: tuple[makefiles.Rule, ...] = ()
    calls: tuple[Where, ...] = ()


def read_makefile(path: Path) -> Script:
    """What a Makefile builds. ``build_rules`` are those that only build."""
    makefile = makefiles.read(path)
    builds: list[Build] = []
    other: list[Remark] = []
    rules: list[makefiles.Rule] = []
    for rule in makefile.rules:
        read = _Recipe(path, path.parent, {})
        for number, line in rule.recipe:
            read.cwd = path.parent  # each line of a recipe is a shell of its own
            read.run(makefiles.shell_text(makefile, rule, line), number)
        target = rule.targets[0] if rule.targets else ""
        builds += [replace(build, target=target) for build in read.builds]
        if read.builds or _is_build_rule(rule, read):
            rules.append(rule)
            other += read.other
    rules += _only_calling(makefile, rules)
    return Script(
        path=path,
        builds=tuple(sorted(builds, key=_first_image)),
        other=tuple(other),
        makefile=makefile,
        build_rules=tuple(rules),
        calls=tuple(
            Where(path, number)
            for rule in makefile.rules
            for number, line in rule.recipe
            if _CALLS_MAKE.search(line)
        ),
    )


def read_script(path: Path) -> Script:
    """What a build script builds."""
    read = _Recipe(path, path.parent, {})
    read.run(read_bytes(path).decode(errors="replace"), 1)
    return Script(path=path, builds=tuple(read.builds), other=tuple(read.other))


def _first_image(build: Build) -> tuple[bool, bool]:
    """The target ``image`` comes first, then one that does not push."""
    return build.target not in ("image", "build", "docker-build"), "push" in build.target


_BUILD_TARGETS: Final = ("image", "build", "push", "update", "docker", "lock", "publish")


def _is_build_rule(rule: makefiles.Rule, read: _Recipe) -> bool:
    """Whether a rule has a part in building images and in nothing else."""
    if not rule.recipe or not any(
        word in _BUILD_TARGETS for target in rule.targets for word in target.split("-")
    ):
        return False
    return read.used_engine or read.used_tools


def _only_calling(
    makefile: makefiles.Makefile, rules: list[makefiles.Rule]
) -> list[makefiles.Rule]:
    """Rules without a recipe, such as ``all: image``, all of whose needs are build rules."""
    names = {target for rule in rules for target in rule.targets}
    return [
        rule
        for rule in makefile.rules
        if not rule.recipe
        and rule.needs
        and not rule.targets[0].startswith(".")
        and set(rule.needs) <= names
    ]


class _Recipe:
    """Follows the commands of a script, without running one."""

    def __init__(self, path: Path, cwd: Path, values: dict[str, str | None]) -> None:
        self.path = path
        self.cwd: Path | None = cwd
        self.values = values
        self.builds: list[Build] = []
        self.other: list[Remark] = []
        self.used_engine = False
        self.used_tools = False

    def run(self, text: str, line: int) -> None:
        for command in shell.commands(text, line):
            self._command(command)

    def _command(self, command: shell.Command) -> None:
        words = list(command.words)
        while words and (match := shell.ASSIGNMENT.fullmatch(words[0].text)):
            self._set(match["name"], match["value"])
            words.pop(0)
        if not words:
            return
        name = words[0].text
        if name in ("export", "local", "readonly", "declare"):
            for word in words[1:]:
                if match := shell.ASSIGNMENT.fullmatch(word.text):
                    self._set(match["name"], match["value"])
        elif name in ("cd", "pushd") and len(words) > 1:
            self.cwd = self._folder(words[1].text)
        elif build := self._build_words(words):
            self.used_engine = True
            self.builds.append(self._build(build, Where(self.path, command.line)))
        else:
            self._other(command, words)

    def _set(self, name: str, value: str) -> None:
        try:
            self.values[name] = self._expand(value)
        except UnresolvedError:
            self.values[name] = None

    def _expand(self, text: str) -> str:
        here = str(self.cwd) if self.cwd else None
        for place in ("$(pwd)", "`pwd`", "${PWD}", "$PWD"):
            if here and place in text:
                text = text.replace(place, here)
        folder = str(self.path.parent)
        for place in ('$(dirname "$0")', "$(dirname $0)", '$(dirname "${BASH_SOURCE[0]}")'):
            text = text.replace(place, folder)
        for prefix in (f'$(cd "{folder}" && pwd)', f"$(cd {folder} && pwd)"):
            text = text.replace(prefix, folder)
        return shell.expand(text, self.values)

    def _folder(self, text: str) -> Path | None:
        try:
            place = self._expand(text)
        except UnresolvedError:
            return None
        if self.cwd is None and not place.startswith("/"):
            return None
        return Path(os.path.normpath((self.cwd or Path("/")) / place))

    def _build_words(self, words: list[shell.Word]) -> list[shell.Word]:
        """The arguments of a ``docker build``, or nothing where it is another command."""
        names = [word.text for word in words[:3]]
        if names[:1] == ["sudo"]:
            return self._build_words(words[1:])
        try:
            names = [self._expand(name) for name in names]
        except UnresolvedError:
            return []
        if not names or names[0].rpartition("/")[2] not in _ENGINES:
            return []
        if names[1:2] == ["build"]:
            return words[2:]
        if names[1:3] in (["buildx", "build"], ["image", "build"], ["builder", "build"]):
            return words[3:]
        return []

    def _build(self, words: list[shell.Word], where: Where) -> Build:
        options, places = self._options(words)
        remarks: list[Remark] = []
        arguments: dict[str, str | None] = {}
        for text in options.get("build-arg", []):
            name, equals, value = text.partition("=")
            known = value if equals else self.values.get(name)
            arguments[name] = None if known and re.search(r"[$`]", known) else known
        for option, texts in options.items():
            if option == "secret":
                step = "index credentials come from the host (PIP_INDEX_URL, .netrc)"
                remarks += [Remark(where, f"build secret '{text}': {step}") for text in texts]
            elif option == "label":
                remarks += [Remark(where, f"--label {text} is not carried over") for text in texts]
            elif option not in {*_SETTLED, "tag", "file", "platform", "target", "build-arg"}:
                shown = " ".join(filter(None, [f"--{option}", *texts]))
                remarks.append(Remark(where, f"{shown} is not supported"))
        context = self._folder(places[-1]) if places else None
        if places and context is None:
            remarks.append(Remark(where, f"the context '{places[-1]}' is only known when it runs"))
        file = options.get("file", [""])[-1]
        dockerfile = self._folder(file) if file else None
        if context is not None and not file:
            dockerfile = context / "Dockerfile"
        return Build(
            where=where,
            context=context,
            dockerfile=dockerfile,
            tags=tuple(options.get("tag", [])),
            arguments=arguments,
            stage=options.get("target", [""])[-1],
            platforms=",".join(options.get("platform", [])),
            remarks=tuple(remarks),
        )

    def _options(self, words: list[shell.Word]) -> tuple[dict[str, list[str]], list[str]]:
        options: dict[str, list[str]] = {}
        places: list[str] = []
        pending = list(self._values_of(words))
        while pending:
            word = pending.pop(0)
            if word.startswith("--"):
                name, equals, value = word[2:].partition("=")
                if not equals and name in _WITH_VALUE:
                    value = pending.pop(0) if pending else ""
                options.setdefault(name, []).append(value)
            elif word[:2] in _SHORT and word != "-":
                value = word[2:].lstrip("=") or (pending.pop(0) if pending else "")
                options.setdefault(_SHORT[word[:2]], []).append(value)
            elif word.startswith("-") and word != "-":
                options.setdefault("quiet", []).append("")
            else:
                places.append(word)
        return options, places

    def _values_of(self, words: list[shell.Word]) -> Iterator[str]:
        """The words; of one whose value is not known, what can be read stays readable."""
        for word in words:
            try:
                value = self._expand(word.text)
            except UnresolvedError:
                yield shell.expand_known(word.text, self.values)
                continue
            if word.quoted or "$" not in word.text:
                yield value
            else:
                yield from value.split()

    def _other(self, command: shell.Command, words: list[shell.Word]) -> None:
        try:
            name = self._expand(words[0].text)
        except UnresolvedError:
            name = words[0].text
        name = name.rpartition("/")[2]
        if name in _ENGINES:
            self.used_engine = True
            return
        if name in _TOOLS:
            self.used_tools = True
            return
        if name in _BENIGN and not command.writes:
            return
        shown = " ".join(word.text for word in words)
        text = f"not carried over: {shown if len(shown) < 100 else shown[:97] + '...'}"
        self.other.append(Remark(Where(self.path, command.line), text))
