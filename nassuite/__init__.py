"""nassuite: images and a latency budget in, a small vision model that is measured to meet it out.

The public API. Names are imported when first used, so that the package itself loads at once.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nassuite.distilling import distill as distill
    from nassuite.errors import InputError as InputError
    from nassuite.exporting import export as export
    from nassuite.nn.network import build as build
    from nassuite.quantizing import quantize as quantize
    from nassuite.settings import Settings as Settings
    from nassuite.space_file import load_space as load_space
    from nassuite.spec import Arch as Arch
    from nassuite.study import search as search

_PUBLIC = {
    "Arch": "nassuite.spec",
    "InputError": "nassuite.errors",
    "Settings": "nassuite.settings",
    "build": "nassuite.nn.network",
    "distill": "nassuite.distilling",
    "export": "nassuite.exporting",
    "load_space": "nassuite.space_file",
    "quantize": "nassuite.quantizing",
    "search": "nassuite.study",
}

__all__ = [
    "Arch", "InputError", "Settings", "build", "distill", "export", "load_space", "quantize", "search",
]  # fmt: skip
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'nassuite' has no attribute {name!r}")
    # Kept: importing the study also binds the package ``nassuite.search`` here, where the function is to be found.
    globals()[name] = getattr(import_module(_PUBLIC[name]), name)
    return globals()[name]
