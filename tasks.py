"""Entry shim for Invoke: hands over to the package ``tasks/`` beside this file.

Invoke looks for ``tasks.py`` first and registers it as the module ``tasks``; Python
itself prefers the package. Dropping this module from ``sys.modules`` lets the package
take its name, whoever imported it and from which folder.
"""

import os
import signal
import sys

if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    # Until a task runs there is nothing to clean up, and a traceback helps nobody.
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))

sys.modules.pop(__name__, None)

from tasks import ns  # noqa: E402  (only importable once this module has stepped aside)

__all__ = ["ns"]
