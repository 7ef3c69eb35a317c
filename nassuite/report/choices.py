"""Which choices of a space matter for accuracy and for latency, and what the front's architectures share.

Choices are read off the architectures' own notation (``str(Arch)``), so that old records serve too.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from nassuite.report.architecture import FAMILIES
from nassuite.report.content import Evaluation
from nassuite.report.evidence import Choice, ChoiceFacts, Trait
from nassuite.search.pareto import pareto_front
from nassuite.spec import SHORT_NAMES

LEAST = 40  # architectures: of fewer, nothing can be said
FOLDS, SHUFFLES, TREES = 5, 10, 60
MOST_TRAITS = 8
TELLING = 2.0  # standard errors

_ARCH = re.compile(r"(\d+)px (\d+) ((?:\d+\[[^\]]*\] )+)(\d+)")
_STAGE = re.compile(r"(\d+)\[([^\]]*)\]")
_BLOCK = re.compile(r"(s2d|conv|[a-z_]+?)(\d+)?(?:e([\d.]+))?(s)?")
_OPERATORS = {short: operator for operator, short in SHORT_NAMES.items()}

Features = dict[str, dict[str, float]]
"""The name of a choice to its numbers: one, or for operators the share of each."""


def choice_facts(evaluations: Sequence[Evaluation]) -> ChoiceFacts | None:
    """None where there are fewer than ``LEAST`` architectures, or all cost or reach the same.

    Permutation importance (Breiman, 2001, section 10) of extremely randomised trees, on folds that they have not
    seen; the numbers of one choice are shuffled together. The same evaluations give the same facts.
    """
    read = [_features(evaluation.arch) for evaluation in evaluations]
    rows = [row for row in read if row is not None]
    if len(rows) < max(LEAST, len(read)):
        return None
    targets = np.array([(e.accuracy, e.predicted_ms) for e in evaluations])
    if (np.ptp(targets, axis=0) == 0).any():
        return None
    columns, matrix = _matrix(rows)
    if not columns:
        return None
    (accuracy_r2, accuracy), (latency_r2, latency) = (
        _importance(matrix, target, [choice for choice, _ in columns]) for target in targets.T
    )
    choices = [
        Choice(name, *map(float, accuracy[name]), *map(float, latency[name]))
        for name in dict.fromkeys(choice for choice, _ in columns)
    ]
    front = pareto_front(targets, maximise=(True, False))
    return ChoiceFacts(
        n=len(rows),
        n_front=int(front.sum()),
        accuracy_r2=accuracy_r2,
        latency_r2=latency_r2,
        choices=tuple(sorted(choices, key=lambda c: -(c.accuracy + c.latency))),
        traits=tuple(_traits(columns, matrix, front)),
    )


def _features(arch: str) -> Features | None:
    """The choices that made an architecture, from its notation; None if it is not one."""
    found = _ARCH.fullmatch(arch)
    if not found:
        return None
    resolution, stem, stages, head = found.groups()
    row: Features = {
        "resolution": {"": float(resolution)}, "stem width": {"": float(stem)}, "head width": {"": float(head)},
    }  # fmt: skip
    for number, (width, inside) in enumerate(_STAGE.findall(stages), start=1):
        blocks = [_BLOCK.fullmatch(block) for block in inside.split()]
        known = [block.groups() for block in blocks if block]
        if not known or len(known) < len(blocks):
            return None
        ops = [_OPERATORS.get(op, op) for op, *_ in known]
        stage = f"stage {number}"
        row |= {
            f"{stage} width": {"": float(width)},
            f"{stage} depth": {"": float(len(known))},
            f"{stage} kernel": {"": float(np.mean([float(kernel or 1) for _, kernel, _, _ in known]))},
            f"{stage} expansion": {"": float(np.mean([float(expand or 1) for _, _, expand, _ in known]))},
            f"{stage} SE": {"": float(np.mean([bool(se) for *_, se in known]))},
            f"{stage} operator": {op: ops.count(op) / len(ops) for op in ops},
        }
    return row


def _matrix(rows: Sequence[Features]) -> tuple[list[tuple[str, str]], np.ndarray]:
    """(choice, part of it) of every column that is not constant, and the numbers (architectures, columns)."""
    names = list(dict.fromkeys((choice, part) for row in rows for choice in row for part in row[choice]))
    matrix = np.array([[row.get(choice, {}).get(part, 0.0) for choice, part in names] for row in rows])
    open_ = np.ptp(matrix, axis=0) > 0
    return [name for name, keep in zip(names, open_, strict=True) if keep], matrix[:, open_]


def _importance(
    matrix: np.ndarray, target: np.ndarray, choices: Sequence[str]
) -> tuple[float, dict[str, tuple[float, float]]]:
    """The share of the variance explained on folds held out, and by choice what of it shuffling costs, with its spread."""
    from sklearn.ensemble import ExtraTreesRegressor
    from sklearn.model_selection import KFold

    rng = np.random.default_rng(0)
    missed = 0.0
    shuffled: dict[str, np.ndarray] = {name: np.zeros(SHUFFLES) for name in dict.fromkeys(choices)}
    for seen, held_out in KFold(FOLDS, shuffle=True, random_state=0).split(matrix):
        trees: Any = ExtraTreesRegressor(TREES, min_samples_leaf=2, random_state=0).fit(
            matrix[seen], target[seen]
        )
        x, y = matrix[held_out], target[held_out]
        missed += float(((trees.predict(x) - y) ** 2).sum())
        for name, losses in shuffled.items():
            own = [column for column, choice in enumerate(choices) if choice == name]
            mixed = np.repeat(x[None], SHUFFLES, axis=0)
            for copy in mixed:
                copy[:, own] = x[rng.permutation(len(x))][:, own]
            guesses = trees.predict(mixed.reshape(-1, x.shape[1])).reshape(SHUFFLES, -1)
            shuffled[name] = losses + ((guesses - y) ** 2).sum(1)
    total = float(((target - target.mean()) ** 2).sum())
    worth = {name: (losses - missed) / total for name, losses in shuffled.items()}
    return 1 - missed / total, {name: (float(w.mean()), float(w.std(ddof=1))) for name, w in worth.items()}


def _traits(columns: Sequence[tuple[str, str]], matrix: np.ndarray, front: np.ndarray) -> list[Trait]:
    """Those that stand out most."""
    among_all, on_front = matrix.mean(0), matrix[front].mean(0)
    errors = (on_front - among_all) / (matrix.std(0) / np.sqrt(front.sum()))
    traits = [
        Trait(f"{choice}: {FAMILIES.get(part, (part,))[0]}" if part else choice, float(f), float(a), float(e))
        for (choice, part), f, a, e in zip(columns, on_front, among_all, errors, strict=True)
        if abs(e) >= TELLING
    ]
    return sorted(traits, key=lambda trait: -abs(trait.errors))[:MOST_TRAITS]
