"""``python -m tasks.probe SPEC``: verify one UDF, and write what was observed to stdout."""

from __future__ import annotations

import json
import sys
import traceback
from pathlib import Path
from typing import Any

from ..core.model.contract import RUNTIME_FOLDER
from .files import critical_errors
from .outcome import Flags
from .session import Session


def emit(event: dict[str, Any]) -> None:
    print(json.dumps(event), flush=True)


def main() -> int:
    spec = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    flags = Flags()
    flags.listen()
    try:
        Session(spec, emit, flags).run()
        errors = critical_errors(Path(spec.get("runtime_folder", RUNTIME_FOLDER)))
        emit({"event": "end", "critical_errors": errors})
    except Exception:
        # A defect of the probe must not look like one of the UDF.
        emit({"event": "broken", "trace": traceback.format_exc()})
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
