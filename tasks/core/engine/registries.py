"""Registries as an engine uses them: with its logins, and without TLS if it allows that."""

from __future__ import annotations

import json
from functools import partial

from ..registry.client import Registry
from ..registry.credentials import stored_login
from ..registry.transport import is_insecure
from .client import Engine


def registry_for(engine: Engine, host: str) -> Registry:
    """The registry ``host``, with the logins and the configuration of ``engine``."""

    def may_be_insecure(name: str) -> bool:
        done = engine.docker("info", "--format", "{{json .RegistryConfig}}")
        return is_insecure(name, (json.loads(done.stdout) if done else None) or {})

    logins = partial(stored_login, environ=engine.endpoint.environ())
    return Registry(host, logins=logins, is_insecure=may_be_insecure)
