"""What a report is drawn from: the documented schema of ``records.json``.

Plain values only, so that a report can be drawn again years later without torch or the models.
Units: latencies in ms, durations in s, sizes in bytes, accuracies, errors and intervals as
fractions in 0..1. ``accuracy`` always means the run's ``metric``. Everything on validation images
unless the name says ``test``. Lists keep their order; no value may be NaN or infinite.
"""

from __future__ import annotations

import dataclasses
import types
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin, get_type_hints

from nassuite.errors import InputError
from nassuite.records import SCHEMA_VERSION
from nassuite.spec import Arch

KIND = "nassuite report"

Metric = Literal["top1", "balanced", "f1"]
Verdict = Literal["pass", "fail", "too noisy"]


@dataclass(frozen=True)
class DataFacts:
    """The images: ``train``, ``val`` and ``test`` count them; ``skipped`` names unreadable files."""

    name: str
    classes: tuple[str, ...]
    train: int
    val: int
    test: int
    in_chans: int
    size: int
    skipped: tuple[str, ...] = ()


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
class RankingRow:
    """How well something ranks architectures by their accuracy from scratch, with 95 % bootstrap intervals."""

    name: str
    n: int
    tau: float
    tau_interval: tuple[float, float]
    rho: float
    rho_interval: tuple[float, float]


@dataclass(frozen=True)
class RankingPoint:
    """One architecture of an audit: ``inherited`` and ``scratch`` are its accuracies."""

    digest: str
    arch: str
    inherited: float
    scratch: float
    predicted_ms: float


@dataclass(frozen=True)
class RankingFacts:
    """What ``nassuite audit`` found: ``n`` architectures, each trained for ``epochs`` on ``train_images``.

    ``verdict`` is one of search.ranking.Verdict, ``reason`` says why. ``rows`` begin with the inherited accuracy.
    ``over_macs`` is its tau less that of MACs, ``gap`` inherited less from-scratch accuracy, both with
    low and high of the 95 % interval. ``bands`` are (from ms, to ms, n, tau within).
    """

    verdict: str
    reason: str
    n: int
    epochs: int
    train_images: int
    rows: tuple[RankingRow, ...]
    over_macs: tuple[float, float, float]
    gap: tuple[float, float, float]
    bands: tuple[tuple[float, float, int, float], ...]
    points: tuple[RankingPoint, ...]


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
class Deployment:
    """What a budget led to: the winner, and every file made of it."""

    budget_ms: float
    arch: str
    arch_json: dict[str, Any]
    variants: tuple[Variant, ...]
    costs: tuple[LayerCost, ...] = ()

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

    def to_json(self) -> dict[str, Any]:
        return {"kind": KIND, "schema_version": SCHEMA_VERSION, **dataclasses.asdict(self)}

    @classmethod
    def from_json(cls, value: Any) -> ReportContent:
        """The inverse of ``to_json``, also after a trip through JSON text.

        Raises InputError for another kind of file, another schema version, and a field that is
        missing, unknown or of a wrong type (named by its path).
        """
        if not isinstance(value, dict) or value.get("kind") != KIND:
            raise InputError(f"not the records of a report: expected an object of kind '{KIND}'")
        version = value.get("schema_version")
        if version != SCHEMA_VERSION:
            raise InputError(
                f"records of schema version {version}; this nassuite reads version {SCHEMA_VERSION}: "
                "draw the report with the version that made the run"
            )
        fields = {key: item for key, item in value.items() if key not in ("kind", "schema_version")}
        content: ReportContent = _decode(cls, fields, "records")
        for deployment in content.deployed:
            try:
                Arch.from_json(deployment.arch_json)
            except (KeyError, TypeError, ValueError) as error:
                raise InputError(f"records.deployed: not an architecture: {error!r}") from error
        return content


def _decode(kind: Any, value: Any, where: str) -> Any:
    """``value``, made of JSON's types, as a value of ``kind``; ``where`` names it in errors."""
    if dataclasses.is_dataclass(kind):
        return _decode_fields(kind, value, where)
    decoders = {
        types.UnionType: _decode_optional,
        Literal: _decode_literal,
        tuple: _decode_tuple,
        dict: _decode_dict,
    }
    return decoders.get(get_origin(kind), _decode_plain)(kind, value, where)


def _decode_fields(kind: Any, value: Any, where: str) -> Any:
    _check(value, dict, where)
    hints = get_type_hints(kind)
    unknown = sorted(value.keys() - hints.keys())
    if unknown:
        raise InputError(f"{where}: unknown field '{unknown[0]}', expected {', '.join(hints)}")
    required = {f.name for f in dataclasses.fields(kind) if f.default is dataclasses.MISSING}
    missing = sorted(required - value.keys())
    if missing:
        raise InputError(f"{where}: the field '{missing[0]}' is missing")
    return kind(**{name: _decode(hints[name], item, f"{where}.{name}") for name, item in value.items()})


def _decode_optional(kind: Any, value: Any, where: str) -> Any:
    return None if value is None else _decode(get_args(kind)[0], value, where)


def _decode_literal(kind: Any, value: Any, where: str) -> Any:
    if value not in get_args(kind):
        raise InputError(f"{where}: expected one of {', '.join(get_args(kind))}, got {value!r}")
    return value


def _decode_tuple(kind: Any, value: Any, where: str) -> tuple[Any, ...]:
    _check(value, (list, tuple), where)
    arguments = get_args(kind)
    repeated = arguments[-1] is Ellipsis
    if not repeated and len(value) != len(arguments):
        raise InputError(f"{where}: expected {len(arguments)} values, got {len(value)}")
    kinds = (arguments[0],) * len(value) if repeated else arguments
    return tuple(_decode(k, v, f"{where}[{i}]") for i, (k, v) in enumerate(zip(kinds, value, strict=True)))


def _decode_dict(kind: Any, value: Any, where: str) -> dict[str, Any]:
    _check(value, dict, where)
    return {key: _decode(get_args(kind)[1], item, f"{where}.{key}") for key, item in value.items()}


def _decode_plain(kind: Any, value: Any, where: str) -> Any:
    if kind is Any:
        return value
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    _check(value, kind, where)
    return value


def _check(value: Any, kind: Any, where: str) -> None:
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        expected = "list" if isinstance(kind, tuple) else kind.__name__
        raise InputError(f"{where}: expected {expected}, got {value!r:.80}")
