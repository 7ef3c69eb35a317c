"""A space's genes as Optuna's parameters: sizes are their place among the choices, operators the choice itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from nassuite.space import UNORDERED, Genes, Space

if TYPE_CHECKING:
    import optuna


def suggest(trial: optuna.Trial, space: Space) -> Genes:
    """Every gene in every trial: conditional ones would drop out of what NSGA-II can recombine."""
    params: dict[str, Any] = {}
    for name, choices in _open(space).items():
        if _is_ordered(name):
            params[name] = trial.suggest_int(name, 0, len(choices) - 1)
        else:
            params[name] = trial.suggest_categorical(name, choices)
    return from_params(space, params)


def to_params(space: Space, genes: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: choices.index(genes[name]) if _is_ordered(name) else genes[name]
        for name, choices in _open(space).items()
    }


def from_params(space: Space, params: Mapping[str, Any]) -> Genes:
    """The inverse of ``to_params``; genes with one choice have that."""
    genes: Genes = {name: choices[0] for name, choices in space.genes.items()}
    for name, choices in _open(space).items():
        genes[name] = choices[params[name]] if _is_ordered(name) else params[name]
    return genes


def _open(space: Space) -> dict[str, tuple[Any, ...]]:
    return {name: choices for name, choices in space.genes.items() if len(choices) > 1}


def _is_ordered(name: str) -> bool:
    return not name.endswith(UNORDERED)
