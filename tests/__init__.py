"""The tests. They run in a clone of this repository."""

from pathlib import Path
from typing import Final

REPOSITORY: Final = Path(__file__).resolve().parents[1]
"""The folder that holds ``tasks.py``."""
