"""The configuration reference: made from the settings and from the help of their flags.

``python -m tasks.reference`` writes ``docs/configuration.md``; a test holds both equal.
"""

from __future__ import annotations

from typing import Final

from .core.model.errors import ConfigError
from .core.model.places import SHIPPED
from .core.model.settings import DEFAULTS, Settings
from .options import SETTINGS

PAGE: Final = SHIPPED / "docs" / "configuration.md"

_INTRO: Final = """\
# Configuration

<!-- Made by `python -m tasks.reference`. -->

Every setting has a default that works. A value comes from the first of these that has one:

1. the flag of a task, such as `--tag v1`
2. the environment, such as `INVOKE_UDF_TAG=v1`
3. a file given with `invoke -f FILE`
4. `invoke.yaml` of the repository (or `.yml`, `.json`, `.py`)
5. `~/.invoke.yaml`
6. `/etc/invoke.yaml`
7. the default

`invoke doctor` shows each value, and where it came from. A value that is not allowed, and a name
that is not known, end a task with exit code 10, before anything else is done.

```yaml
# invoke.yaml
udf:
  registry: registry.example/team
  tag: v1
```

## Settings
"""

_OTHERS: Final = (
    (
        "DOCKER_HOST DOCKER_CONTEXT DOCKER_CONFIG DOCKER_TLS_VERIFY DOCKER_CERT_PATH",
        "which engine, as for the docker command ([engine](engine.md))",
    ),
    (
        "XDG_CACHE_HOME",
        "where staged files and the private engine are kept, by default below `~/.cache`",
    ),
    (
        "SSL_CERT_FILE REQUESTS_CA_BUNDLE PIP_CERT CURL_CA_BUNDLE",
        "the CA bundle that builds get; else the system's",
    ),
    (
        "PIP_INDEX_URL PIP_EXTRA_INDEX_URL UV_DEFAULT_INDEX UV_INDEX UV_INDEX_STRATEGY",
        "the package index that builds use",
    ),
    (
        "PIP_TRUSTED_HOST UV_INSECURE_HOST UV_INDEX_NAME_USERNAME UV_INDEX_NAME_PASSWORD",
        "trust in that index, and logins for it",
    ),
    ("HTTPS_PROXY HTTP_PROXY ALL_PROXY NO_PROXY", "the proxy that builds use"),
    ("NETRC", "logins for indexes, by default those of `~/.netrc`"),
    ("SOURCE_DATE_EPOCH", "the time of creation that images say"),
    ("NO_COLOR", "no colour in the lines of `invoke dev`"),
)

_OUTRO: Final = """\
A relative path of a flag starts where you stand, every other one at the root of the repository: the
nearest folder, from where you stand, with `invoke.yaml`, `tasks.py` or `[tool.numaflow-udf]` in its
`pyproject.toml`. The search ends at the top level of git.

Without `udf.python_image`, the table `[tool.numaflow-udf.python-images]` of `pyproject.toml` says
which images bases start from: [bases](bases.md).

## Other variables that are used

| variable | what for |
|---|---|
"""

_END: Final = """
All that builds get goes in as BuildKit secrets and stays in no image.
"""


def page() -> str:
    """The page as it has to be."""
    head = "| setting | flag | environment | default | what it is | allowed |"
    rows = [head, "|---|---|---|---|---|---|"]
    for key, default in DEFAULTS.items():
        flag = key.replace("_", "-")
        meaning = SETTINGS[flag].removesuffix(f" (udf.{key})")
        cells = (
            f"`udf.{key}`",
            "`--no-assemble`" if key == "assemble" else f"`--{flag}`",
            f"`INVOKE_UDF_{key.upper()}`",
            f"`{default}`" if default else "",
            meaning,
            _allowed(key),
        )
        rows.append(f"| {' | '.join(cells)} |")
    others = [
        f"| {', '.join(f'`{name}`' for name in names.split())} | {what} |\n"
        for names, what in _OTHERS
    ]
    return "\n".join([_INTRO, *rows, "", _OUTRO]) + "".join(others) + _END


def _allowed(key: str) -> str:
    """What a setting may be, in the words with which a wrong value is refused."""
    try:
        Settings.from_config({}, **{key: "\0"})
    except ConfigError as error:
        return error.next_step.removeprefix("give ")
    raise AssertionError(key)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
