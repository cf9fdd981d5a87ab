"""Reading old files without running them: shell text, Makefiles, Dockerfiles, build commands."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.core.migration import commands, dockerfile, legacy, makefile, shell
from tasks.core.migration.remarks import UnresolvedError

Write = Callable[[str, str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a file below a folder of its own."""

    def make(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return make


class TestShell:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            pytest.param("a b c", [["a", "b", "c"]], id="words"),
            pytest.param("a && b || c; d | e & f", [[c] for c in "abcdef"], id="operators"),
            pytest.param("a 'b c' \"d e\" f\\ g", [["a", "b c", "d e", "f g"]], id="quotes"),
            pytest.param("a \\\n  b\nc", [["a", "b"], ["c"]], id="continuation"),
            pytest.param("a # no\n# neither\nb#c", [["a"], ["b#c"]], id="comments"),
            pytest.param("a > x 2>&1 < y b", [["a", "b"]], id="redirections"),
            pytest.param("cat <<EOF >x\nno && no\nEOF\nb", [["cat"], ["b"]], id="heredoc"),
            pytest.param("cat <<-'E'\n\tno\n\tE\nb", [["cat"], ["b"]], id="heredoc with tabs"),
            pytest.param(
                "if [ a ]; then b; else c; fi; for x in 1; do d; done",
                [["[", "a", "]"], ["b"], ["c"], ["for", "x", "in", "1"], ["d"]],
                id="keywords",
            ),
            pytest.param("(a; { b; })", [["a"], ["b"]], id="groups"),
            pytest.param('a "$(b "c d")" `e f`', [["a", '$(b "c d")', "`e f`"]], id="output"),
            pytest.param("a ${b:-c d}", [["a", "${b:-c d}"]], id="parameter"),
            pytest.param("", [], id="nothing"),
            pytest.param("'never closed", [["never close"]], id="not closed"),
        ],
    )
    def test_commands(self, text: str, expected: list[list[str]]) -> None:
        found = [[word.text for word in each.words] for each in shell.commands(text)]
        assert found == expected

    def test_lines(self) -> None:
        text = "a && \\\n  b\n\n# c\nd 'e\nf'; g\ncat <<E\nx\nE\nh"
        found = {each.words[0].text: each.line for each in shell.commands(text, 10)}
        assert found == {"a": 10, "b": 11, "d": 14, "g": 15, "cat": 16, "h": 19}

    def test_what_is_written_and_piped(self) -> None:
        a, b, c = shell.commands("a >/dev/null 2>&1 | b >> file; c > $X")
        assert (a.writes, a.piped) == ((), True)
        assert (b.writes, b.piped) == (("file",), False)
        assert c.writes == ("$X",)

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("$A-${A}", "one-one"),
            ("${A:-x}${B:-x}${C:-x}", "onexx"),
            ("${B-x}", ""),
            ("${C-${A}}", "one"),
            ("${A:+yes}${C:+yes}", "yes"),
            ("$$ $ 5$", "$$ $ 5$"),
        ],
    )
    def test_expand(self, text: str, expected: str) -> None:
        assert shell.expand(text, {"A": "one", "B": ""}) == expected

    @pytest.mark.parametrize("text", ["$C", "${C}", "$(date)", "`date`", "${A#o}", "${C:?}", "$D"])
    def test_what_only_a_run_would_tell(self, text: str) -> None:
        values = {"A": "one", "D": None}
        with pytest.raises(UnresolvedError):
            shell.expand(f"x{text}", values)
        assert shell.expand_known(f"$A:{text}", values) == f"one:{text}"

    def test_single_quotes_keep_a_dollar(self) -> None:
        [command] = shell.commands("a '$A' \"$A\" \\$A")
        assert command.argv({"A": "1 2"}) == ["a", "$A", "1 2", "$A"]

    def test_what_is_not_quoted_is_split(self) -> None:
        [command] = shell.commands('a $A "$A"')
        assert command.argv({"A": "1 2"}) == ["a", "1", "2", "1 2"]

    @pytest.mark.parametrize("text", ["plain/1.0", "two words", "it's", "$x", "", 'a"b'])
    def test_quoted(self, text: str) -> None:
        [command] = shell.commands(f"x {shlex.quote(text)}")
        assert command.argv({}) == ["x", text]


MAKEFILE = """\
# A comment
TAG ?= stable   # with a comment
TAG ?= other
NAME := even
NAME += odd
FULL = $(NAME)/${TAG}
FOLDER := $(notdir $(CURDIR))
SHELLED = $(shell git describe)
PID = $$$$
LONG = a \\
  b

ifeq ($(CI),true)
TAG = ci
ONLY_HERE = yes
endif

define BLOCK
image: not a rule
endef

include common.mk missing.mk

.PHONY: image
image: needed | order
\t@echo $(FULL) $(INCLUDED)
\tdocker build \\
\t  .

needed other: ; true
export PATH := $(PATH)
"""


class TestMakefile:
    @pytest.fixture
    def made(self, write: Write) -> makefile.Makefile:
        write("udf/common.mk", "INCLUDED = from there\ninner:\n\ttrue\n")
        return makefile.read(write("udf/Makefile", MAKEFILE))

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("$(TAG)", "stable"),
            ("$(NAME)", "even odd"),
            ("${FULL}", "even odd/stable"),
            ("$(FOLDER)", "udf"),
            ("$(SHELLED)", "$(shell git describe)"),
            ("$(ONLY_HERE)", "$(ONLY_HERE)"),
            ("$(BLOCK)", "$(BLOCK)"),
            ("$(UNKNOWN)", ""),
            ("$(PID)", "$$"),
            ("$(LONG)", "a  b"),
            ("$(shell basename $(CURDIR))", "udf"),
            ("$@", "target"),
        ],
    )
    def test_expand(self, made: makefile.Makefile, text: str, expected: str) -> None:
        assert made.expand(text, {"@": "target"}) == expected

    def test_rules(self, made: makefile.Makefile) -> None:
        rules = {rule.targets[0]: rule for rule in made.rules}
        assert set(rules) == {".PHONY", "image", "needed"}
        image = rules["image"]
        assert image.needs == ("needed", "order")
        assert (image.first, image.last) == (25, 28)
        assert [number for number, _ in image.recipe] == [26, 27]
        assert rules["needed"].targets == ("needed", "other")
        assert [text for _, text in rules["needed"].recipe] == ["true"]

    def test_a_recipe_as_the_shell_gets_it(self, made: makefile.Makefile) -> None:
        image = made.rules[1]
        lines = [makefile.shell_text(made, image, text) for _, text in image.recipe]
        assert lines[0] == "echo even odd/stable from there"
        [command] = shell.commands(lines[1])
        assert command.argv({}) == ["docker", "build", "."]

    def test_a_variable_that_names_itself(self, write: Write) -> None:
        made = makefile.read(write("Makefile", "A = $(B)\nB = $(A)\n"))
        assert "$(" in made.expand("$(A)")


DOCKERFILE = """\
# syntax=docker/dockerfile:1
ARG VERSION=3.12
from --platform=$BUILDPLATFORM python:${VERSION}-slim as builder
RUN --mount=type=cache,target=/x \\
    --mount=type=secret,id=pip \\
    # a comment in between

    one && \\
    two
RUN <<EOF
three
four
EOF
COPY --chown=1:1 ["a b", "/x/"]
FROM builder
CMD ["python", \\
     "main.py"]
"""


class TestDockerfile:
    def test_a_list_that_is_nested_thousands_deep(self, write: Write) -> None:
        (_, command) = dockerfile.instructions(
            write("Dockerfile", f"FROM x\nCMD {'[' * 100_000}\n")
        )
        assert command.json() is None

    def test_instructions(self, write: Write) -> None:
        found = dockerfile.instructions(write("Dockerfile", DOCKERFILE))
        assert [(each.name, each.where.line) for each in found] == [
            ("ARG", 2),
            ("FROM", 3),
            ("RUN", 8),
            ("RUN", 10),
            ("COPY", 14),
            ("FROM", 15),
            ("CMD", 16),
        ]
        run, heredoc, copy = found[2], found[3], found[4]
        assert run.flags == (
            ("mount", "type=cache,target=/x"),
            ("mount", "type=secret,id=pip"),
        )
        lines = {each.words[0].text: each.line for each in shell.commands(run.text, run.where.line)}
        assert lines == {"one": 8, "two": 9}
        assert (heredoc.script, heredoc.script_line) == ("three\nfour", 11)
        assert copy.words() == ["a b", "/x/"]
        assert found[-1].json() == ["python", "main.py"]

    def test_stages(self, write: Write) -> None:
        found = dockerfile.read(write("Dockerfile", DOCKERFILE), {})
        assert [(each.name, each.base) for each in found.stages] == [
            ("builder", "python:3.12-slim"),
            ("", "builder"),
        ]
        assert found.chain(found.stages[1]) == list(found.stages)
        given = dockerfile.read(found.path, {"VERSION": "3.13"})
        assert given.stages[0].base == "python:3.13-slim"

    def test_another_escape(self, write: Write) -> None:
        text = "# escape=`\nFROM python\nRUN a `\n  b\nCOPY c:\\\\d \\e\\\nUSER x\n"
        found = dockerfile.instructions(write("Dockerfile", text))
        assert [each.name for each in found] == ["FROM", "RUN", "COPY", "USER"]
        assert found[1].plain == "a b"

    @pytest.mark.parametrize("text", ["", "# nothing\n", "ARG A\n", "what is this\n", "RUN\\\n"])
    def test_no_stage(self, write: Write, text: str) -> None:
        assert dockerfile.read(write("Dockerfile", text), {}).stages == ()


class TestBuilds:
    def of(self, path: Path) -> commands.Build:
        read = commands.read_makefile if path.name == "Makefile" else commands.read_script
        return read(path).builds[0]

    @pytest.mark.parametrize(
        ("command", "tags", "rest"),
        [
            ("docker build -t a/b:c .", ("a/b:c",), {}),
            ("docker buildx build --tag=a/b:c --push .", ("a/b:c",), {}),
            ("sudo docker image build -q -ta/b .", ("a/b",), {}),
            ("podman build . -t a --target=run", ("a",), {"stage": "run"}),
            ("cd x && docker build -t a -f ../D .", ("a",), {"context": "x", "dockerfile": "D"}),
            ("docker build -t a --platform linux/amd64 .", ("a",), {"platforms": "linux/amd64"}),
            ("docker build --build-arg A=1 --build-arg B=$$C .", (), {"arguments": ["A", "B"]}),
        ],
    )
    def test_of_a_makefile(
        self, write: Write, command: str, tags: tuple[str, ...], rest: dict[str, object]
    ) -> None:
        path = write("Makefile", f"image:\n\t@{command}\n")
        build = self.of(path)
        assert build.tags == tags
        assert (build.where.line, build.target) == (2, "image")
        assert build.context == path.parent / str(rest.get("context", ""))
        name = str(rest.get("dockerfile", "Dockerfile"))
        assert build.dockerfile == path.parent / name
        assert build.stage == rest.get("stage", "")
        assert build.platforms == rest.get("platforms", "")
        assert list(build.arguments) == rest.get("arguments", [])
        assert build.remarks == ()

    def test_the_target_image_speaks_first(self, write: Write) -> None:
        text = "".join(
            f"{name}:\n\tdocker build -t {name} .\n" for name in ("image-push", "other", "image")
        )
        read = commands.read_makefile(write("Makefile", text))
        assert [build.target for build in read.builds] == ["image", "other", "image-push"]

    def test_of_a_script(self, write: Write) -> None:
        text = """\
            set -e
            HERE="$(cd "$(dirname "$0")" && pwd)"
            export TAG=${1:-v1} NAME='my udf'
            NAME=udf
            COMMIT=$(git rev-parse HEAD)
            docker build --label x=1 --secret id=a --ssh default \\
              -t "team/$NAME:$TAG" -f "$HERE/docker/D" "$HERE"
            protoc x.proto
            docker push "team/$NAME:$TAG"
        """
        path = write("build.sh", text)
        read = commands.read_script(path)
        build = read.builds[0]
        assert build.tags == ("team/udf:v1",)
        assert build.context == path.parent
        assert build.dockerfile == path.parent / "docker/D"
        assert [each.text for each in build.remarks] == [
            "--label x=1 is not carried over",
            "build secret 'id=a': index credentials come from the host (PIP_INDEX_URL, .netrc)",
            "--ssh default is not supported",
        ]
        assert [(each.where.line, each.text) for each in read.other] == [
            (8, "not carried over: protoc x.proto")
        ]

    @pytest.mark.parametrize(
        ("tag", "parts", "remarks"),
        [
            ("registry.example:5000/a/b:c", ("registry.example:5000/a", "b", "c"), []),
            ("a/b", ("a", "b", ""), []),
            ("b:c", ("", "b", "c"), []),
            ("localhost:5000/b", ("localhost:5000", "b", ""), []),
            ("r/b:$(git describe --tags)", ("r", "b", ""), ["--tag"]),
            ("$REG/b:c", ("", "b", "c"), ["--registry"]),
            ("r/$(basename a/b):c", ("r", "", "c"), ["set image"]),
            ("${REG%x}/a/b:1", ("", "b", "1"), ["--registry"]),
            ("r.example/`whoami`-b:1", ("r.example", "", "1"), ["set image"]),
        ],
    )
    def test_references(
        self, write: Write, tag: str, parts: tuple[str, str, str], remarks: list[str]
    ) -> None:
        build = self.of(write("build.sh", f'docker build -t "{tag}" .\n'))
        found, said = legacy.name_of(build)
        assert (found.registry, found.name, found.tag) == parts
        assert len(said) == len(remarks)
        assert all(word in each.text for word, each in zip(remarks, said, strict=True))

    def test_a_second_name_is_said(self, write: Write) -> None:
        build = self.of(write("build.sh", "docker build -t r/a:1 -t r/a:latest -t r/b:1 .\n"))
        found, said = legacy.name_of(build)
        assert found.name == "a"
        assert [each.text for each in said] == ["a second image name is not carried over: r/b:1"]
