"""Entry shim for Invoke: hands over to the package ``tasks/`` beside this file.

Invoke looks for ``tasks.py`` first and registers it as the module ``tasks``; Python
itself prefers the package. Dropping this module from ``sys.modules`` lets the package
take its name, whoever imported it and from which folder.
"""

import sys

sys.modules.pop(__name__, None)

from tasks import ns  # noqa: E402  (only importable once this module has stepped aside)

__all__ = ["ns"]
