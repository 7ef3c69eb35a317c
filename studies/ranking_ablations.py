"""What ranking.py tries: every way to train or to read a supernet, with what was expected of it. The order is that of expected worth."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any

from nassuite.errors import InputError
from nassuite.flow import RECALIBRATION_IMAGES
from nassuite.train.sandwich import SandwichConfig

DEFAULT = "default"
"""What a search does; all others are set against it."""


@dataclass(frozen=True)
class Ablation:
    """One supernet, or (``supernet``) another reading of that of another ablation.

    With ``within`` it is trained for architectures of no more MACs than the ground truth's largest has.
    ``epochs`` is a factor of --epochs; ``ema`` the decay of the average of the weights, 0 for none.
    """

    why: str
    sandwich: SandwichConfig = field(default_factory=SandwichConfig)
    within: bool = False
    epochs: float = 1.0
    lr: float = 0.1
    batch_size: int = 64
    ema: float = 0.0
    recalibration: int = RECALIBRATION_IMAGES
    supernet: str | None = None

    def settings(self) -> dict[str, Any]:
        """All that changes a result."""
        return {key: value for key, value in asdict(self).items() if key != "why"}


SINGLE = SandwichConfig(subnets=1, ends=False, fair=False, soft_share=0.0)
RANDOM = SandwichConfig(ends=False, soft_share=0.0)

ABLATIONS: dict[str, Ablation] = {
    DEFAULT: Ablation("largest, smallest and two random subnets of the whole space, half soft labels"),
    "within": Ablation(
        "only subnets of the sizes that are ranked: the largest of the space alone takes half of a step's time",
        within=True,
    ),
    "within, kin": Ablation(
        "networks of mostly one operator are rare among uniform draws, and trained too little",
        SandwichConfig(kinship=0.8),
        within=True,
    ),
    "within, whole largest": Ablation(
        "all but the first are of the sizes that are ranked: half of a step's time for a better teacher, and for the winners'",
        SandwichConfig(whole_largest=True),
        within=True,
    ),
    "within, labels only": Ablation(
        "a teacher that was trained no longer than its students has little to tell them",
        SandwichConfig(soft_share=0.0),
        within=True,
    ),
    "within, random only": Ablation(
        "no subnet is trained more often than others, so none is rated too high (FairNAS)", RANDOM, within=True
    ),
    "within, kin, random only": Ablation(
        "both: what is drawn is like what is ranked", replace(RANDOM, kinship=0.8), within=True
    ),
    "within, mean of stem and head": Ablation(
        "stem and head get four gradients a step, an operator about one: the same pace for all",
        SandwichConfig(mean_shared=True),
        within=True,
    ),
    "within, batches of 32": Ablation("twice the steps for the same images", within=True, batch_size=32),
    "within, twice as long": Ablation("the default's time, spent on what is ranked", within=True, epochs=2.0),
    "within, lr 0.05": Ablation("four losses are summed: a smaller rate", within=True, lr=0.05),
    "within, lr 0.2": Ablation("few epochs: a larger rate", within=True, lr=0.2),
    "within, average of the weights": Ablation(
        "an average over steps lies between what single steps pull towards", within=True, ema=0.998
    ),
    "within, unfair": Ablation(
        "operators as they are drawn: some more often than others", SandwichConfig(fair=False), within=True
    ),
    "within, soft labels only": Ablation("BigNAS as published", SandwichConfig(soft_share=1.0), within=True),
    "single path": Ablation(
        "one random subnet a step, four times as long: the plain one-shot supernet (SPOS)", SINGLE, epochs=4.0
    ),
    "recalibrated on 256": Ablation("fewer images for the batch norms", recalibration=256, supernet=DEFAULT),
    "recalibrated on 4096": Ablation("more images for the batch norms", recalibration=4096, supernet=DEFAULT),
}  # fmt: skip


def chosen(names: list[str]) -> dict[str, Ablation]:
    """Those asked for, in the table's order, behind the supernets that they need; all where none is asked for."""
    unknown = [name for name in names if name not in ABLATIONS]
    if unknown:
        raise InputError(f"no ablation {unknown[0]!r}: --list names them")
    if not names:
        return ABLATIONS
    needed = {*names, *(source for name in names if (source := ABLATIONS[name].supernet))}
    return {name: ablation for name, ablation in ABLATIONS.items() if name in needed}
