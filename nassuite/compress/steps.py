"""From a dense network to one that meets the goal, in steps: find what goes, cut it, fine-tune, measure again.

Four strategies say what goes in a step: "uniform" and "global" look for the smallest ratio that meets the step's aim,
"latency" and "netadapt" for channel counts by a table of the target (``latency_guided``, ``netadapt``). What a
step finds is handed to ``remember``, so that a run that was killed repeats the cuts and measures nothing twice.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any, Literal

from torch import Tensor, nn

from nassuite.compress.goal import Judge, Judged
from nassuite.compress.latency_guided import Table, as_measured, choose_widths, loss_on, measure_table
from nassuite.compress.netadapt import Candidate, best_candidate, candidates
from nassuite.compress.prune import (
    Proven,
    PruneRecord,
    channel_scores,
    merged,
    prove,
    prune_proven,
    prune_to,
    replay,
)
from nassuite.compress.widths import PruneConfig, lower_widths, widths_at, with_share_removed
from nassuite.errors import InputError
from nassuite.progress import SILENT, Progress

Strategy = Literal["uniform", "global", "latency", "netadapt"]
Remember = Callable[[str, Callable[[], Any]], Any]
"""(name, make) to what was made under that name before, or else to what ``make`` gives; JSON values."""

OVERSHOOT = 0.03
"""Of a step's aim: a choice of widths that comes this near under it is taken."""
LEAST_MORE = 1.1
"""By how much more the table is asked for, at least, where a choice was not enough."""
TRIES = 4
"""Choices of widths that are measured in a step, at most; the table, which takes longer, is measured once."""
GRID = tuple(n / 20 for n in range(1, 20))


@dataclass(frozen=True, eq=False)
class Plan:
    """How a network is pruned.

    ``judge`` is None where ``ratio`` is the target. ``config`` has importance, scope, alignment and seed.
    ``batches`` gives images with labels for scores that need them. ``tune(network, step, last)`` fine-tunes in
    place after a step; ``short_tune(network, step)`` does so to a candidate of NetAdapt, ``accuracy`` is
    that of validation images.
    """

    strategy: Strategy
    config: PruneConfig
    steps: int
    example: Tensor
    judge: Judge | None
    ratio: float | None = None
    batches: Callable[[], Iterable[tuple[Tensor, Tensor]] | None] = lambda: None
    tune: Callable[[nn.Module, int, bool], None] = lambda network, step, last: None
    short_tune: Callable[[nn.Module, int], None] = lambda network, step: None
    accuracy: Callable[[nn.Module], float] = lambda network: 0.0
    remember: Remember = lambda name, make: make()
    progress: Progress = SILENT


@dataclass(frozen=True)
class Step:
    """What one step cut, and what is left by it; ``met`` says that it was the last."""

    record: PruneRecord
    value: float
    met: bool
    said: str

    def to_json(self) -> dict[str, Any]:
        return {**vars(self), "record": self.record.to_json()}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Step:
        return cls(**{**value, "record": PruneRecord.from_json(value["record"])})


@dataclass(frozen=True, eq=False)
class Prepared:
    """What of a network can be cut, and its own value (``Judged.value``) and p50, where that was measured."""

    proven: Proven
    value: float
    dense_ms: float | None = None


def prepare(dense: nn.Module, plan: Plan, *, name: str) -> Prepared:
    """What is known of ``dense`` before the first step; ``name`` is what messages call it.

    Raises InputError where that is nothing, where the network meets the goal as it is, and where it does not meet it
    with all cut that can be, saying what is reachable.
    """
    plan.progress.say("looking for the channels that can be cut exactly")
    proven = prove(dense, plan.config, example=plan.example)
    if not proven.groups:
        raise InputError(
            f"{name}: nothing of it can be pruned exactly with --align {plan.config.align}"
            + (f" ({next(iter(proven.left.values()))[1]})" if proven.left else "")
        )
    judge = plan.judge
    if judge is None:
        return Prepared(proven, 1.0)
    goal = judge.goal
    present = judge(dense)
    if present.met:
        raise InputError(f"--{goal}: {name} meets it as it is ({present.said}), there is nothing to prune")
    smallest = judge(_smallest(proven, plan))
    if not smallest.met:
        raise InputError(
            f"no pruning reaches {goal}: with every channel removed that can be it is {smallest.said}; "
            "a smaller network to begin with, or a smaller --align, goes further"
        )
    return Prepared(proven, present.value, present.dense_ms)


def _smallest(proven: Proven, plan: Plan) -> nn.Module:
    """With every channel removed that can be."""
    narrowest = {group.root: lower_widths(group, plan.config.align, (0.0,))[0] for group in proven.groups}
    weights = dataclasses.replace(plan.config, importance="magnitude")
    return prune_to(proven, plan.config, channel_scores(proven, weights), narrowest)[0]


def measure_candidates(dense: nn.Module, plan: Plan) -> None:
    """Measures at once all that "uniform" and "global" in one step may ask for.

    For a meter that remembers: one walk to a device instead of one for each step of the bisection.
    """
    assert plan.judge is not None
    if not plan.judge.goal.of_latency:
        return
    proven = prove(dense, plan.config, example=plan.example)
    scores = channel_scores(proven, plan.config, batches=plan.batches())
    grid = [_at_ratio(proven, plan, scores, ratio)[0] for ratio in GRID]
    plan.judge.measured([dense, _smallest(proven, plan), *grid])


def _at_ratio(
    proven: Proven, plan: Plan, scores: Mapping[str, Tensor], ratio: float
) -> tuple[nn.Module, PruneRecord]:
    config = dataclasses.replace(plan.config, ratio=ratio)
    return prune_to(proven, config, scores, widths_at(proven.dense, proven.groups, scores, config))


def prune_in_steps(
    dense: nn.Module, plan: Plan, prepared: Prepared | None = None
) -> tuple[nn.Module, PruneRecord]:
    """The pruned network, on the CPU in eval mode, and the record of all its cuts.

    Without what is ``prepared`` (a run that goes on) it is found again where it is needed. Raises InputError if
    the goal turns out not to be reachable.
    """
    plan.progress.say(f"aim: {_aim_in_words(plan, prepared)}")
    start = plan.remember("dense", lambda: prepared.value if prepared else _own_value(dense, plan))
    current, value = dense, start
    record: PruneRecord | None = None
    proven = prepared.proven if prepared else None
    for number in count():
        found = plan.remember(
            f"step {number}",
            lambda: _find_step(current, plan, proven, number, start=start, value=value).to_json(),  # noqa: B023
        )
        step = Step.from_json(found)
        current = replay(current, step.record).eval()
        record, value, proven = merged(record, step.record), step.value, None
        plan.progress.say(f"step {number + 1}: {step.said}{_ahead(plan, number + 1, step, start)}")
        plan.tune(current, number, step.met)
        current = current.cpu().eval()
        if step.met:
            break
    assert record is not None
    return current, record


def _aim_in_words(plan: Plan, prepared: Prepared | None) -> str:
    if plan.judge is None:
        return f"{plan.ratio:.0%} of the channels removed, in {plan.steps} step{'s' * (plan.steps > 1)}"
    return plan.judge.goal.in_words(prepared.dense_ms if prepared else None)


def _ahead(plan: Plan, made: int, step: Step, start: float) -> str:
    """How many more steps there will be after those ``made``."""
    if step.met:
        return ", enough"
    left = plan.steps - made if plan.judge is None else steps_left(plan, plan.judge, made, start, step.value)
    return "" if left is None else f"; about {left} more step{'s' * (left != 1)}"


def steps_left(plan: Plan, judge: Judge, made: int, start: float, value: float) -> int | None:
    """Steps from ``value`` to the goal if they go on as those ``made`` from ``start`` did.

    NetAdapt's steps are equal differences, the others' equal factors. None where those made won too little to tell.
    """
    scale = float if plan.strategy == "netadapt" else math.log
    if judge.goal.kind == "speedup":
        start = 1.0  # that of the dense network, measured beside itself, is this but for noise
    won, missing = scale(start) - scale(value), scale(value) - scale(judge.goal.aim)
    left = max(1, round(missing / won * made)) if won > 0 else math.inf
    return int(left) if left <= 2 * plan.steps else None


def _own_value(dense: nn.Module, plan: Plan) -> float:
    return plan.judge(dense).value if plan.judge else 1.0


def _find_step(
    current: nn.Module, plan: Plan, proven: Proven | None, number: int, *, start: float, value: float
) -> Step:
    proven = proven or prove(current, plan.config, example=plan.example)
    if not proven.groups:
        raise InputError("nothing is left that could be pruned, and the target is not met")
    if plan.judge is None:
        return _by_ratio(proven, plan, number)
    if plan.strategy in ("uniform", "global"):
        return _smallest_ratio(proven, plan, plan.judge, number, start=start)
    return _by_table(proven, plan, plan.judge, number, start=start, value=value)


def _by_ratio(proven: Proven, plan: Plan, number: int) -> Step:
    """The same share of what is there in every step, in all ``plan.ratio``."""
    assert plan.ratio is not None
    config = dataclasses.replace(plan.config, ratio=1 - (1 - plan.ratio) ** (1 / plan.steps))
    _, record = prune_proven(proven, config, batches=plan.batches())
    removed = sum(layer.before - layer.after for layer in record.pruned)
    last = number + 1 >= plan.steps
    return Step(record, plan.ratio, last, f"{removed} channels removed")


def _aim(plan: Plan, judge: Judge, number: int, start: float) -> float:
    """What a step should come to: equal factors from the dense network to the goal."""
    share = min(1.0, (number + 1) / plan.steps)
    return start * (judge.goal.aim / start) ** share


def _smallest_ratio(proven: Proven, plan: Plan, judge: Judge, number: int, *, start: float) -> Step:
    """The least pruned candidate of the grid that meets the step's aim, by bisection."""
    last = number + 1 >= plan.steps
    aim = _aim(plan, judge, number, start)
    scores = channel_scores(proven, plan.config, batches=plan.batches())
    low, high, best, said = 0, len(GRID) - 1, None, ""
    while low <= high:
        middle = (low + high) // 2
        network, record = _at_ratio(proven, plan, scores, GRID[middle])
        judged = judge(network)
        said = judged.said
        enough = judged.met if last else judged.value <= aim
        plan.progress.say(
            f"removing {GRID[middle]:.0%} of the channels: {said}"
            + (f", enough{'' if last else ' for this step'}" if enough else "")
        )
        if enough:
            best, high = Step(record, judged.value, judged.met, said), middle - 1
        else:
            low = middle + 1
    if best is None:
        raise InputError(
            f"no pruning reaches {judge.goal}: with {GRID[-1]:.0%} of the channels removed it is {said}; "
            "--strategy latency, or a smaller --align, goes further"
        )
    return best


def _by_table(proven: Proven, plan: Plan, judge: Judge, number: int, *, start: float, value: float) -> Step:
    """One step of "latency" or "netadapt"; steps past the planned ones aim at the goal itself."""
    align, current = plan.config.align, Judged(value, False, "")
    scores = channel_scores(proven, plan.config, batches=plan.batches())
    images = plan.batches() if plan.strategy == "latency" else None
    table = measure_table(
        proven, scores, align, judge,
        current=current, loss=None if images is None else loss_on(images), progress=plan.progress,
    )  # fmt: skip
    find = _by_latency if plan.strategy == "latency" else _by_netadapt
    step = find(proven, plan, table, scores, judge=judge, number=number, start=start, value=value)
    if step is None:
        raise InputError(f"no pruning reaches {judge.goal}: what is left cannot be cut any further")
    return step


def _by_latency(
    proven: Proven, plan: Plan, table: Table, scores: Mapping[str, Tensor],
    *, judge: Judge, number: int, start: float, value: float,
) -> Step | None:  # fmt: skip
    align, last = plan.config.align, number + 1 >= plan.steps
    aim = min(_aim(plan, judge, number, start), value)
    worth = as_measured(proven.groups, scores, table)
    tried: list[dict[str, int]] = []

    def chosen(expected: float) -> Step | None:
        widths = choose_widths(proven.groups, worth, table, align, aim=expected)
        if widths in tried:
            return None
        tried.append(widths)
        config = with_share_removed(plan.config, proven.groups, widths)
        network, record = prune_to(proven, config, scores, widths)
        return _judged(network, record, judge)

    return nearest_under(chosen, lambda step: step.met if last else step.value <= aim, aim, value)


def _by_netadapt(
    proven: Proven, plan: Plan, table: Table, scores: Mapping[str, Tensor],
    *, judge: Judge, number: int, start: float, value: float,
) -> Step | None:  # fmt: skip
    reduction = (start - judge.goal.aim) / plan.steps
    aim = max(value - reduction, judge.goal.aim)
    choices = candidates(proven.groups, table, plan.config.align, aim=aim)

    def tuned_accuracy(choice: Candidate, tried: nn.Module) -> float:
        def make() -> float:
            plan.short_tune(tried, number)
            return plan.accuracy(tried)

        return plan.remember(f"step {number}: {choice.root} to {choice.width}", make)

    _, record = best_candidate(
        proven, plan.config, scores, choices, tuned_accuracy=tuned_accuracy, progress=plan.progress
    )
    return _judged(replay(proven.dense, record), record, judge)


def _judged(network: nn.Module, record: PruneRecord, judge: Judge) -> Step | None:
    """The step that ``record`` is of; None where it cuts nothing."""
    if not record.history:
        return None
    judged = judge(network)
    return Step(record, judged.value, judged.met, judged.said)


def nearest_under(
    chosen: Callable[[float], Step | None], enough: Callable[[Step], bool], aim: float, present: float
) -> Step | None:
    """Of some choices the slowest that is ``enough``, without such a one the fastest.

    ``chosen`` makes and measures the step of which the table expects a value; None where that is nothing new. What groups win
    together is neither the sum of what each wins alone nor free of noise: so the table is asked for more or less,
    by as much as it was wrong, within what has been tried and at most for twice as much at once.
    """
    expected, low, high = aim, -math.inf, present
    found: Step | None = None
    for _ in range(TRIES):
        step = chosen(expected)
        if step is None:
            break
        if found is None or _rank(step, enough) < _rank(found, enough):
            found = step
        won, promised = present - step.value, present - expected
        missing = (present - aim) / won if won > 0 else math.inf
        if not enough(step):
            high, factor = expected, min(max(missing, LEAST_MORE), 2.0)
        elif step.value < (1 - OVERSHOOT) * aim:
            low, factor = expected, missing
        else:
            break
        better = present - factor * promised
        expected = better if low < better < high else (max(low, 0.0) + high) / 2
    return found


def _rank(step: Step, enough: Callable[[Step], bool]) -> tuple[bool, float]:
    """Lower is better: of those that are enough the one that cuts least, of the others the one nearest to it."""
    return (False, -step.value) if enough(step) else (True, step.value)
