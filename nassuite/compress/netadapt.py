"""NetAdapt (Yang et al. 2018, arXiv 1804.03230, Algorithm 1): one group at a time, by the accuracy that is left.

Each iteration asks for the same reduction of the resource. Every group alone makes a candidate that has it, by the
table measured on the target; each candidate is fine-tuned shortly; the most accurate one is the next
network. The long fine-tuning follows the last iteration.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from nassuite.compress.latency_guided import Table, steps_below, widest_within
from nassuite.compress.prune import Proven, PruneRecord, prune_to
from nassuite.compress.surgery import Group
from nassuite.compress.widths import PruneConfig, with_share_removed
from nassuite.errors import InputError
from nassuite.progress import SILENT, Progress


@dataclass(frozen=True)
class Candidate:
    """A group (by its root) and the width that it is cut to, with the value that the table expects."""

    root: str
    width: int
    expected: float


def candidates(groups: Sequence[Group], table: Table, align: int, *, aim: float) -> list[Candidate]:
    """One for each group that can reach a value of ``aim`` alone, as wide as that allows.

    Where none can, the reduction is too large for any single group: then each group goes as far as the table
    was measured, if it wins anything, and if none does, one aligned step.
    """
    found = [
        Candidate(group.root, width, table.value_at(group.root, width))
        for group in groups
        if (width := widest_within(group, table, align, aim)) is not None
    ]
    if found:
        return found
    narrowest = [
        (group, below[-1], below[0]) for group in groups if (below := steps_below(group, group.width, align))
    ]
    winning = [
        Candidate(group.root, lowest, table.value_at(group.root, lowest))
        for group, lowest, _ in narrowest
        if table.value_at(group.root, lowest) < table.value_at(group.root, group.width)
    ]
    return winning or [
        Candidate(group.root, highest, table.value_at(group.root, highest)) for group, _, highest in narrowest
    ]


def best_candidate(
    proven: Proven,
    config: PruneConfig,
    scores: Mapping[str, Tensor],
    choices: Sequence[Candidate],
    *,
    tuned_accuracy: Callable[[Candidate, nn.Module], float],
    progress: Progress = SILENT,
) -> tuple[Candidate, PruneRecord]:
    """The choice whose network is most accurate after its short fine-tuning, of equals that of the least value.

    ``tuned_accuracy`` fine-tunes the network that it is given, shortly, and evaluates it on validation images.
    """
    found: list[tuple[float, float, Candidate, PruneRecord]] = []
    for choice in progress.track(choices, "trying each group", unit="groups"):
        widths = {group.root: group.width for group in proven.groups} | {choice.root: choice.width}
        chosen = with_share_removed(config, proven.groups, widths)
        network, record = prune_to(proven, chosen, scores, widths)
        if record.history:
            found.append((tuned_accuracy(choice, network), -choice.expected, choice, record))
    if not found:
        raise InputError("what is left cannot be cut any further, and the target is not met")
    accuracy, _, best, record = max(found, key=lambda entry: entry[:2])
    progress.say(f"{best.root} to {best.width} channels: {accuracy:.1%} of the validation images right")
    return best, record
