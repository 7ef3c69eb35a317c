"""Optuna samplers by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from nassuite.errors import InputError
from nassuite.search.parameters import from_params
from nassuite.space import Space
from nassuite.spec import Arch

if TYPE_CHECKING:
    import numpy as np
    import optuna
    from numpy.typing import NDArray

POPULATION = 24
KEPT = 4096
SamplerFactory = Callable[[int], "optuna.samplers.BaseSampler"]


def _nsga2(seed: int) -> optuna.samplers.BaseSampler:
    import optuna

    return optuna.samplers.NSGAIISampler(seed=seed, population_size=POPULATION)


def _tpe(seed: int) -> optuna.samplers.BaseSampler:
    import optuna

    return optuna.samplers.TPESampler(seed=seed, n_startup_trials=POPULATION)


def _gp(seed: int) -> optuna.samplers.BaseSampler:
    import optuna

    return optuna.samplers.GPSampler(seed=seed, n_startup_trials=POPULATION)


def _random(seed: int) -> optuna.samplers.BaseSampler:
    import optuna

    return optuna.samplers.RandomSampler(seed=seed)


def _guided(seed: int) -> optuna.samplers.BaseSampler:
    from nassuite.search.guided import GuidedSampler

    return GuidedSampler(seed=seed, startup=POPULATION)


SAMPLERS: dict[str, SamplerFactory] = {
    "nsga2": _nsga2,
    "guided": _guided,
    "tpe": _tpe,
    "gp": _gp,
    "random": _random,
}
RELATIVE = ("nsga2", "gp")
"""Those that look at the parameters of all trials together."""


def guided_sampler(
    space: Space,
    latency_ms: Callable[[Arch], float],
    *,
    budgets_ms: Sequence[float],
    seed: int,
    within: Callable[[Arch], bool] = lambda arch: True,
    cost: Callable[[Arch], float] | None = None,
) -> optuna.samplers.BaseSampler:
    """Knows the space: latency, limits and ``cost``, a third objective, are asked and not learnt, and only what an
    architecture is counts."""
    from nassuite.search.describe import describe_arch
    from nassuite.search.guided import GuidedSampler, Hints

    # Every point is asked for several times: what it is, what it costs, and all that were evaluated again for every plan.
    @lru_cache(maxsize=KEPT)
    def decoded(params: tuple[tuple[str, Any], ...]) -> Arch:
        return space.decode(from_params(space, dict(params)))

    @lru_cache(maxsize=KEPT)
    def described(arch: Arch) -> NDArray[np.float64]:
        return describe_arch(arch, space)

    def arch(params: dict[str, Any]) -> Arch:
        return decoded(tuple(params.items()))

    def asked(figure: Callable[[Arch], float]) -> Callable[[dict[str, Any]], float]:
        return lambda params: figure(arch(params))

    figures = [latency_ms, *([cost] if cost else [])]
    return GuidedSampler(
        seed=seed,
        startup=POPULATION,
        hints=Hints(
            describe=lambda params: described(arch(params)),
            identity=arch,
            exact={number: asked(figure) for number, figure in enumerate(figures, start=1)},
            budgets=tuple(sorted(budgets_ms)),
            within=lambda params: within(arch(params)),
        ),
    )


def make_sampler(name: str, seed: int) -> optuna.samplers.BaseSampler:
    if name not in SAMPLERS:
        raise InputError(f"unknown sampler {name!r}: expected one of {', '.join(SAMPLERS)}")
    return SAMPLERS[name](seed)


def sampler_factory(name: str) -> SamplerFactory:
    """For samplers of one study, a fresh one for each trial."""
    if name not in RELATIVE:
        return lambda seed: make_sampler(name, seed)
    from optuna.search_space import IntersectionSearchSpace

    from nassuite.search.read_once import ReadOnce

    common = IntersectionSearchSpace()
    return lambda seed: ReadOnce(make_sampler(name, seed), common)
