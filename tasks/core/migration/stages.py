"""The stages of an old Dockerfile, read into an :class:`OldImage`.

Only what a base image and a UDF's own settings can take over is read as such. Every other
instruction becomes a remark with its line.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from . import dockerfile as dockerfiles
from . import shell, steps
from .dockerfile import Instruction, Stage
from .image import Copy, Layout, OldImage, Process, Variable
from .remarks import Remark, UnresolvedError, Where, shortened

_PYTHON_TAG: Final = re.compile(r"(?P<version>3\.[0-9]{1,2})(?:\.[0-9a-z]+)?(?:-(?P<rest>.+))?")
_UV_PYTHON: Final = re.compile(r"python(?P<version>3\.[0-9]{1,2})")
# Where a stage that only builds keeps the packages and tools that it has installed.
_INSTALLED: Final = re.compile(
    r"venv|site-packages|/\.local|poetry|pysetup|/install|/wheel|/deps|/uvx?$|^/usr/local(?:/bin|/lib"
    r"(?:/python[0-9.]+)?)?/?$|dumb-init|tini"
)


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
        layout = Layout()
        if below:
            layout = replace(self.image.layouts[below.index], copies=[])
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
            folder = shell.unquoted(each.plain, values) or ""
            layout.workdir = posixpath.normpath(posixpath.join(layout.workdir, folder))
            layout.workdir_where = each.where
        elif each.name in ("COPY", "ADD"):
            self._copy(each, values, layout, own=own)
        elif each.name == "RUN":
            steps.read(self.image, stage, each, values, own=own)
        elif each.name == "USER" and own:
            self.note(each.where, f"USER {each.plain}: images run as user 10001")
        elif each.name == "EXPOSE" and own:
            self.note(each.where, f"EXPOSE {each.plain} is dropped: Numaflow uses a socket file")
        elif each.name == "HEALTHCHECK" and own:
            self.note(each.where, "HEALTHCHECK is dropped: Kubernetes does not read it")
        elif each.name in ("LABEL", "VOLUME", "STOPSIGNAL", "SHELL", "ONBUILD"):
            if own:
                self.remark(each.where, f"{each.name} {shortened(each.plain)} is not carried over")
        elif each.name not in ("USER", "EXPOSE", "MAINTAINER", "HEALTHCHECK"):
            self.remark(each.where, f"{each.name} {shortened(each.plain)} is not known")

    def remark(self, where: Where, text: str) -> None:
        self.image.remarks.append(Remark(where, text))

    def note(self, where: Where, text: str) -> None:
        self.image.notes.append(Remark(where, text))

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
                where = Where(each.where.path, each.line_of(name))
                self.image.env[name] = Variable(value=value, where=where)

    def _copy(self, each: Instruction, values: shell.Values, layout: Layout, *, own: bool) -> None:
        try:
            words = [shell.expand(word, values, missing="") for word in each.words()]
        except UnresolvedError as error:
            text = f"{each.name} uses {error}, which is only known when the image is built"
            self.remark(each.where, text)
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
            if not any(name in source for name in steps.INITS):
                self.remark(each.where, f"{each.name} downloads {shortened(source)}")
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
            own = self.image.locate_in(stage, path) or self.image.holds(path, stage)
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
            text = f"base image {stage.base}: the shared base replaces it"
            self.remark(stage.where, f"{text}, without anything else that is in it")

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
            text = f"{stage.base} is the large image, the base is the slim one"
            self.note(stage.where, f"{text}: add a missing library to system-packages")

    def _process(self, chain: Sequence[Stage]) -> None:
        entrypoint, cmd = self.commands[chain[-1].index]
        first = entrypoint or cmd
        if first is None:
            return
        if entrypoint is not None and entrypoint.json() is None:
            # The shell form takes no CMD.
            self.image.process = Process(script=entrypoint.text, where=entrypoint.where)
            return
        words = list(entrypoint.json() or []) if entrypoint is not None else []
        self.image.entrypoint = self._unwrapped(words, first.where).argv
        where = (cmd or first).where
        if cmd is not None:
            given = cmd.json()
            words += given if given is not None else ["/bin/sh", "-c", cmd.text]
        # `ENTRYPOINT []` starts nothing: it is there for the args of a container.
        self.image.process = self._unwrapped(words, where) if words else None

    def _unwrapped(self, words: list[str], where: Where) -> Process:
        """The command without an init process, and a script where a shell runs one."""
        while words and words[0].rpartition("/")[2] in (*steps.INITS, "docker-init"):
            words = words[1:]
            while words and words[0].startswith("-") and words[0] != "--":
                words = words[1:]
            if words[:1] == ["--"]:
                words = words[1:]
        if len(words) >= 3 and words[0].rpartition("/")[2] in ("sh", "bash", "ash", "dash"):
            options, rest = words[1], words[2:]
            if options.startswith("-") and options.endswith("c"):
                return Process(script=rest[0], where=where)
        return Process(argv=tuple(words), where=where)


def _is_tool_image(reference: str) -> bool:
    return reference.partition("@")[0].partition(":")[0].endswith("astral-sh/uv")
