"""The meter: the one protocol behind every measured millisecond.

What is measured is an exported ONNX file, in fresh processes that do nothing else, each pinned to
the least busy cores. A process loads the reference network, some candidates, and the reference
again; warms all up; then, in every round, each of them has one turn, in shuffled order. A turn is
a few untimed inferences and then ``repeats`` single timed ones. So whatever slows the machine down
for a while slows candidate and reference alike, and their ratio, paired by rounds, stays.

The reference against itself (A/A) says whether that worked: a process in which the median of
that ratio leaves 0.98..1.02 is rejected. So is one in which a model's median inference did not have
the core to itself: another program on the same core leaves short inferences alone and stretches long
ones, which the short reference does not show, but processor time does. What is rejected is run
again, ``ATTEMPTS`` times in all; if none was quiet, the best is kept and the measurement is ``noisy``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from nassuite.errors import InputError
from nassuite.latency.target import Target, allowed_cores
from nassuite.progress import SILENT, Progress
from nassuite.records import sha256_file

AA_RANGE = (0.98, 1.02)
LEAST_CPU_SHARE = 0.98
ATTEMPTS = 3
BOOTSTRAP_DRAWS = 400
CORE_WATCH_SECONDS = 0.1
WORKER = Path(__file__).with_name("worker.py")


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
    median time in each process, empty where it is not known; ``rejected`` how many processes were
    thrown away for these. ``target`` is ``Target.describe()``.
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

    @property
    def noisy(self) -> bool:
        alike = all(AA_RANGE[0] <= ratio <= AA_RANGE[1] for ratio in self.aa_ratios)
        return not (alike and all(share >= LEAST_CPU_SHARE for share in self.cpu_shares))

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
    """One measurement for each ONNX file, in order. The samples are times, the rest is seeded.

    A dynamic batch is set to ``target.batch``. Raises InputError for a file that is absent or that the
    runtime cannot load or run, RuntimeError if a process dies without saying why.
    """
    from nassuite.latency.reference import reference_model

    for path in paths:
        if not Path(path).is_file():
            raise InputError(f"{path}: no such file to measure")
    conditions = _conditions()
    groups = np.array_split(np.arange(len(paths)), -(-len(paths) // sampling.group)) if len(paths) else []
    # All groups once, then all again: a model's processes are spread over the whole time.
    jobs = [(process, group) for process in range(sampling.processes) for group in groups]
    runs: list[list[tuple[_Run, int]]] = [[] for _ in paths]
    with tempfile.TemporaryDirectory() as folder:
        reference = Path(folder) / "reference.onnx"
        reference.write_bytes(reference_model())
        for number, (_, group) in enumerate(progress.track(jobs, "measuring")):
            request = {
                "reference": str(reference),
                "models": [str(paths[i]) for i in group],
                "threads": target.threads,
                "batch": target.batch,
                **{k: v for k, v in asdict(sampling).items() if k not in ("processes", "group")},
            }
            run = _quiet_run(request, target.threads, seed=seed * 1_000_003 + number * ATTEMPTS)
            for position, i in enumerate(group, start=1):
                runs[i].append((run, position))
    description = target.describe()
    return [
        _summarise(Path(path), description, own, conditions, seed)
        for path, own in zip(paths, runs, strict=True)
    ]


@dataclass(frozen=True)
class _Run:
    """One process. ``times_ms`` is (models + 2, rounds, repeats), the reference first and last.

    ``cpu_shares`` is (models + 2,), ones where processor time is not known.
    """

    times_ms: np.ndarray
    cpu_shares: np.ndarray
    cpu_known: bool
    cores: list[int]
    rejected: int = 0

    @property
    def turns_ms(self) -> np.ndarray:
        return np.median(self.times_ms, axis=2)  # (models + 2, rounds)

    @property
    def aa_ratio(self) -> float:
        return float(np.median(self.turns_ms[-1] / self.turns_ms[0]))

    @property
    def quiet(self) -> bool:
        return AA_RANGE[0] <= self.aa_ratio <= AA_RANGE[1] and self.cpu_shares.min() >= LEAST_CPU_SHARE

    @property
    def disturbance(self) -> float:
        return max(abs(self.aa_ratio - 1), 1 - float(self.cpu_shares.min()))

    def ratios(self, position: int) -> np.ndarray:
        turns = self.turns_ms
        return turns[position] / ((turns[0] + turns[-1]) / 2)  # (rounds,)


def _quiet_run(request: dict[str, Any], threads: int, *, seed: int) -> _Run:
    """The first process that nothing disturbed, or the least disturbed of ``ATTEMPTS``."""
    tried: list[_Run] = []
    while len(tried) < ATTEMPTS and not (tried and tried[-1].quiet):
        cores = least_busy_cores(threads)
        answer = run_worker({**request, "cores": cores or None, "seed": seed + len(tried)})
        tried.append(_parse(answer, cores))
    best = min(tried, key=lambda run: (not run.quiet, run.disturbance))
    return replace(best, rejected=len(tried) - 1)


def _parse(answer: dict[str, Any], cores: list[int]) -> _Run:
    times = np.array(answer["samples_ns"]) / 1e6
    shares = np.ones(len(times))
    if answer["cpu_ns"] is not None:
        shares = np.median(np.array(answer["cpu_ns"]) / 1e6, axis=(1, 2)) / np.median(times, axis=(1, 2))
    return _Run(times, shares, answer["cpu_ns"] is not None, cores)


def run_worker(request: dict[str, Any]) -> dict[str, Any]:
    """Sends the request to one fresh process. Raises as ``measure`` does."""
    # -P: the worker's own folder is kept off its import path, where its modules could hide others.
    command = [sys.executable, "-P", str(WORKER)]
    process = subprocess.run(command, input=json.dumps(request), capture_output=True, text=True, check=False)
    try:
        answer = json.loads(process.stdout)
    except json.JSONDecodeError:
        names = ", ".join(Path(path).name for path in request["models"])
        last = (process.stderr.strip().splitlines() or ["no message"])[-1]
        raise RuntimeError(f"the process measuring {names} ended with {process.returncode}: {last}") from None
    if "error" in answer:
        raise InputError(f"{answer['model']}: onnxruntime cannot run it: {answer['error']}")
    return answer


def _summarise(
    path: Path, target: dict[str, Any], runs: list[tuple[_Run, int]], conditions: dict[str, Any], seed: int
) -> Measurement:
    ratios = [run.ratios(position) for run, position in runs]
    low, high = bootstrap_interval(ratios, seed=seed)
    return Measurement(
        file=path.name,
        sha256=sha256_file(path),
        target=target,
        samples_ms=tuple(tuple(run.times_ms[position].ravel().tolist()) for run, position in runs),
        ratio=float(np.median(np.concatenate(ratios))),
        ratio_low=low,
        ratio_high=high,
        reference_ms=float(np.median(np.concatenate([run.times_ms[[0, -1]].ravel() for run, _ in runs]))),
        aa_ratios=tuple(run.aa_ratio for run, _ in runs),
        rejected=sum(run.rejected for run, _ in runs),
        conditions={**conditions, "cores": [run.cores for run, _ in runs]},
        cpu_shares=tuple(float(run.cpu_shares[position]) for run, position in runs if run.cpu_known),
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


def least_busy_cores(count: int) -> list[int]:
    """``count`` of the cores that this process may use, the idlest ones; empty where none can be pinned."""
    allowed = allowed_cores()
    if len(allowed) <= count:
        return allowed
    before = _idle_ticks()
    time.sleep(CORE_WATCH_SECONDS)
    after = _idle_ticks()
    idle = {core: after.get(core, 0) - before.get(core, 0) for core in allowed}
    # Among equals the highest number: interrupts are mostly served by the first cores.
    return sorted(sorted(allowed, key=lambda core: (idle[core], core))[-count:])


def _idle_ticks() -> dict[int, int]:
    try:
        lines = Path("/proc/stat").read_text().splitlines()
    except OSError:
        return {}
    fields = [line.split() for line in lines if line.startswith("cpu") and line[3:4].isdigit()]
    return {int(field[0][3:]): int(field[4]) for field in fields}


def _conditions() -> dict[str, Any]:
    """What the machine was doing when the measurement began."""
    governor = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "load_average": list(os.getloadavg()) if hasattr(os, "getloadavg") else None,
        "governor": governor.read_text().strip() if governor.is_file() else None,
    }
