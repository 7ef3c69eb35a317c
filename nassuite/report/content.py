"""What a report is drawn from: the documented schema of ``records.json``.

Plain values only, so that a report can be drawn again years later without torch or the models.
Units: latencies in ms, durations in s, sizes in bytes, accuracies, errors and intervals as
fractions in 0..1. ``accuracy`` always means the run's ``metric``. Everything on validation images
unless the name says ``test``. Lists keep their order; no value may be NaN or infinite.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from nassuite.errors import InputError
from nassuite.records import SCHEMA_VERSION
from nassuite.report.decoding import decode_records
from nassuite.report.evidence import ChoiceFacts, RankingFacts
from nassuite.spec import Arch

KIND = "nassuite report"

Metric = Literal["top1", "balanced", "f1"]
Verdict = Literal["pass", "fail", "too noisy"]


@dataclass(frozen=True)
class DataFacts:
    """The images: ``train``, ``val`` and ``test`` count them; ``skipped`` names unreadable files.

    ``digest`` tells what the images, labels and splits are; empty in records from before it was kept.
    """

    name: str
    classes: tuple[str, ...]
    train: int
    val: int
    test: int
    in_chans: int
    size: int
    skipped: tuple[str, ...] = ()
    digest: str = ""


@dataclass(frozen=True)
class SpaceFacts:
    """``architectures`` is a decimal number as text, since it may be far beyond 2**53."""

    name: str
    architectures: str
    min_macs: int
    max_macs: int


@dataclass(frozen=True)
class RunFacts:
    """Where the results come from.

    ``command`` is the line that repeats the run, ``started`` and ``ended`` are ISO 8601 times,
    ``seconds`` the time by stage in the order of the flow, ``settings`` every setting as it was
    resolved (may be nested), ``environment`` is ``records.environment()``. ``misses`` are sentences
    on what the run promised or was expected to do and did not: they stand at the top of the
    report. ``notes`` are remarks without blame, at its end. ``predict`` is the program that
    shows how to use the deployed file.
    """

    name: str
    command: str
    seed: int
    started: str
    ended: str
    seconds: dict[str, float]
    settings: dict[str, Any]
    environment: dict[str, Any]
    data: DataFacts
    space: SpaceFacts
    misses: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    predict: str = ""


@dataclass(frozen=True)
class Evaluation:
    """One distinct architecture of the search, with the weights inherited from the supernet.

    ``arch`` is ``str(Arch)`` and ``arch_json`` its ``to_json()`` (may be left out). ``measured_ms``
    is the p50 of the exported file, where it was measured. ``feasible`` has an entry per budget. ``cost`` is what the
    setting ``minimise`` names, where there is a third objective: params and macs as counts, memory and size in bytes,
    predicted.
    """

    number: int
    digest: str
    arch: str
    accuracy: float
    predicted_ms: float
    macs: int
    params: int
    feasible: tuple[bool, ...]
    measured_ms: float | None = None
    arch_json: dict[str, Any] | None = None
    cost: float | None = None


@dataclass(frozen=True)
class Finalist:
    """An architecture exported and measured for a budget, still with inherited weights.

    ``aa_ratio`` is the reference measured against itself in the same rounds: 1 if the machine was
    quiet.
    """

    digest: str
    arch: str
    budget_ms: float
    predicted_ms: float
    p50_ms: float
    p90_ms: float
    aa_ratio: float
    val_accuracy: float


@dataclass(frozen=True)
class PredictorFacts:
    """The latency predictor: ``n`` networks measured for the fit, ``points`` those held out.

    ``points`` are (predicted_ms, measured_ms). ``mape`` is the mean absolute error relative to the
    measured latency, ``hit5`` and ``hit10`` the shares of ``points`` within 5 % and 10 % of it. ``bound`` is the
    probability that the search asked for, and the factor by which predictions then had to be under a budget.
    """

    model: str
    n: int
    mape: float
    hit5: float
    hit10: float
    kendall_tau: float
    points: tuple[tuple[float, float], ...]
    bound: tuple[float, float] | None = None


@dataclass(frozen=True)
class History:
    """``points`` are (distinct evaluations, hypervolume in ms x accuracy) up to the reference."""

    reference_ms: float
    reference_accuracy: float
    points: tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class Variant:
    """One exported file: ``name`` is fp32, pruned, int8 or what else was made of the winner.

    ``path`` is relative to the run directory. ``test_accuracy`` has the 95 % binomial
    interval ``test_interval`` over ``test_n`` images; all three are absent where there is no test set.
    ``parity_max_abs`` and ``parity_top1`` compare the file with PyTorch: largest difference of a
    logit, and share of images with the same top-1 class. ``verdict`` is the certificate's.
    ``chosen`` marks the one file to deploy, chosen before test was read.
    """

    name: str
    path: str
    sha256: str
    size_bytes: int
    params: int
    macs: int
    p50_ms: float
    p90_ms: float
    min_ms: float
    val_accuracy: float
    verdict: Verdict
    parity_max_abs: float
    parity_top1: float
    test_accuracy: float | None = None
    test_interval: tuple[float, float] | None = None
    test_n: int = 0
    chosen: bool = False
    notes: str = ""


@dataclass(frozen=True)
class LayerCost:
    """Cost of one part; the winner's are in order: stem, every block, head. ``shape`` is (C, H, W)."""

    name: str
    op: str
    shape: tuple[int, ...]
    macs: int
    params: int


@dataclass(frozen=True)
class PartTimes:
    """Where the time of one file goes, by the runtime's own profile of ``runs`` inferences.

    ``parts`` are (name as in LayerCost, ms); ``total_ms`` is of all kernels, and more than they sum to by what
    belongs to no part. The runtime does more between kernels, so p50 of the file is another number.
    """

    variant: str
    runs: int
    total_ms: float
    parts: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class WidthCut:
    """A layer's output channels before and after pruning; equal where it was left alone, for a ``reason``."""

    layer: str
    before: int
    after: int
    reason: str = ""


@dataclass(frozen=True)
class Deployment:
    """What a budget led to: the winner, and every file made of it. ``cuts`` made the pruned ones."""

    budget_ms: float
    arch: str
    arch_json: dict[str, Any]
    variants: tuple[Variant, ...]
    costs: tuple[LayerCost, ...] = ()
    times: PartTimes | None = None
    cuts: tuple[WidthCut, ...] = ()

    @property
    def chosen(self) -> Variant | None:
        return next((variant for variant in self.variants if variant.chosen), None)


@dataclass(frozen=True)
class Baseline:
    """A network from outside the search under the same data and meter; ``p50_ms`` is measured.

    It is drawn into the Pareto chart where ``val_accuracy`` is known.
    """

    name: str
    p50_ms: float
    macs: int
    params: int
    val_accuracy: float | None = None
    test_accuracy: float | None = None
    test_interval: tuple[float, float] | None = None
    p90_ms: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Epoch:
    """A row of the supernet's training log: accuracies of its largest and smallest subnet."""

    epoch: int
    loss: float
    seconds: float
    val_largest: float | None = None
    val_smallest: float | None = None


@dataclass(frozen=True)
class ReportContent:
    """All that a report shows. ``percentile`` is 50 or 90, ``confidence`` that of the certificate."""

    run: RunFacts
    metric: Metric
    budgets_ms: tuple[float, ...]
    percentile: int = 50
    confidence: float = 0.99
    evaluations: tuple[Evaluation, ...] = ()
    finalists: tuple[Finalist, ...] = ()
    predictor: PredictorFacts | None = None
    history: History | None = None
    deployed: tuple[Deployment, ...] = ()
    baselines: tuple[Baseline, ...] = ()
    training: tuple[Epoch, ...] = ()
    ranking: RankingFacts | None = None
    choices: ChoiceFacts | None = None

    def to_json(self) -> dict[str, Any]:
        return {"kind": KIND, "schema_version": SCHEMA_VERSION, **dataclasses.asdict(self)}

    @classmethod
    def from_json(cls, value: Any) -> ReportContent:
        """The inverse of ``to_json``, also after a trip through JSON text.

        Raises InputError for another kind of file, another schema version, and a field that is
        missing, unknown or of a wrong type (named by its path).
        """
        content: ReportContent = decode_records(cls, value, KIND)
        for deployment in content.deployed:
            try:
                Arch.from_json(deployment.arch_json)
            except (KeyError, TypeError, ValueError) as error:
                raise InputError(f"records.deployed: not an architecture: {error!r}") from error
        return content
