"""The commands of a ``RUN``: what they install, and which of them are not carried over."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Final

from . import shell
from .dockerfile import Instruction, Stage
from .image import OldImage
from .remarks import Remark, UnresolvedError, Where, shortened

_BUILD_TOOLS: Final = shell.names(
    "apt-transport-https apt-utils autoconf automake binutils build-essential ca-certificates "
    "clang cmake cpp curl debhelper dirmngr dpkg-dev dumb-init g++ gcc git git-core gnupg gnupg2 "
    "libc-dev libc6-dev libtool lsb-release make ninja-build openssh-client pkg-config pkgconf "
    "procps python3 python3-dev python3-pip python3-venv rustc cargo software-properties-common "
    "tini unzip wget xz-utils zip"
)
"""Debian packages that build an image, or that the base has: not carried over."""

_INSTALLERS: Final = (
    "python-poetry",
    "astral.sh/uv",
    "astral-sh/uv",
    "dumb-init",
    "tini",
    "get-pip",
)
INITS: Final = ("dumb-init", "tini")

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


def read(
    image: OldImage,
    stage: Stage,
    instruction: Instruction,
    values: shell.Values,
    *,
    own: bool,
) -> None:
    """Read a ``RUN`` into ``image``; ``own`` says that its stage is part of the image."""
    _Run(image, stage, instruction, values, own=own).read()


class _Run:
    """The commands of one ``RUN``."""

    def __init__(
        self,
        image: OldImage,
        stage: Stage,
        instruction: Instruction,
        values: shell.Values,
        *,
        own: bool,
    ) -> None:
        self.image = image
        self.stage = stage
        self.instruction = instruction
        self.values = dict(values)
        self.own = own
        self.workdir = self.cwd = image.layouts[stage.index].workdir
        self.feeds_installer = False

    def read(self) -> None:
        each = self.instruction
        path = each.where.path
        for name, value in each.flags:
            if name == "mount" and re.search(r"type=(?:secret|ssh)", value):
                hint = "index credentials come from the host (PIP_INDEX_URL, .netrc)"
                self._remark(each.where, f"build secret --mount={value}: {hint}")
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

    def _remark(self, where: Where, text: str) -> None:
        self.image.remarks.append(Remark(where, text))

    def _command(self, command: shell.Command, path: Path) -> None:
        where = Where(path, command.line)
        fed, self.feeds_installer = self.feeds_installer, False
        words = list(command.words)
        while words and (match := shell.ASSIGNMENT.fullmatch(words[0].text)):
            self.values[match["name"]] = shell.unquoted(match["value"], self.values)
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
        """Whether the command is read here, or leaves nothing that an image needs."""
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
            shell.unquoted(each.plain, self.values) or "/"
            for stage in self.image.dockerfile.stages
            for each in stage.instructions
            if each.name == "WORKDIR"
        ]
        return any(PurePosixPath(place).is_relative_to(full) for place in [*places, *later])

    def _may_have_mode(self, path: str) -> bool:
        """A file of the UDF's, which need not be executable, or an init process."""
        return path.endswith((".sh", ".py", *INITS)) or self._is_workdir(path)

    def _custom(self, command: shell.Command, where: Where, more: str = "") -> None:
        kind = "download" if command.words[0].text in ("curl", "wget") else "step"
        stage = "" if self.own else ", in a stage that only builds"
        text = f"RUN {kind} is not carried over{stage}: {shortened(command.source)}{more}"
        self._remark(where, text)

    # --- installers -----------------------------------------------------------------------------

    def _apt(self, rest: list[str], where: Where) -> bool:
        with_value = ("-o", "-t", "--target-release", "--option", "-c")
        verb, *names = [
            word
            for before, word in zip(["", *rest], rest, strict=False)
            if not word.startswith("-") and before not in with_value
        ] or [""]
        if verb in ("update", "clean", "autoclean", "autoremove", "upgrade", "dist-upgrade"):
            return True
        if verb in ("remove", "purge"):
            return all(name in _BUILD_TOOLS or name.endswith("-dev") for name in names)
        if verb != "install":
            return False
        good = re.compile(r"[a-z0-9][a-z0-9+.-]+(?:=[A-Za-z0-9.+:~-]+)?")
        for name in names:
            if name.partition("=")[0] in _BUILD_TOOLS:
                continue
            if not good.fullmatch(name):
                self._remark(where, f"apt package '{name}' is not carried over")
            elif self.own:
                line = self.instruction.line_of(name, where.line)
                self.image.packages.setdefault(name, Where(where.path, line))
            else:
                text = f"apt package {name} is in a stage that only builds"
                self._remark(where, f"{text}: a package that is compiled against it needs a wheel")
        return True

    def _pip(self, rest: list[str], where: Where) -> bool:
        words = [word for word in rest if not word.startswith("-")]
        verb = words[0] if words else ""
        if verb in ("config", "cache", "list", "check", "freeze", "--version", "show"):
            return True
        if verb not in ("install", "sync"):
            return False
        pending = rest[rest.index(verb) + 1 :]
        while pending:
            word = pending.pop(0)
            option, equals, value = word.partition("=")
            if word.startswith("-r") and len(word) > 2:  # -rFILE
                option, equals, value = "-r", "=", word[2:]
            takes_value = option in ("-r", "--requirement", "--requirements", "-e", "--editable")
            if (takes_value or option in _PIP_VALUE) and not equals and pending:
                value = pending.pop(0)
            if option in ("-e", "--editable"):
                self._requirement(value, where)
            elif takes_value:
                self._requirement_file(value, where)
            elif option in _PIP_VALUE:
                if option in _INDEX_OPTIONS:
                    hint = "the build reads the host's PIP_INDEX_URL or UV_DEFAULT_INDEX"
                    self._remark(where, f"pip {option} is not carried over: {hint}")
                elif option in ("-c", "--constraint", "-f", "--find-links"):
                    self._remark(where, f"pip {option} {value} is not carried over")
            elif word.startswith("-"):
                continue
            elif verb == "sync":
                self._requirement_file(word, where)
            else:
                self._requirement(word, where)
        return True

    def _requirement(self, text: str, where: Where) -> None:
        name = re.split(r"[\[<>=~!@ ;]", text)[0].lower()
        if name in _PIP_TOOLS:
            return
        if re.match(r"\.{0,2}/|\.$|\.\[", text):
            place = text.partition("[")[0]
            if self._in_context(place) is not None and "[" not in text:
                self.image.installers.setdefault("project", where)
            else:
                self._remark(where, f"pip install {text} is not carried over")
            return
        self.image.requirements.setdefault(
            text, Where(where.path, self.instruction.line_of(name, where.line))
        )

    def _requirement_file(self, name: str, where: Where) -> None:
        found = self._in_context(name)
        if found is None or not found.is_file():
            found = self._mounted(name)
        if found is None:
            # It may be a file that another command has made, such as `poetry export`.
            if not self.image.installers:
                self._remark(where, f"pip install -r {name}: no such file is copied")
            return
        self.image.requirement_files.setdefault(found, where)
        self.image.installers.setdefault("requirements", where)

    def _in_context(self, path: str) -> Path | None:
        full = posixpath.normpath(posixpath.join(self.cwd, path))
        return self.image.locate_in(self.stage, full)

    def _mounted(self, name: str) -> Path | None:
        """A file that the step gets by a bind mount."""
        for flag, value in self.instruction.flags:
            options = dict(part.partition("=")[::2] for part in value.split(","))
            target = options.get("target", options.get("dst", options.get("destination", "")))
            source = options.get("source", options.get("src", ""))
            if flag == "mount" and options.get("type") == "bind" and source and target:
                full = posixpath.normpath(posixpath.join(self.cwd, name))
                if posixpath.normpath(posixpath.join(self.workdir, target)) == full:
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
            more = ("--extra", "--group", "--all-extras", "--all-groups")
            self._more_than_main(rest, where, more)
        return verb in ("sync", "export", "lock", "venv", "python", "cache", "self", "build", "")

    def _more_than_main(self, rest: list[str], where: Where, options: Sequence[str]) -> None:
        for word in rest:
            if word.partition("=")[0] in options:
                text = f"{word} installs more than the main dependencies"
                self._remark(where, f"{text}, which are all that is read")


_RUBBISH: Final = ("/var/lib/apt", "/var/cache", "/tmp", "/root/.cache", "~/", "/usr/share/doc")  # noqa: S108


def _is_rubbish(path: str) -> bool:
    return (
        path.startswith(_RUBBISH) or ".cache" in path or path.endswith((".deb", ".tar.gz", ".sh"))
    )
