"""Learning-rate schedules: functions of the step, and of the log for the one that looks at it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

ScheduleName = Literal["cosine", "cyclic", "plateau"]
CYCLES = 3
PATIENCE = 3
DROP = 0.2


def learning_rate(
    schedule: ScheduleName,
    step: int,
    steps: int,
    peak: float,
    *,
    warmup: float = 0.2,
    log: Sequence[Mapping[str, float]] = (),
) -> float:
    """The rate of one step. ``warmup`` is the share of the steps in which it rises; ``log`` has an entry an epoch."""
    if schedule == "cosine":
        return one_cycle(step, steps, peak, warmup=warmup)
    if schedule == "cyclic":
        return cyclic(step, steps, peak)
    rise = max(1, round(steps * warmup))
    return peak * min(1.0, (step + 1) / rise) * DROP ** drops(log)


def one_cycle(step: int, steps: int, peak: float, *, warmup: float = 0.2) -> float:
    """Learning rate: linear rise over the first ``warmup`` of the steps, cosine fall to zero."""
    rise = max(1, round(steps * warmup))
    if step < rise:
        return peak * (step + 1) / rise
    return peak * 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise)))


def cyclic(step: int, steps: int, peak: float) -> float:
    """Triangles from a tenth of the peak and back, each half as high as the one before.

    "triangular2" of Cyclical Learning Rates (Smith 2017, section 3), in three cycles.
    """
    period = max(2.0, steps / CYCLES)
    cycle, place = divmod(step, period)
    height = 1 - abs(2 * place / period - 1)
    return peak * 0.5**cycle * (0.1 + 0.9 * height)


def drops(log: Sequence[Mapping[str, float]]) -> int:
    """How often the rate fell: each time validation (without it, the loss) was no better for three epochs."""
    best, waited, count = -math.inf, 0, 0
    for entry in log:
        value = entry["val"] if "val" in entry else -entry["loss"]
        if value > best:
            best, waited = value, 0
            continue
        waited += 1
        if waited == PATIENCE:
            waited, count = 0, count + 1
    return count
