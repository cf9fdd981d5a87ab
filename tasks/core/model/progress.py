"""How the core tells a person what it does: one line of progress at a time."""

from __future__ import annotations

from collections.abc import Callable

Say = Callable[[str], None]
"""Takes one line of progress; who calls decides where it goes."""
