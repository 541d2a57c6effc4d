"""Where things are kept that could be computed again: the user's cache."""

from __future__ import annotations

import os
from pathlib import Path


def folder(kind: str) -> Path:
    """`recipes/KIND` in the user's cache, or KIND in the folder that RECIPES_CACHE names."""
    home = os.environ.get("RECIPES_CACHE") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "recipes"
    )
    return Path(home) / kind
