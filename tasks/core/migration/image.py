"""What an old Dockerfile makes of a UDF: its Python, packages, files, environment and command.

Only what a base image and a UDF's own settings can take over is read as such. Every other
step becomes a remark with its line.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Final

from . import dockerfile as dockerfiles
from . import shell
from .dockerfile import Dockerfile, Instruction, Stage
from .remarks import Remark, UnresolvedError, Where

BUILD_TOOLS: Final = shell.names(
    "apt-transport-https apt-utils autoconf automake binutils build-essential ca-certificates "
    "clang cmake cpp curl debhelper dirmngr dpkg-dev dumb-init g++ gcc git git-core gnupg gnupg2 "
    "libc-dev libc6-dev libtool lsb-release make ninja-build openssh-client pkg-config pkgconf "
    "procps python3 python3-dev python3-pip python3-venv rustc cargo software-properties-common "
    "tini unzip wget xz-utils zip"
)
"""Debian packages that build an image, or that the base has: not taken over."""

_PYTHON_TAG: Final = re.compile(r"(?P<version>3\.[0-9]{1,2})(?:\.[0-9a-z]+)?(?:-(?P<rest>.+))?")
_UV_PYTHON: Final = re.compile(r"python(?P<version>3\.[0-9]{1,2})")
_INSTALLERS: Final = (
    "python-poetry",
    "astral.sh/uv",
    "astral-sh/uv",
    "dumb-init",
    "tini",
    "get-pip",
)
_INITS: Final = ("dumb-init", "tini")

# Where a stage that only builds keeps the packages and tools that it has installed.
_INSTALLED: Final = re.compile(
    r"venv|site-packages|/\.local|poetry|pysetup|/install|/wheel|/deps|/uvx?$|^/usr/local(?:/bin|/lib"
    r"(?:/python[0-9.]+)?)?/?$|dumb-init|tini"
)

_NO_PART: Final = shell.names(
    "[ [[ : cd echo exit export false find printf set sync test true umask ldconfig hash which "
    "useradd adduser groupadd addgroup usermod groupmod chown pwd type command"
)
"""Commands of a RUN that leave nothing behind, or a user, which the base has."""

_PIP_VALUE: Final = shell.names(
    "-c --constraint -i --index-url --extra-index-url -f --find-links --trusted-host -t --target "
    "--prefix --root --platform --python-version --cache-dir --timeout --retries --progress-bar "
    "--cert --proxy --index --default-index --python -p --only-binary --no-binary --log "
    "--upgrade-strategy --exists-action --keyring-provider --index-strategy --config-settings"
)
_PIP_TOOLS: Final = shell.names(
    "pip setuptools wheel poetry poetry-core poetry-plugin-export uv pipenv virtualenv pip-tools "
    "build dumb-init"
)
_INDEX_OPTIONS: Final = ("-i", "--index-url", "--extra-index-url", "--index", "--default-index")


@dataclass(frozen=True, kw_only=True)
class Copy:
    """A ``COPY`` or ``ADD`` of a stage: ``origin`` is the stage that it copies from."""

    sources: tuple[str, ...]
    target: str
    origin: Stage | None
    where: Where


@dataclass
class Layout:
    """A stage's files and working folder, as far as they are copied from somewhere."""

    copies: list[Copy] = field(default_factory=list)
    workdir: str = "/"


@dataclass(frozen=True, kw_only=True)
class Variable:
    """An ``ENV`` of the image, or ``None`` where only a build would tell its value."""

    value: str | None
    where: Where


@dataclass(frozen=True, kw_only=True)
class Process:
    """What the image starts: words, or in the shell form one script."""

    argv: tuple[str, ...] = ()
    script: str = ""
    where: Where


@dataclass
class OldImage:
    """All that was read of one Dockerfile, for one of its stages."""

    dockerfile: Dockerfile
    context: Path
    python: str = ""
    packages: dict[str, Where] = field(default_factory=dict)
    env: dict[str, Variable] = field(default_factory=dict)
    used_names: set[str] = field(default_factory=set)
    """Variables that other instructions of the file use."""
    process: Process | None = None
    requirements: dict[str, Where] = field(default_factory=dict)
    """What `pip install` names itself."""
    requirement_files: dict[Path, Where] = field(default_factory=dict)
    installers: dict[str, Where] = field(default_factory=dict)
    remarks: list[Remark] = field(default_factory=list)
    notes: list[Remark] = field(default_factory=list)
    layouts: dict[int, Layout] = field(default_factory=dict)
    final: Stage | None = None
    copied: list[Copy] = field(default_factory=list)

    @property
    def workdir(self) -> str:
        return self.layouts[self.final.index].workdir if self.final else "/"

    def locate(self, path: str) -> Path | None:
        """The file or folder of the context that stands at ``path`` in the image."""
        if self.final is None:
            return None
        full = posixpath.normpath(posixpath.join(self.workdir, path))
        return self._locate(self.final, full, depth=0)

    def _locate(self, stage: Stage, path: str, *, depth: int) -> Path | None:
        for below in reversed(self.dockerfile.chain(stage)):
            layout = self.layouts.get(below.index)
            for copy in reversed(layout.copies if layout else []):
                for source in copy.sources:
                    found = self._within(copy, source, path, depth)
                    if found is not None and found.exists():
                        return found
        return None

    def _within(self, copy: Copy, source: str, path: str, depth: int) -> Path | None:
        origin = copy.origin
        if origin is None:
            base = Path(posixpath.normpath(posixpath.join(str(self.context), source.lstrip("/"))))
            # Of a folder its content is copied, a file into a folder or under another name.
            if base.is_dir():
                return _moved(path, copy.target.rstrip("/") or "/", base)
            if not base.exists():
                return None
            named = posixpath.join(copy.target, base.name)
            several = copy.target.endswith("/") or len(copy.sources) > 1
            return base if path == (named if several else copy.target) or path == named else None
        if depth > len(self.dockerfile.stages):
            return None
        rest = _relative(path, copy.target.rstrip("/") or "/")
        if rest is None:
            return None
        return self._locate(
            origin, posixpath.normpath(posixpath.join(source, rest)), depth=depth + 1
        )


def _relative(path: str, folder: str) -> str | None:
    if not PurePosixPath(path).is_relative_to(folder):
        return None
    return PurePosixPath(path).relative_to(folder).as_posix()


def _moved(path: str, folder: str, base: Path) -> Path | None:
    rest = _relative(path, folder)
    return None if rest is None else base / rest


def read(
    path: Path, context: Path, *, arguments: Mapping[str, str | None], target: str = ""
) -> OldImage:
    """What the Dockerfile at ``path`` makes, built in ``context`` with these arguments."""
    dockerfile = dockerfiles.read(path, arguments)
    image = OldImage(dockerfile=dockerfile, context=context)
    final = dockerfile.stage(target) if target else None
    if target and final is None:
        image.remarks.append(Remark(Where(path), f"it has no stage '{target}'"))
    image.final = final or (dockerfile.stages[-1] if dockerfile.stages else None)
    if image.final is None:
        image.remarks.append(Remark(Where(path), "it has no FROM line"))
        return image
    _Reading(image, arguments).read()
    return image


class _Reading:
    """Goes through the stages that have a part in the image."""

    def __init__(self, image: OldImage, arguments: Mapping[str, str | None]) -> None:
        self.image = image
        self.arguments = arguments
        self.values: dict[int, dict[str, str | None]] = {}
        self.commands: dict[int, tuple[Instruction | None, Instruction | None]] = {}

    def read(self) -> None:
        final = self.image.final
        assert final is not None
        chain = self.image.dockerfile.chain(final)
        own = {stage.index for stage in chain}
        needed = self._needed(final)
        for stage in self.image.dockerfile.stages:
            if stage.index in needed:
                self._stage(stage, own=stage.index in own)
        self._base(chain[0])
        self._process(chain)

    def _needed(self, stage: Stage) -> set[int]:
        """The stages that the image is made of, or copies from."""
        found: set[int] = set()
        pending = [stage]
        while pending:
            for each in self.image.dockerfile.chain(pending.pop()):
                if each.index in found:
                    continue
                found.add(each.index)
                for instruction in each.instructions:
                    origin = self.image.dockerfile.stage(instruction.flag("from"))
                    if instruction.name in ("COPY", "ADD") and origin is not None:
                        pending.append(origin)
                    for name, value in instruction.flags:
                        mounted = (
                            re.search(r"(?:^|,)from=([^,]+)", value) if name == "mount" else None
                        )
                        if mounted and (stage_of := self.image.dockerfile.stage(mounted[1])):
                            pending.append(stage_of)
        return found

    # --- instructions ---------------------------------------------------------------------------

    def _stage(self, stage: Stage, *, own: bool) -> None:
        chain = self.image.dockerfile.chain(stage)
        below = chain[-2] if len(chain) > 1 else None
        self.values[stage.index] = dict(self.values.get(below.index, {})) if below else {}
        layout = Layout(workdir=self.image.layouts[below.index].workdir if below else "/")
        self.image.layouts[stage.index] = layout
        entrypoint, cmd = self.commands.get(below.index, (None, None)) if below else (None, None)
        for each in stage.instructions:
            self._use(each)
            if each.name == "ENTRYPOINT":
                entrypoint, cmd = each, (cmd if cmd in stage.instructions else None)
            elif each.name == "CMD":
                cmd = each
            else:
                self._instruction(each, stage, layout, own=own)
        self.commands[stage.index] = (entrypoint, cmd)

    def _use(self, instruction: Instruction) -> None:
        text = f"{instruction.text}\n{instruction.script}"
        names = set(re.findall(r"\$\{?([A-Za-z_][A-Za-z0-9_]*)", text))
        if instruction.name == "ENV":  # ENV LEVEL=$LEVEL takes over an argument
            names -= set(re.findall(r"([A-Za-z_][A-Za-z0-9_]*)=", text))
        self.image.used_names |= names

    def _instruction(self, each: Instruction, stage: Stage, layout: Layout, *, own: bool) -> None:
        values = self.values[stage.index]
        if each.name == "ARG":
            known = {**self.image.dockerfile.arguments, **values}
            values |= dockerfiles.argument_values(each, known, self.arguments)
        elif each.name == "ENV":
            self._env(each, values, own=own)
        elif each.name == "WORKDIR":
            layout.workdir = posixpath.join(layout.workdir, self._expand(each.plain, values) or "")
        elif each.name in ("COPY", "ADD"):
            self._copy(each, values, layout, own=own)
        elif each.name == "RUN":
            _Run(self, each, values, layout, own=own).read()
        elif each.name == "USER" and own:
            self.note(each.where, f"USER {each.plain}: images run as user 10001")
        elif each.name == "EXPOSE" and own:
            self.note(each.where, f"EXPOSE {each.plain} is dropped: Numaflow uses a socket file")
        elif each.name == "HEALTHCHECK" and own:
            self.note(each.where, "HEALTHCHECK is dropped: Kubernetes does not read it")
        elif each.name in ("LABEL", "VOLUME", "STOPSIGNAL", "SHELL", "ONBUILD") and own:
            self.remark(each.where, f"{each.name} {_short(each.plain)} is not carried over")
        elif each.name not in ("USER", "EXPOSE", "MAINTAINER", "HEALTHCHECK") and (
            own or each.name not in ("LABEL", "VOLUME", "STOPSIGNAL", "SHELL", "ONBUILD")
        ):
            self.remark(each.where, f"{each.name} {_short(each.plain)} is not known")

    def remark(self, where: Where, text: str) -> None:
        self.image.remarks.append(Remark(where, text))

    def note(self, where: Where, text: str) -> None:
        self.image.notes.append(Remark(where, text))

    def _expand(self, text: str, values: shell.Values) -> str | None:
        word = "".join(word.text for each in shell.commands(text) for word in each.words)
        try:
            return shell.expand(word, values, missing="")
        except UnresolvedError:
            return None

    def _env(self, each: Instruction, values: dict[str, str | None], *, own: bool) -> None:
        words = each.words()
        if words and "=" not in words[0]:  # ENV NAME value
            name, _, rest = each.plain.partition(" ")
            words = [f"{name}={rest.strip()}"]
        before = dict(values)
        for word in words:
            name, _, text = word.partition("=")
            try:
                value: str | None = shell.expand(text, before, missing="")
            except UnresolvedError:
                value = None
            values[name] = value
            if own:
                line = _line_of(each, name)
                self.image.env[name] = Variable(value=value, where=Where(each.where.path, line))

    def _copy(self, each: Instruction, values: shell.Values, layout: Layout, *, own: bool) -> None:
        try:
            words = [shell.expand(word, values, missing="") for word in each.words()]
        except UnresolvedError as error:
            self.remark(each.where, f"{each.name} uses {error}, which only a build would tell")
            return
        heredoc = each.script_line > 0
        sources, target = words[:-1], words[-1] if words else ""
        from_name = each.flag("from")
        origin = self.image.dockerfile.stage(from_name)
        if heredoc:
            self.remark(each.where, f"{each.name} writes a file of its own: {target}")
            return
        if from_name and origin is None:
            if not _is_tool_image(from_name):
                self.remark(each.where, f"COPY --from={from_name} takes files of another image")
            return
        downloads = [source for source in sources if re.match(r"[a-z+]+://|git@", source)]
        for source in downloads:
            if not any(name in source for name in _INITS):
                self.remark(each.where, f"{each.name} downloads {_short(source)}")
        rest = [source for source in sources if source not in downloads]
        if not rest:
            return
        full = posixpath.normpath(posixpath.join(layout.workdir, target))
        if full != "/" and (target.endswith("/") or target in (".", "./")):
            full += "/"
        found = [
            match
            for source in rest
            for match in self._matching(source, from_stage=origin is not None)
        ]
        copy = Copy(sources=tuple(found), target=full, origin=origin, where=each.where)
        layout.copies.append(copy)
        if origin is None:
            self.image.copied.append(copy)
        elif own:
            self._made_by(origin, copy)

    def _made_by(self, stage: Stage, copy: Copy) -> None:
        """What is copied from a stage is the UDF's own, an installed package, or lost."""
        workdir = self.image.layouts[stage.index].workdir
        for source in copy.sources:
            path = posixpath.normpath(posixpath.join("/", source))
            own = self.image._locate(stage, path, depth=0) is not None
            if not own and path != workdir and not _INSTALLED.search(path):
                text = f"COPY --from={stage.name or stage.index} takes {source}, which that stage"
                self.remark(copy.where, f"{text} has made")

    def _matching(self, source: str, *, from_stage: bool) -> Iterator[str]:
        if from_stage or not re.search(r"[*?\[]", source):
            yield source
            return
        for path in sorted(self.image.context.glob(source.lstrip("./") or "*")):
            yield path.relative_to(self.image.context).as_posix()

    # --- the base and the command ---------------------------------------------------------------

    def _base(self, stage: Stage) -> None:
        reference = stage.base.partition("@")[0]
        name, _, tag = reference.rpartition("/")[2].partition(":")
        if name == "python":
            self._python(stage, tag)
        elif _is_tool_image(reference) and (match := _UV_PYTHON.search(tag)):
            self.image.python = match["version"]
        else:
            text = f"base image {stage.base}: the shared base takes its place"
            self.remark(stage.where, f"{text}, and has none of what else is in it")

    def _python(self, stage: Stage, tag: str) -> None:
        match = _PYTHON_TAG.fullmatch(tag)
        if match is None:
            text = f"base image {stage.base} names no version of Python"
            self.remark(stage.where, f"{text}: set python under [tool.numaflow-udf] if it matters")
            return
        self.image.python = match["version"]
        rest = match["rest"] or ""
        if "alpine" in rest:
            self.remark(
                stage.where, f"base image {stage.base} is Alpine: packages differ on Debian"
            )
        elif "slim" not in rest:
            text = f"{stage.base} is the large image and the base is the slim one"
            self.note(stage.where, f"{text}: a library that is missed goes into system-packages")

    def _process(self, chain: Sequence[Stage]) -> None:
        entrypoint, cmd = self.commands[chain[-1].index]
        values = self.values[chain[-1].index]
        first = entrypoint or cmd
        if first is None:
            return
        if entrypoint is not None and entrypoint.json() is None:
            # The shell form takes no CMD.
            self.image.process = Process(script=entrypoint.text, where=entrypoint.where)
            return
        words = list(entrypoint.json() or []) if entrypoint is not None else []
        where = (cmd or first).where
        if cmd is not None:
            given = cmd.json()
            words += given if given is not None else ["/bin/sh", "-c", cmd.text]
        self.image.process = self._unwrapped(words, where, values)

    def _unwrapped(self, words: list[str], where: Where, values: shell.Values) -> Process:
        """The command without an init process, and a script where a shell runs one."""
        while words and words[0].rpartition("/")[2] in (*_INITS, "docker-init"):
            words = words[1:]
            while words and words[0].startswith("-") and words[0] != "--":
                words = words[1:]
            if words[:1] == ["--"]:
                words = words[1:]
        if len(words) >= 3 and words[0].rpartition("/")[2] in ("sh", "bash", "ash", "dash"):
            options, rest = words[1], words[2:]
            if options.startswith("-") and options.endswith("c"):
                return Process(script=rest[0], where=where)
        del values
        return Process(argv=tuple(words), where=where)

    def expanded(self) -> shell.Values:
        """The environment of the running image."""
        return {name: variable.value for name, variable in self.image.env.items()}


def _line_of(each: Instruction, name: str) -> int:
    """The line in which an ``ENV`` of several lines sets ``name``."""
    before = re.split(rf"(?:^|\s){re.escape(name)}[= ]", each.text, maxsplit=1)[0]
    return (
        each.where.line
        + before.count("\\\n")
        + ("\\\n" in each.text[len(before) : len(before) + 3])
    )


def _is_tool_image(reference: str) -> bool:
    return reference.partition("@")[0].partition(":")[0].endswith("astral-sh/uv")


def _short(text: str) -> str:
    return text if len(text) <= 100 else f"{text[:97]}..."


class _Run:
    """The commands of one ``RUN``."""

    def __init__(
        self,
        reading: _Reading,
        instruction: Instruction,
        values: Mapping[str, str | None],
        layout: Layout,
        *,
        own: bool,
    ) -> None:
        self.reading = reading
        self.image = reading.image
        self.instruction = instruction
        self.values = dict(values)
        self.layout = layout
        self.own = own
        self.cwd = layout.workdir
        self.feeds_installer = False

    def read(self) -> None:
        each = self.instruction
        path = each.where.path
        for name, value in each.flags:
            if name == "mount" and re.search(r"type=(?:secret|ssh)", value):
                hint = "index credentials come from the host (PIP_INDEX_URL, .netrc)"
                self.reading.remark(each.where, f"build secret --mount={value}: {hint}")
        words = each.json()
        if words is not None:
            command = shell.Command(
                words=tuple(shell.Word(word, quoted=True) for word in words),
                line=each.where.line,
                source=each.plain,
            )
            self._command(command, path)
            return
        text, line = each.text, each.where.line
        if each.script_line and text.startswith("<<"):
            text, line = each.script, each.script_line
        for command in shell.commands(text, line):
            self._command(command, path)

    def _command(self, command: shell.Command, path: Path) -> None:
        where = Where(path, command.line)
        fed, self.feeds_installer = self.feeds_installer, False
        words = list(command.words)
        while words and (match := shell.ASSIGNMENT.fullmatch(words[0].text)):
            self.values[match["name"]] = self.reading._expand(match["value"], self.values)
            words.pop(0)
        if not words:
            return
        try:
            argv = shell.Command(words=tuple(words), line=command.line).argv(
                self.values, missing=""
            )
        except UnresolvedError as error:
            self._custom(command, where, f" (with {error})")
            return
        if not argv:
            return
        name, rest = argv[0].rpartition("/")[2], argv[1:]
        if name == "sudo":
            name, rest = (rest[0].rpartition("/")[2], rest[1:]) if rest else ("true", [])
        if name in ("python", "python3") and rest[:1] == ["-m"] and len(rest) > 1:
            name, rest = rest[1], rest[2:]
        if fed and name in ("sh", "bash", "python", "python3"):
            return
        if not self._known(name, rest, command, where):
            self._custom(command, where)

    def _known(self, name: str, rest: list[str], command: shell.Command, where: Where) -> bool:
        """Whether the command is read here, or leaves nothing that an image would miss."""
        if command.writes:
            return False
        if name in ("apt-get", "apt", "aptitude"):
            return self._apt(rest, where)
        if name in ("pip", "pip3") or re.fullmatch(r"pip3\.\d+", name):
            return self._pip(rest, where)
        if name == "uv":
            return self._uv(rest, where)
        if name == "poetry":
            return self._poetry(rest, where)
        if name in ("curl", "wget"):
            known = any(each in word for word in rest for each in _INSTALLERS)
            self.feeds_installer = known
            return known
        if name in ("venv", "virtualenv", "compileall", "ensurepip"):
            return True
        if name == "rm":
            return all(_is_rubbish(word) for word in rest if not word.startswith("-"))
        if name == "cd" and rest:
            self.cwd = posixpath.join(self.cwd, rest[0])
            return True
        if name == "mkdir":
            return all(self._is_workdir(word) for word in rest if not word.startswith("-"))
        if name == "chmod":
            return all(self._may_have_mode(word) for word in rest[1:] if not word.startswith("-"))
        return name in _NO_PART

    def _is_workdir(self, path: str) -> bool:
        full = posixpath.normpath(posixpath.join(self.cwd, path))
        places = [each.workdir for each in self.image.layouts.values()]
        later = [
            self.reading._expand(each.plain, self.values) or "/"
            for stage in self.image.dockerfile.stages
            for each in stage.instructions
            if each.name == "WORKDIR"
        ]
        return any(PurePosixPath(place).is_relative_to(full) for place in [*places, *later])

    def _may_have_mode(self, path: str) -> bool:
        """A file of the UDF's, which need not be executable, or an init process."""
        return path.endswith((".sh", ".py", *_INITS)) or self._is_workdir(path)

    def _custom(self, command: shell.Command, where: Where, more: str = "") -> None:
        kind = "download" if command.words[0].text in ("curl", "wget") else "step"
        stage = "" if self.own else ", in a stage that only builds"
        text = f"RUN {kind} is not carried over{stage}: {_short(command.source)}{more}"
        self.reading.remark(where, text)

    # --- installers -----------------------------------------------------------------------------

    def _apt(self, rest: list[str], where: Where) -> bool:
        words = list(rest)
        names: list[str] = []
        verb = ""
        while words:
            word = words.pop(0)
            if word in ("-o", "-t", "--target-release", "--option", "-c"):
                words[:1] = []
            elif not word.startswith("-"):
                if verb:
                    names.append(word)
                else:
                    verb = word
        if verb in ("update", "clean", "autoclean", "autoremove", "upgrade", "dist-upgrade"):
            return True
        if verb in ("remove", "purge"):
            return all(name in BUILD_TOOLS or name.endswith("-dev") for name in names)
        if verb != "install":
            return False
        good = re.compile(r"[a-z0-9][a-z0-9+.-]+(?:=[A-Za-z0-9.+:~-]+)?")
        for name in names:
            if name.partition("=")[0] in BUILD_TOOLS:
                continue
            if not good.fullmatch(name):
                self.reading.remark(where, f"apt package '{name}' is not carried over")
            elif self.own:
                line = self._line_of(name, where.line)
                self.image.packages.setdefault(name, Where(where.path, line))
            else:
                self.reading.remark(
                    where,
                    f"apt package {name} is in a stage that only builds: a package that is "
                    "compiled against it needs a wheel",
                )
        return True

    def _line_of(self, word: str, start: int) -> int:
        """The line of a word of a command that begins at line ``start``."""
        each = self.instruction
        text, first = each.text, each.where.line
        if each.script_line and text.startswith("<<"):
            text, first = each.script, each.script_line
        for number, line in enumerate(text.split("\n"), first):
            if number >= start and re.search(rf"(?<![\w.+-]){re.escape(word)}(?![\w.+-])", line):
                return number
        return start

    def _pip(self, rest: list[str], where: Where) -> bool:
        words = [word for word in rest if not word.startswith("-")]
        verb = words[0] if words else ""
        if verb in ("config", "cache", "list", "check", "freeze", "--version", "show"):
            return True
        if verb not in ("install", "sync"):
            return False
        pending = rest[rest.index(verb) + 1 :]
        good = True
        while pending:
            word = pending.pop(0)
            option, equals, value = word.partition("=")
            if option in ("-r", "--requirement", "--requirements") or (
                word.startswith("-r") and len(word) > 2 and not word.startswith("--")
            ):
                file = value if equals else word[2:] if len(option) > 2 and option[1] != "-" else ""
                self._requirement_file(file or (pending.pop(0) if pending else ""), where)
            elif option in ("-e", "--editable"):
                self._requirement(value or (pending.pop(0) if pending else ""), where)
            elif option in _PIP_VALUE:
                value = value if equals else (pending.pop(0) if pending else "")
                if option in _INDEX_OPTIONS:
                    hint = "the build reads the host's PIP_INDEX_URL or UV_DEFAULT_INDEX"
                    self.reading.remark(where, f"pip {option} is not carried over: {hint}")
                elif option in ("-c", "--constraint", "-f", "--find-links"):
                    self.reading.remark(where, f"pip {option} {value} is not carried over")
            elif word.startswith("-"):
                continue
            elif verb == "sync":
                self._requirement_file(word, where)
            else:
                self._requirement(word, where)
        return good

    def _requirement(self, text: str, where: Where) -> None:
        name = re.split(r"[\[<>=~!@ ;]", text)[0].lower()
        if name in _PIP_TOOLS:
            return
        if re.match(r"\.{0,2}/|\.$|\.\[", text):
            place = text.partition("[")[0]
            if self._in_context(place) is not None and "[" not in text:
                self.image.installers.setdefault("project", where)
            else:
                self.reading.remark(where, f"pip install {text} is not carried over")
            return
        self.image.requirements.setdefault(text, Where(where.path, self._line_of(name, where.line)))

    def _requirement_file(self, name: str, where: Where) -> None:
        found = self._in_context(name)
        if found is None or not found.is_file():
            mounted = self._mounted(name)
            if mounted is None:
                # A file that another command has made, such as `poetry export`.
                if not self.image.installers:
                    self.reading.remark(where, f"pip install -r {name}: no such file is copied")
                return
            found = mounted
        self.image.requirement_files.setdefault(found, where)
        self.image.installers.setdefault("requirements", where)

    def _in_context(self, path: str) -> Path | None:
        stage = next(
            each
            for each in self.image.dockerfile.stages
            if self.image.layouts.get(each.index) is self.layout
        )
        full = posixpath.normpath(posixpath.join(self.cwd, path))
        return self.image._locate(stage, full, depth=0)

    def _mounted(self, name: str) -> Path | None:
        """A file that the step gets by a bind mount."""
        for flag, value in self.instruction.flags:
            options = dict(part.partition("=")[::2] for part in value.split(","))
            target = options.get("target", options.get("dst", options.get("destination", "")))
            source = options.get("source", options.get("src", ""))
            if flag == "mount" and options.get("type") == "bind" and source and target:
                full = posixpath.normpath(posixpath.join(self.cwd, name))
                if posixpath.normpath(posixpath.join(self.layout.workdir, target)) == full:
                    path = self.image.context / source
                    return path if path.is_file() else None
        return None

    def _poetry(self, rest: list[str], where: Where) -> bool:
        words = [word for word in rest if not word.startswith("-")]
        verb = words[0] if words else ""
        if verb == "add":
            for word in words[1:]:
                self._requirement(word.replace("@", "=="), where)
            return True
        if verb in ("install", "sync", "export"):
            self.image.installers.setdefault("poetry", where)
            self._more_than_main(rest, where, ("--with", "--extras", "-E", "--all-extras"))
        return verb in (
            *("install", "sync", "export", "lock", "update", "config", "self", "check", "env"),
            *("build", "cache", ""),
        )

    def _uv(self, rest: list[str], where: Where) -> bool:
        words = [word for word in rest if not word.startswith("-")]
        verb = words[0] if words else ""
        if verb == "pip":
            return self._pip(rest[rest.index("pip") + 1 :], where)
        if verb == "add":
            for word in words[1:]:
                self._requirement(word, where)
            return True
        if verb in ("sync", "export"):
            self.image.installers.setdefault("uv", where)
            self._more_than_main(
                rest, where, ("--extra", "--group", "--all-extras", "--all-groups")
            )
        return verb in ("sync", "export", "lock", "venv", "python", "cache", "self", "build", "")

    def _more_than_main(self, rest: list[str], where: Where, options: Sequence[str]) -> None:
        for word in rest:
            if word.partition("=")[0] in options:
                text = (
                    f"{word} installs more than the main dependencies, which are all that is read"
                )
                self.reading.remark(where, text)


_RUBBISH: Final = ("/var/lib/apt", "/var/cache", "/tmp", "/root/.cache", "~/", "/usr/share/doc")  # noqa: S108


def _is_rubbish(path: str) -> bool:
    return (
        path.startswith(_RUBBISH) or ".cache" in path or path.endswith((".deb", ".tar.gz", ".sh"))
    )
