"""Published networks, exact: ``create_model`` and ``list_models``."""

from nassuite.zoo.create import create_model, list_models

__all__ = ["create_model", "list_models"]
