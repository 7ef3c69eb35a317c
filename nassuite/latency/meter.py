"""The meter: the one protocol behind every measured millisecond.

What is measured is an exported ONNX file (or, in torch, a network), in fresh processes that do nothing else,
each pinned to the least busy cores. A process loads the reference network, some candidates, and the reference
again; warms all up; then, in every round, each of them has one turn, in shuffled order. A turn is
a few untimed inferences and then ``repeats`` single timed ones. So whatever slows the machine down
for a while slows candidate and reference alike, and their ratio, paired by rounds, stays.

The reference against itself (A/A) says whether that worked: a process in which the median of
that ratio leaves 0.98..1.02 is rejected. So is one in which a model's median inference did not have
the core to itself: another program on the same core leaves short inferences alone and stretches long
ones, which the short reference does not show, but processor time does. And so is one in which the machine ran at
another speed than in the others, by a tenth, as the reference tells. What is rejected is run
again, ``protocol.ATTEMPTS`` times in all; if none was quiet, the best is kept and the measurement is ``noisy``.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from nassuite.errors import InputError
from nassuite.latency import protocol
from nassuite.latency.protocol import AA_RANGE, LEAST_CPU_SHARE, Run
from nassuite.latency.target import CUDA, RUNTIMES, Target
from nassuite.progress import SILENT, Progress
from nassuite.records import sha256_file

BOOTSTRAP_DRAWS = 400


@dataclass(frozen=True)
class Sampling:
    """How much is measured; every model gets ``processes * rounds * repeats`` samples.

    Where a process would take longer than ``seconds`` for each of its models, it has fewer rounds, but
    never under ``least_rounds``. ``group`` is the most candidates that share a process.
    """

    processes: int = 4
    rounds: int = 200
    repeats: int = 2
    least_rounds: int = 50
    seconds: float = 3.0
    warmup: int = 10
    group: int = 8


CERTIFICATE = Sampling()
"""For what is promised to a user: 4 processes of 400 samples (100 for the slowest models)."""

CALIBRATION = Sampling(processes=1, rounds=20, repeats=4, least_rounds=5, seconds=0.15)
"""For hundreds of networks: some 0.2 s each; its ratio is good to about 1 %, its p90 to nothing."""


@dataclass(frozen=True)
class Measurement:
    """What one file took.

    ``samples_ms`` holds, for each process, its single inferences in the order of time. ``ratio`` is the
    median over rounds of candidate / reference, ``ratio_low`` and ``ratio_high`` its 95 % bootstrap
    interval over processes and rounds; ``reference_ms`` the median of the reference beside it;
    ``aa_ratios`` the reference's ratio to itself in each process; ``cpu_shares`` median processor time /
    median time in each process, empty where it is not known; ``paces_ms`` the reference's median in each process, empty in
    older records; ``rejected`` how many processes were thrown away for these. ``target`` is ``Target.describe()``.
    """

    file: str
    sha256: str
    target: dict[str, Any]
    samples_ms: tuple[tuple[float, ...], ...]
    ratio: float
    ratio_low: float
    ratio_high: float
    reference_ms: float
    aa_ratios: tuple[float, ...]
    rejected: int
    conditions: dict[str, Any]
    cpu_shares: tuple[float, ...] = ()
    paces_ms: tuple[float, ...] = ()

    @property
    def noisy(self) -> bool:
        alike = all(AA_RANGE[0] <= ratio <= AA_RANGE[1] for ratio in self.aa_ratios)
        alone = all(share >= LEAST_CPU_SHARE for share in self.cpu_shares)
        return not (alike and alone and self.steady)

    @property
    def steady(self) -> bool:
        """Whether the machine kept one speed, as far as the processes' references tell."""
        return not protocol.out_of_pace([[0]] * len(self.paces_ms), self.paces_ms)

    @property
    def p50_ms(self) -> float:
        return self.percentile_ms(50)

    @property
    def p90_ms(self) -> float:
        return self.percentile_ms(90)

    @property
    def min_ms(self) -> float:
        return self.percentile_ms(0)

    def percentile_ms(self, percentile: float) -> float:
        """Of the samples of all processes together."""
        return float(np.percentile(np.concatenate(self.samples_ms), percentile))

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Measurement:
        tuples = {name: tuple(value[name]) for name in ("aa_ratios", "cpu_shares")}
        tuples["paces_ms"] = tuple(value.get("paces_ms", ()))
        return cls(**{**value, **tuples, "samples_ms": tuple(map(tuple, value["samples_ms"]))})


class Meter(Protocol):
    """What search and compression are given to measure with: ``measure``, or a stand-in for it."""

    def __call__(
        self,
        paths: Sequence[Path],
        target: Target,
        *,
        sampling: Sampling = CERTIFICATE,
        progress: Progress = SILENT,
        seed: int = 0,
    ) -> list[Measurement]: ...


class Relative(Protocol):
    """A measurement, or what of it is kept for a predictor."""

    @property
    def ratio(self) -> float: ...

    @property
    def reference_ms(self) -> float: ...


def normalised_ms(measurements: Sequence[Relative]) -> list[float]:
    """Each ratio times the median reference time of all: milliseconds without the drift between runs."""
    reference_ms = float(np.median([m.reference_ms for m in measurements]))
    return [m.ratio * reference_ms for m in measurements]


def measure(
    paths: Sequence[Path],
    target: Target,
    *,
    sampling: Sampling = CERTIFICATE,
    progress: Progress = SILENT,
    seed: int = 0,
) -> list[Measurement]:
    """One measurement for each file, in order, all in ``target``. Raises as ``measure_each`` does."""
    models = [(Path(path), target) for path in paths]
    return measure_each(models, sampling=sampling, progress=progress, seed=seed)


def measure_each(
    models: Sequence[tuple[Path, Target]],
    *,
    sampling: Sampling = CERTIFICATE,
    progress: Progress = SILENT,
    seed: int = 0,
) -> list[Measurement]:
    """One measurement for each model in its target, in order; targets differ in runtime and precision alone.

    A model is an ONNX file, for torch the folder of a trained network. The reference runs in ONNX Runtime
    on the CPU, beside GPU models alone on the GPU: so ratios compare over runtimes. The samples are times,
    the rest is seeded. A dynamic batch is set to ``target.batch``. Raises InputError for a model that is
    absent or that the runtime cannot load or run, RuntimeError if a process dies without saying why.
    """
    from nassuite.latency.reference import reference_model

    for path, target in models:
        check_model(path, target)
    if len({(target.threads, target.batch) for _, target in models}) > 1:
        raise ValueError("models of one measurement share threads and batch")
    conditions = protocol.conditions()
    groups = protocol.schedule(len(models), asdict(sampling))
    with tempfile.TemporaryDirectory() as folder:
        reference = Path(folder) / "reference.onnx"
        reference.write_bytes(reference_model())
        on_gpu = bool(models) and all(target.runtime == CUDA for _, target in models)

        def measured(number: int, attempt: int) -> dict[str, Any]:
            target = models[groups[number][0]][1]
            request = {
                **asdict(sampling),
                "reference": worker_model(reference, target if on_gpu else Target()),
                "models": [worker_model(*models[i]) for i in groups[number]],
                "threads": target.threads,
                "batch": target.batch,
            }
            try:
                return protocol.quiet_run(request, seed=seed * 1_000_003 + attempt * len(groups) + number)
            except protocol.Unmeasurable as error:
                raise InputError(str(error)) from None

        answers = [
            measured(number, 0)
            for number in progress.track(range(len(groups)), "measuring", unit="processes")
        ]
        answers = protocol.steadied(groups, answers, measured)
    runs: list[list[tuple[Run, int]]] = [[] for _ in models]
    for group, answer in zip(groups, answers, strict=True):
        for position, i in enumerate(group, start=1):
            runs[i].append((Run.of(answer), position))
    return [
        summarise(path.name, model_sha256(path), target.describe(), own, conditions=conditions, seed=seed)
        for (path, target), own in zip(models, runs, strict=True)
    ]


def check_model(path: Path, target: Target) -> None:
    """Raises InputError where ``path`` is no model of the form that the target's runtime takes."""
    if RUNTIMES[target.runtime].takes == "torch":
        if not (path / "model.json").is_file():
            raise InputError(
                f"{path}: {target.runtime} runs networks, not files: give a zoo name, or the folder of a training"
            )
    elif not path.is_file():
        raise InputError(f"{path}: no such file to measure")


def worker_model(path: Path, target: Target) -> dict[str, str]:
    """A model in the terms of the worker."""
    return {"path": str(path), "runtime": target.runtime, "precision": target.precision}


def model_sha256(path: Path) -> str:
    """Of the file, or of the weights in a trained network's folder."""
    return sha256_file(path / "model.safetensors" if path.is_dir() else path)


def summarise(
    file: str,
    sha256: str,
    target: dict[str, Any],
    runs: Sequence[tuple[Run, int]],
    *,
    conditions: dict[str, Any],
    seed: int,
) -> Measurement:
    """The measurement of one model from the processes that timed it, and its position in each."""
    ratios = [run.ratios(position) for run, position in runs]
    low, high = bootstrap_interval(ratios, seed=seed)
    return Measurement(
        file=file,
        sha256=sha256,
        target=target,
        samples_ms=tuple(tuple(run.times_ms[position].ravel().tolist()) for run, position in runs),
        ratio=float(np.median(np.concatenate(ratios))),
        ratio_low=low,
        ratio_high=high,
        reference_ms=float(np.median(np.concatenate([run.times_ms[[0, -1]].ravel() for run, _ in runs]))),
        paces_ms=tuple(run.reference_ms for run, _ in runs),
        aa_ratios=tuple(run.aa_ratio for run, _ in runs),
        rejected=sum(run.raw["rejected"] for run, _ in runs),
        conditions={**conditions, "cores": [run.raw["cores"] for run, _ in runs]},
        cpu_shares=tuple(float(run.cpu_shares[i]) for run, i in runs if run.raw["cpu_ns"] is not None),
    )


def bootstrap_interval(
    ratios: Sequence[np.ndarray], *, seed: int, confidence: float = 0.95
) -> tuple[float, float]:
    """Percentile interval of the pooled median; draws processes first, then rounds within each.

    Rounds of one process share its memory layout, so drawing rounds alone would promise too much.
    """
    rng = np.random.default_rng(seed)
    medians = []
    for _ in range(BOOTSTRAP_DRAWS):
        chosen = [ratios[i] for i in rng.integers(len(ratios), size=len(ratios))]
        medians.append(np.median(np.concatenate([rng.choice(process, len(process)) for process in chosen])))
    tail = (1 - confidence) / 2
    low, high = np.quantile(medians, [tail, 1 - tail])
    return float(low), float(high)
