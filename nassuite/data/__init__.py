"""Images: from files, arrays and official archives to three splits of tensors, at any size.

Names are imported when first used: ``preprocess`` serves where there is no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nassuite.data.augment import Augment as Augment
    from nassuite.data.dataset import Data as Data
    from nassuite.data.dataset import DataConfig as DataConfig
    from nassuite.data.dataset import default_augment as default_augment
    from nassuite.data.dataset import load_data as load_data
    from nassuite.data.split import Split as Split

_PLACES = {
    "Augment": "augment",
    "Data": "dataset",
    "DataConfig": "dataset",
    "Split": "split",
    "default_augment": "dataset",
    "load_data": "dataset",
}

__all__ = ["Augment", "Data", "DataConfig", "Split", "default_augment", "load_data"]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'nassuite.data' has no attribute {name!r}")
    value = getattr(import_module(f"nassuite.data.{_PLACES[name]}"), name)
    globals()[name] = value
    return value
