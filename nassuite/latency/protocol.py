"""The protocol behind every measured millisecond, in one file that needs Python and numpy alone.

Imported, it is what ``nassuite.latency.meter`` measures with. Copied into a bundle as ``measure.py``
(``nassuite latency plan``), with ``worker.py`` beside it, it measures the bundle's models on whatever
machine that is, with onnxruntime and nothing of nassuite.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

AA_RANGE = (0.98, 1.02)
LEAST_CPU_SHARE = 0.98
PACE = 1.1
ATTEMPTS = 3
CORE_WATCH_SECONDS = 0.1
SCHEMA = 1
WORKER = Path(__file__).resolve().with_name("worker.py")


class Unmeasurable(Exception):
    """A model that its runtime cannot load or run, or a bundle that is not whole."""


@dataclass(frozen=True, eq=False)
class Run:
    """One process that timed models: ``raw`` is its answer, ``cores`` and ``rejected`` added.

    ``times_ms`` is (models + 2, rounds, repeats), the reference first and last; ``cpu_shares`` is
    (models + 2,), ones where processor time is not known.
    """

    raw: dict[str, Any]
    times_ms: np.ndarray
    cpu_shares: np.ndarray

    @classmethod
    def of(cls, raw: dict[str, Any]) -> Run:
        times = np.array(raw["samples_ns"]) / 1e6
        shares = np.ones(len(times))
        if raw["cpu_ns"] is not None:
            shares = np.median(np.array(raw["cpu_ns"]) / 1e6, axis=(1, 2)) / np.median(times, axis=(1, 2))
        return cls(raw, times, shares)

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
    def reference_ms(self) -> float:
        return float(np.median(self.times_ms[[0, -1]]))

    @property
    def disturbance(self) -> float:
        return max(abs(self.aa_ratio - 1), 1 - float(self.cpu_shares.min()))

    def ratios(self, position: int) -> np.ndarray:
        turns = self.turns_ms
        return turns[position] / ((turns[0] + turns[-1]) / 2)  # (rounds,)


def schedule(models: int, sampling: dict[str, Any]) -> list[list[int]]:
    """Which models each process times. All groups once, then all again: a model's processes are spread
    over the whole time.
    """
    groups = np.array_split(np.arange(models), -(-models // sampling["group"])) if models else []
    return [group.tolist() for _ in range(sampling["processes"]) for group in groups]


def quiet_run(request: dict[str, Any], *, seed: int) -> dict[str, Any]:
    """``Run.raw`` of the first process that nothing disturbed, or the least disturbed of ``ATTEMPTS``.

    Raises as ``run_worker`` does.
    """
    tried: list[Run] = []
    while len(tried) < ATTEMPTS and not (tried and tried[-1].quiet):
        cores = least_busy_cores(request["threads"])
        answer = run_worker({**request, "cores": cores or None, "seed": seed * ATTEMPTS + len(tried)})
        tried.append(Run.of({**answer, "cores": cores}))
    best = min(tried, key=lambda run: (not run.quiet, run.disturbance))
    return {**best.raw, "rejected": len(tried) - 1}


def steadied(
    groups: Sequence[list[int]], answers: list[dict[str, Any]], again: Callable[[int, int], dict[str, Any]]
) -> list[dict[str, Any]]:
    """The answers of all processes, each timing a group of models, once the processes of a group agree on the machine's speed.

    A machine shared with others, or one that gets warm, has more than one speed, and keeps each for seconds: too long for the A/A
    ratio within a process to show. A process in which the reference took ``PACE`` times as long, or as short, as in the others
    is run again, ``ATTEMPTS`` times in all: ``again`` takes its number and that of the attempt.
    """
    answers = list(answers)
    for attempt in range(1, ATTEMPTS):
        for number in out_of_pace(groups, [Run.of(answer).reference_ms for answer in answers]):
            fresh = again(number, attempt)
            answers[number] = {**fresh, "rejected": answers[number]["rejected"] + fresh["rejected"] + 1}
    return answers


def out_of_pace(groups: Sequence[list[int]], references_ms: Sequence[float]) -> list[int]:
    """The numbers of the processes that ran at another speed than most of those with the same models.

    Of two speeds that are as frequent, the faster is taken for the machine's own.
    """
    own: dict[tuple[int, ...], list[int]] = {}
    for number, group in enumerate(groups):
        own.setdefault(tuple(group), []).append(number)
    found = []
    for numbers in own.values():
        usual = sorted(references_ms[number] for number in numbers)[(len(numbers) - 1) // 2]
        found += [n for n in numbers if not 1 / PACE <= references_ms[n] / usual <= PACE]
    return sorted(found)


def run_worker(request: dict[str, Any]) -> dict[str, Any]:
    """Sends the request to one fresh process.

    Raises Unmeasurable for a model that cannot be run, RuntimeError if the process dies without a word.
    """
    # -P: the worker's own folder is kept off its import path, where its modules could hide others.
    alone = ["-P"] if sys.version_info >= (3, 11) else []
    command = [sys.executable, *alone, str(WORKER)]
    process = subprocess.run(command, input=json.dumps(request), capture_output=True, text=True, check=False)
    try:
        answer = json.loads(process.stdout)
    except json.JSONDecodeError:
        names = ", ".join(Path(model["path"]).name for model in request["models"])
        last = (process.stderr.strip().splitlines() or ["no message"])[-1]
        raise RuntimeError(f"the process measuring {names} ended with {process.returncode}: {last}") from None
    if "error" in answer:
        runtimes = {m["path"]: m["runtime"] for m in [request.get("reference"), *request["models"]] if m}
        raise Unmeasurable(f"{answer['model']}: {runtimes[answer['model']]} cannot run it: {answer['error']}")
    return answer


def allowed_cores() -> list[int]:
    """The cores that this process may run on; empty where the system does not tell."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


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


def conditions() -> dict[str, Any]:
    """What the machine was doing when the measurement began."""
    governor = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "load_average": list(os.getloadavg()) if hasattr(os, "getloadavg") else None,
        "governor": governor.read_text().strip() if governor.is_file() else None,
    }


# --- in a bundle ---


def machine() -> dict[str, str]:
    """What tells this machine from another; ``cpuinfo`` is the kernel's text about its first core."""
    import onnxruntime

    try:
        cpuinfo = Path("/proc/cpuinfo").read_text().split("\n\n")[0]
    except OSError:
        cpuinfo = ""
    return {
        "runtime_version": onnxruntime.__version__,
        "host": platform.node(),
        "system": f"{platform.system()} {platform.machine()}",
        "cpuinfo": cpuinfo,
        "processor": platform.processor() or platform.machine(),
    }


def digest(value: Any) -> str:
    """SHA-256 of a JSON value, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def measure_bundle(folder: Path) -> None:
    """Measures what ``manifest.json`` lists and writes ``results.json``; goes on where it was stopped."""
    text = (folder / "manifest.json").read_bytes()
    manifest = json.loads(text)
    for entry in [manifest["reference"], *manifest["models"]]:
        path = folder / entry["file"]
        if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != entry["sha256"]:
            raise Unmeasurable(f"{path} is not there or damaged: copy the bundle again")

    def model(entry: dict[str, Any]) -> dict[str, str]:
        path = str(folder / entry["file"])
        return {"path": path, "runtime": manifest["runtime"], "precision": manifest["precision"]}

    sampling, results = manifest["sampling"], []
    begun, here = conditions(), machine()
    groups = schedule(len(manifest["models"]), sampling)

    def measured(number: int, attempt: int) -> dict[str, Any]:
        request = {
            **sampling, "threads": manifest["threads"], "batch": manifest["batch"],
            "reference": model(manifest["reference"]), "models": [model(manifest["models"][i]) for i in groups[number]],
        }  # fmt: skip
        raw = quiet_run(request, seed=manifest["seed"] * 1_000_003 + attempt * len(groups) + number)
        answer = {**raw, "models": groups[number], "machine": here, "conditions": begun}
        _write(folder / "parts" / f"{number}.json", answer)
        return answer

    for number in range(len(groups)):
        part = folder / "parts" / f"{number}.json"
        results.append(json.loads(part.read_text()) if part.is_file() else measured(number, 0))
        print(f"measured {number + 1} of {len(groups)}", file=sys.stderr, flush=True)
    results = steadied(groups, results, measured)
    answer = {"schema": SCHEMA, "manifest": hashlib.sha256(text).hexdigest(), "runs": results}
    _write(folder / "results.json", {**answer, "digest": digest(answer)})
    print(f"{folder / 'results.json'} is what nassuite latency import takes", file=sys.stderr)


def _write(path: Path, value: Any) -> None:
    path.parent.mkdir(exist_ok=True)
    temporary = path.with_suffix(".part")
    temporary.write_text(json.dumps(value))
    temporary.replace(path)


if __name__ == "__main__":
    try:
        if sys.argv[1:] == ["--machine"]:
            print(json.dumps(machine()))
            sys.exit(0)
        measure_bundle(Path(__file__).resolve().parent)
    except (Unmeasurable, RuntimeError, OSError, ValueError, KeyError, ImportError) as problem:
        print(f"measure.py: {problem}", file=sys.stderr)
        sys.exit(2)
