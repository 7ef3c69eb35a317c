"""nassuite: images and a latency budget in, a small vision model that is measured to meet it out.

The public API. Names are imported when first used, so that the package itself loads at once.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nassuite.distilling import distill as distill
    from nassuite.errors import InputError as InputError
    from nassuite.exporting import export as export
    from nassuite.models import load_model as load
    from nassuite.nn.network import build as build
    from nassuite.prune_api import PrunedModel as PrunedModel
    from nassuite.prune_api import prune as prune
    from nassuite.quantizing import quantize as quantize
    from nassuite.search.guided import GuidedSampler as GuidedSampler
    from nassuite.search.guided import Hints as Hints
    from nassuite.settings import Settings as Settings
    from nassuite.space_file import load_space as load_space
    from nassuite.spec import Arch as Arch
    from nassuite.study import search as search

_PUBLIC = {
    "Arch": "nassuite.spec",
    "GuidedSampler": "nassuite.search.guided",
    "Hints": "nassuite.search.guided",
    "InputError": "nassuite.errors",
    "PrunedModel": "nassuite.prune_api",
    "Settings": "nassuite.settings",
    "build": "nassuite.nn.network",
    "distill": "nassuite.distilling",
    "export": "nassuite.exporting",
    "load": "nassuite.models:load_model",
    "load_space": "nassuite.space_file",
    "prune": "nassuite.prune_api",
    "quantize": "nassuite.quantizing",
    "search": "nassuite.study",
}
"""Each name's module, with ``:name`` where it is called otherwise there."""

__all__ = [
    "Arch", "GuidedSampler", "Hints", "InputError", "PrunedModel", "Settings", "build", "distill", "export", "load",
    "load_space", "prune", "quantize", "search",
]  # fmt: skip
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'nassuite' has no attribute {name!r}")
    # Kept: importing the study also binds the package ``nassuite.search`` here, where the function is to be found.
    module, _, inner = _PUBLIC[name].partition(":")
    value = getattr(import_module(module), inner or name)
    # Other names' modules import that package too: the function is then looked for anew.
    if isinstance(globals().get("search"), ModuleType):
        del globals()["search"]
    globals()[name] = value
    return value
