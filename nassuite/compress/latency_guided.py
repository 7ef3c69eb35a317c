"""Channel counts by accuracy lost per millisecond won, with a table measured on the target.

A fraction of the MACs is not a fraction of the time: what a channel costs differs between groups and, by the
runtime's vectors, between widths. So one group at a time is cut to a few aligned widths, the exported networks are
measured in the same rounds, and what the cuts of a group win is read off the curve through them. The choice is the
greedy one of the knapsack (HALP, Shen et al. 2022, arXiv 2110.10811): whatever loses least importance per
millisecond is cut next. What groups win together is not the sum of what each wins alone, hence the table
is measured again in every step. So is what each cut loses: a first-order score ranks the channels of a group, but groups
among each other only roughly. Where the machine is noisy, a choice among many measurements is one of the luckiest: what
cuts win is pulled towards what their costs explain, as far as the present network's own measurements scatter.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from nassuite.compress.goal import Judge, Judged
from nassuite.compress.prune import Proven
from nassuite.compress.surgery import Group, cut
from nassuite.compress.widths import cuts_to, losses, lower_widths, widths_below
from nassuite.latency.cost import cost
from nassuite.latency.meter import Measurement, normalised_ms
from nassuite.progress import SILENT, Progress

SHARES = (0.5, 0.75)
"""Of a group's width: what is measured of it. No step cuts a group to less than the first."""
CHUNK = 7
"""Cuts exported and measured together, beside the present network: one process of the meter."""

LEAST_REPEATS = 3
"""Measurements of the present network that say how noisy one is."""

LOSS_IMAGES = 256
LEAST_RISE = 1e-4
"""Of the loss: what is less is noise, even where a cut makes a network better."""
TINY = 1e-12

Curve = tuple[tuple[int, float], ...]
"""(width, figure) ascending in both; the last is the present network's."""


@dataclass(frozen=True)
class Table:
    """What the network takes with one group at another width and all others as they are, by the group's root.

    ``ms`` are milliseconds, ``values`` the figure that the goal is about (``Judged.value``). ``rises`` are of the
    loss, by root and width, where it was measured.
    """

    ms: Mapping[str, Curve]
    values: Mapping[str, Curve]
    rises: Mapping[tuple[str, int], float] = field(default_factory=dict)

    def ms_at(self, root: str, width: int) -> float:
        return read(self.ms[root], width)

    def value_at(self, root: str, width: int) -> float:
        return read(self.values[root], width)


def read(curve: Curve, width: int) -> float:
    """Linear between the points, the nearest one's beyond them."""
    return float(np.interp(width, [w for w, _ in curve], [figure for _, figure in curve]))


def measure_table(
    proven: Proven,
    scores: Mapping[str, Tensor],
    align: int,
    judge: Judge,
    *,
    current: Judged,
    loss: Callable[[nn.Module], float] | None = None,
    progress: Progress = SILENT,
) -> Table:
    """Measures every group of the network in ``proven`` at ``SHARES`` of its width; ``current`` is its own figure.

    ``loss`` of a network, where it is given, is asked of every cut too.
    """
    options = [(group, width) for group in proven.groups for width in _trial_widths(group, align)]
    chunks = [options[i : i + CHUNK] for i in range(0, len(options), CHUNK)]
    measured: list[list[Measurement]] = []
    shares: list[float] = []
    costs: list[NDArray[np.float64]] = []
    whole = _costs(proven.dense, judge)
    rises: dict[tuple[str, int], float] = {}
    present_loss = loss(proven.dense) if loss else 0.0
    found: list[tuple[str, int]] = []
    for chunk in progress.track(chunks, "measuring each group", unit="batches"):
        cuts = {(group.root, width): _cut_to(proven, scores, group, width) for group, width in chunk}
        networks = [network for network in cuts.values() if network is not None]
        found += [key for key, network in cuts.items() if network is not None]
        costs += [1 - _costs(network, judge) / whole for network in networks]
        measured.append(judge.quick_measurements([proven.dense, *networks]))
        if loss:
            rises |= {
                key: loss(network) - present_loss for key, network in cuts.items() if network is not None
            }
        shares += [] if judge.goal.of_latency else [judge.share(network) for network in networks]
    flat = normalised_ms([measurement for chunk in measured for measurement in chunk])
    starts = np.cumsum([0, *(len(chunk) for chunk in measured)])[:-1]
    # Of as many measurements as there are chunks: an error in it would be in what every group wins.
    present = [flat[start] for start in starts]
    present_ms = float(np.median(present))
    won = np.array([present_ms - ms for position, ms in enumerate(flat) if position not in starts])
    if len(present) >= LEAST_REPEATS and len(won):
        won = pulled(won, np.array(costs), noise=float(np.std(present, ddof=1)))
    ms = [present_ms - milliseconds for milliseconds in won.tolist()]
    values = shares or [figure / present_ms * current.value for figure in ms]
    return Table(
        _curves(proven.groups, dict(zip(found, ms, strict=True)), present_ms),
        _curves(proven.groups, dict(zip(found, values, strict=True)), current.value),
        rises,
    )


def _costs(network: nn.Module, judge: Judge) -> NDArray[np.float64]:
    """(3,): MACs, parameters, and bytes of activations."""
    counted = cost(network, judge.shape)
    return np.array([counted.macs, counted.params, counted.activation_bytes], np.float64)


def pulled(won: NDArray[np.float64], costs: NDArray[np.float64], *, noise: float) -> NDArray[np.float64]:
    """Measured gains (n,), pulled towards what the ``costs`` (n, k) that a cut saves explain, with weights of 0 or more.

    What the costs leave unexplained is partly the cut's own (a kernel that is fast at one width) and partly ``noise``, the standard
    deviation of one measurement. The first part is kept: by empirical Bayes (Efron and Morris 1975), the share of the variance that
    noise does not account for. So without noise the gains stay as they are, and with nothing but noise they are those of the costs.
    """
    from scipy.optimize import nnls

    weights, _ = nnls(costs, won)
    expected = costs @ weights
    unexplained = float(np.mean((won - expected) ** 2))
    own = max(0.0, 1 - noise**2 / unexplained) if unexplained > 0 else 0.0
    return np.asarray(expected + own * (won - expected))


def loss_on(batches: Iterable[tuple[Tensor, Tensor]]) -> Callable[[nn.Module], float]:
    """The mean cross-entropy of a network's logits, in eval mode, on the first ``LOSS_IMAGES`` of (images, labels)."""
    taken, count = [], 0
    for images, labels in batches:
        taken.append((images[: LOSS_IMAGES - count].cpu().float(), labels[: LOSS_IMAGES - count].cpu()))
        count += len(taken[-1][0])
        if count == LOSS_IMAGES:
            break

    @torch.no_grad()
    def loss(network: nn.Module) -> float:
        return sum(float(F.cross_entropy(network(x), y, reduction="sum")) for x, y in taken) / count

    return loss


def as_measured(groups: Sequence[Group], scores: Mapping[str, Tensor], table: Table) -> dict[str, Tensor]:
    """The scores, those of each group times what makes their sums the rises of the loss in ``table``.

    By the geometric mean of a group's cuts; where none of them was measured its scores stay as they are.
    """
    scaled = dict(scores)
    for group in groups:
        lost = losses(scores[group.root], group)
        ratios = [
            max(rise, LEAST_RISE) / max(lost[(group.width - width) // group.unit], TINY)
            for (root, width), rise in table.rises.items()
            if root == group.root
        ]
        if ratios:
            scaled[group.root] = scores[group.root] * float(np.exp(np.mean(np.log(ratios))))
    return scaled


def _curves(
    groups: Sequence[Group], figures: Mapping[tuple[str, int], float], present: float
) -> dict[str, Curve]:
    curves = {}
    for group in groups:
        own = [(width, figure) for (root, width), figure in figures.items() if root == group.root]
        curves[group.root] = rising([w for w, _ in own], [f for _, f in own], group.width, present)
    return curves


def _trial_widths(group: Group, align: int) -> list[int]:
    return lower_widths(group, align, SHARES)


def _cut_to(proven: Proven, scores: Mapping[str, Tensor], group: Group, width: int) -> nn.Module | None:
    try:
        return cut(proven.dense, cuts_to([group], scores, {group.root: width}), proven.images)[0]
    except Exception:  # whatever torch-pruning stumbles over: the group does without this width
        return None


def rising(widths: Sequence[int], figures: Sequence[float], width: int, present: float) -> Curve:
    """The nearest curve that never falls, and never exceeds the present figure: what noise does is not won."""
    from sklearn.isotonic import isotonic_regression

    if not widths:
        return ((width, present),)
    smooth = np.minimum(isotonic_regression(np.asarray(figures, np.float64)), present)
    return (*((w, float(figure)) for w, figure in zip(widths, smooth, strict=True)), (width, present))


def choose_widths(
    groups: Sequence[Group], scores: Mapping[str, Tensor], table: Table, align: int, *, aim: float
) -> dict[str, int]:
    """The width of each group, by its root, with which the table expects a value of at most ``aim``.

    In every move one group goes to the width at which it loses least importance per millisecond, so that a
    flat piece of a curve is jumped. Stops above ``aim`` where nothing is left that wins time; where nothing
    wins any at all, one aligned step of the least important channels is taken.
    """
    by_root = {group.root: group for group in groups}
    lost = {group.root: losses(scores[group.root], group) for group in groups}
    widths = {group.root: group.width for group in groups}
    value = max((table.value_at(group.root, group.width) for group in groups), default=0.0)
    moves = {root: _best_move(by_root[root], widths[root], lost[root], table, align) for root in widths}
    while value > aim:
        open_ = {root: move for root, move in moves.items() if move is not None}
        if not open_:
            break
        root = min(open_, key=lambda name: (open_[name][0], name))
        width = open_[root][1]
        value -= table.value_at(root, widths[root]) - table.value_at(root, width)
        widths[root] = width
        moves[root] = _best_move(by_root[root], width, lost[root], table, align)
    if all(widths[group.root] == group.width for group in groups):
        widths |= _cheapest_step(groups, lost, align)
    return widths


def _best_move(
    group: Group, width: int, lost: Sequence[float], table: Table, align: int
) -> tuple[float, int] | None:
    """(importance per millisecond, the lower width) of the best cut of a group that is ``width`` wide by now."""
    now_ms, now_lost = table.ms_at(group.root, width), lost[(group.width - width) // group.unit]
    best: tuple[float, int] | None = None
    for lower in steps_below(group, width, align):
        won = now_ms - table.ms_at(group.root, lower)
        if won <= 0:
            continue
        price = (lost[(group.width - lower) // group.unit] - now_lost) / won
        if best is None or price < best[0]:
            best = (price, lower)
    return best


def steps_below(group: Group, width: int, align: int) -> list[int]:
    """Aligned widths under ``width``, the widest first, down to the narrowest that was measured."""
    lowest = _trial_widths(group, align)[0]
    return [lower for lower in reversed(widths_below(group, align)) if lowest <= lower < width]


def _cheapest_step(
    groups: Sequence[Group], lost: Mapping[str, Sequence[float]], align: int
) -> dict[str, int]:
    choices = [
        (lost[group.root][(group.width - below[0]) // group.unit], group.root, below[0])
        for group in groups
        if (below := steps_below(group, group.width, align))
    ]
    return {root: width for _, root, width in [min(choices)]} if choices else {}


def widest_within(group: Group, table: Table, align: int, aim: float) -> int | None:
    """The widest aligned width of a group at which the table expects a value of at most ``aim``; None without one."""
    below = steps_below(group, group.width, align)
    ascending = [table.value_at(group.root, width) for width in reversed(below)]
    position = bisect_left(ascending, True, key=lambda value: value > aim)
    return list(reversed(below))[position - 1] if position else None
