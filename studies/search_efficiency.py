"""How many evaluations a sampler needs: replayed on a sub-space of which every architecture was evaluated.

    nassuite search --study cifar10 --data folder:DIR --out runs/cifar10
    python studies/search_efficiency.py --run runs/cifar10 --out reports/search_efficiency

First every architecture of a sub-space (SUBSPACE) gets its inherited validation accuracy from the run's supernet
and its predicted latency; that table is kept in --work and is the only expensive part. Then each sampler
searches it, seed by seed, through the suite's own driver, and the table answers. All steps are resumable.
Reported are hypervolumes over distinct evaluations, against one reference point (the table's worst accuracy and
slowest architecture) and relative to the true front's.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import random
import shlex
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import torch
from matplotlib.figure import Figure
from publishing import rounded
from scipy.stats import wilcoxon

from nassuite.data import Split
from nassuite.flow import Flow, prepare
from nassuite.progress import SILENT, Progress
from nassuite.records import (
    append_jsonl,
    environment,
    read_json,
    read_jsonl,
    write_bytes,
    write_json,
    write_text,
)
from nassuite.report.figures import drawn
from nassuite.run_directory import RunDirectory
from nassuite.search.driver import Objective, SearchConfig, evaluations, run_trials
from nassuite.search.pareto import hypervolume, hypervolume_history, pareto_front
from nassuite.space import Space
from nassuite.spec import Arch
from nassuite.stages import accuracy_of
from nassuite.train.at_once import evaluated_at_once, parts
from nassuite.train.recalibrate import recalibrated
from nassuite.train.sandwich import resize

DIRECTIONS = (True, False)
COUNTS = (50, 100, 250)
OURS, BASE = "guided", "nsga2"
SAMPLERS = (OURS, BASE, "tpe", "gp", "random")
VAL_IMAGES = 1000
TIMED = 30
ASKS = {OURS: 8, BASE: 8, "random": 8, "tpe": 2, "gp": 1}
"""Proposals for each evaluation that is to be made, after which a sampler that goes on repeating itself has what it has.

Fewer for those that mostly repeat themselves in so small a space, and take most of the time for it.
"""


def subspace(space: Space) -> Space:
    """Two widths, one or two layers, two or four operators, 3x3 kernels, the first expansion, no squeeze-and-excitation: few
    enough to evaluate them all."""
    stages = []
    for number, stage in enumerate(space.stages):
        first = number == 0
        stages.append(
            dataclasses.replace(
                stage,
                width=(stage.width[0],) if first else (stage.width[0], stage.width[-1]),
                depth=stage.depth[:1] if number in (0, len(space.stages) - 1) else stage.depth[:2],
                kernel=stage.kernel[:1],
                operator=stage.operator[:1] if first else stage.operator if number == 2 else stage.operator[::3],
                expand=stage.expand[:1],
                se=stage.se[:1],
            )
        )  # fmt: skip
    return dataclasses.replace(space, name=f"{space.name}, a part", stages=tuple(stages))


def architectures(space: Space) -> list[Arch]:
    """All of them, each once."""
    values = itertools.product(*space.genes.values())
    return list(dict.fromkeys(space.decode(dict(zip(space.genes, chosen, strict=True))) for chosen in values))


_in_worker: list[tuple[Flow, Split]] = []
"""What a process prepared for all its evaluations."""


def _prepare_worker(run: Path, threads: int) -> None:
    torch.set_num_threads(threads)
    flow = _flow(run, SILENT)
    _in_worker.append((flow, flow.data.val.subset(VAL_IMAGES, seed=0).to(flow.device)))


def _evaluate(arch: Arch) -> dict[str, Any]:
    flow, val = _in_worker[0]
    return {
        "digest": arch.digest,
        "accuracy": accuracy_of(flow, arch, val),
        "latency_ms": flow.predict_ms(arch),
    }


def evaluate_all(
    run: Path, archs: list[Arch], path: Path, *, workers: int, progress: Progress
) -> dict[str, tuple[float, float]]:
    """Digest to accuracy (0..1) and milliseconds; what is in ``path`` is not evaluated again."""
    known = (
        {row["digest"]: (row["accuracy"], row["latency_ms"]) for row in read_jsonl(path)}
        if path.exists()
        else {}
    )
    missing = [arch for arch in archs if arch.digest not in known]
    if missing:
        threads = max(1, torch.get_num_threads() // workers)
        context = torch.multiprocessing.get_context("spawn")
        with context.Pool(workers, _prepare_worker, (run, threads)) as pool:
            found = pool.imap_unordered(_evaluate, missing)
            for row in progress.track(found, "evaluating", total=len(archs), done=len(archs) - len(missing)):
                append_jsonl(path, row)
                known[row["digest"]] = (row["accuracy"], row["latency_ms"])
    return {arch.digest: known[arch.digest] for arch in archs}


def evaluation_cost(flow: Flow, archs: list[Arch], progress: Progress) -> dict[str, Any]:
    """Seconds of whole evaluations, as a search makes them, and of the bare forward passes in them, alternating.

    Bare: the extracted network over recalibration and validation images that are ready in its memory format.
    """
    val = [x for x, _ in flow.search_val.batches(512, device=flow.device)]
    whole: list[float] = []
    bare: list[float] = []
    for arch in progress.track(archs, "timing evaluations"):
        network = recalibrated(flow.supernet, arch, flow.recalibration_batches[:1])
        resized = (resize(x, arch.resolution) for x in [*flow.recalibration_batches, *val])
        ready = [x[part] for x in resized for part in parts(len(x), evaluated_at_once(network, x[:1]))]

        def passes() -> None:
            with torch.no_grad():
                for x in ready:  # noqa: B023
                    network(x)  # noqa: B023

        jobs = [(whole, lambda: accuracy_of(flow, arch, flow.search_val)), (bare, passes)]  # noqa: B023
        for seconds, job in jobs if len(whole) % 2 else reversed(jobs):
            started = time.perf_counter()
            job()
            seconds.append(time.perf_counter() - started)
    ratios = np.array(whole) / np.array(bare)
    return {
        "n": len(archs), "recalibration_images": sum(map(len, flow.recalibration_batches)),
        "validation_images": len(flow.search_val), "threads": torch.get_num_threads(),
        "seconds": np.quantile(whole, [0.25, 0.5, 0.75]).tolist(), "ratio": np.quantile(ratios, [0.25, 0.5, 0.75]).tolist(),
    }  # fmt: skip


def replay(
    space: Space, table: dict[str, tuple[float, float]], sampler: str, seed: int, trials: int
) -> list[str]:
    """Digests in the order of evaluation; fewer than ``trials`` where so many proposals brought so few that were new."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    latencies = [latency for _, latency in table.values()]
    budgets = (float(np.median(latencies)), max(latencies))
    objective = Objective(lambda arch: table[arch.digest][0], lambda arch: table[arch.digest][1])
    study = optuna.create_study(directions=["maximize", "minimize"])
    most = ASKS[sampler] * trials
    run_trials(
        study,
        space,
        objective,
        SearchConfig(trials, budgets, sampler, seed),
        over=lambda: len(study.get_trials(deepcopy=False)) >= most,
    )
    return [evaluation.arch.digest for evaluation in evaluations(study, space)]


def _replay(job: tuple[Space, dict[str, tuple[float, float]], str, int, int]) -> dict[str, Any]:
    torch.set_num_threads(1)
    started = time.process_time()
    order = replay(*job)
    return {"sampler": job[2], "seed": job[3], "order": order, "cpu_seconds": time.process_time() - started}


def replays(
    space: Space,
    table: dict[str, tuple[float, float]],
    seeds: int,
    path: Path,
    *,
    workers: int,
    progress: Progress,
) -> list[dict[str, Any]]:
    known = read_jsonl(path) if path.exists() else []
    done = {(row["sampler"], row["seed"]) for row in known}
    every = [(sampler, seed) for seed in range(seeds) for sampler in SAMPLERS]
    jobs = [
        (space, table, sampler, seed, max(COUNTS)) for sampler, seed in every if (sampler, seed) not in done
    ]
    with torch.multiprocessing.get_context("spawn").Pool(workers) as pool:
        found = pool.imap_unordered(_replay, jobs)
        for row in progress.track(found, "replaying", total=len(every), done=len(every) - len(jobs)):
            append_jsonl(path, row)
            known.append(row)
    return known


def analyse(table: dict[str, tuple[float, float]], rows: list[dict[str, Any]]) -> dict[str, Any]:
    points = np.array(list(table.values()))
    reference = (float(points[:, 0].min()), float(points[:, 1].max()))
    true = hypervolume(points, reference, maximise=DIRECTIONS)
    histories: dict[str, dict[int, np.ndarray]] = {}
    for row in rows:
        order = row["order"] + row["order"][-1:] * (max(COUNTS) - len(row["order"]))
        path = np.array([table[digest] for digest in order])
        histories.setdefault(row["sampler"], {})[row["seed"]] = (
            hypervolume_history(path, reference, maximise=DIRECTIONS) / true
        )
    goal = float(np.median([history[max(COUNTS) - 1] for history in histories[BASE].values()]))
    samplers = []
    for sampler, of_seed in histories.items():
        entry: dict[str, Any] = {"sampler": sampler, "seeds": len(of_seed)}
        for count in COUNTS:
            entry[f"at_{count}"] = np.quantile(
                [h[count - 1] for h in of_seed.values()], [0.25, 0.5, 0.75]
            ).tolist()
        reached = [int(np.argmax(h >= goal)) + 1 if (h >= goal).any() else None for h in of_seed.values()]
        needed = float(np.median([n if n is not None else np.inf for n in reached]))
        entry["needed"] = needed if np.isfinite(needed) else None
        entry["evaluated"] = float(np.median([len(r["order"]) for r in rows if r["sampler"] == sampler]))
        entry["cpu_seconds"] = float(np.median([r["cpu_seconds"] for r in rows if r["sampler"] == sampler]))
        if sampler != OURS:
            shared = sorted(set(of_seed) & set(histories[OURS]))
            for count in COUNTS:
                difference = [histories[OURS][s][count - 1] - of_seed[s][count - 1] for s in shared]
                test = wilcoxon(difference, alternative="greater") if any(difference) else None
                entry[f"p_{count}"] = 1.0 if test is None else float(test.pvalue)
        samplers.append(entry)
    samplers.sort(key=lambda entry: -entry[f"at_{max(COUNTS)}"][1])
    curves = {
        sampler: np.median([h[: max(COUNTS)] for h in of_seed.values()], axis=0).tolist()
        for sampler, of_seed in histories.items()
    }
    below = int(
        sum(
            (histories[OURS][s] < histories["random"][s])[list(np.array(COUNTS) - 1)].any()
            for s in histories[OURS]
        )
    )
    return {
        "architectures": len(table), "on_true_front": int(pareto_front(points, maximise=DIRECTIONS).sum()),
        "reference": reference, "goal": goal, "samplers": samplers, "curves": curves, "seeds_below_random": below,
    }  # fmt: skip


def speed_words(timed: dict[str, Any]) -> str:
    (low, middle, high), (least, ratio, most) = timed["seconds"], timed["ratio"]
    return (
        f"An evaluation of a search, on {timed['recalibration_images']:,} images for the batch norms and {timed['validation_images']:,} of "
        f"validation, took {middle:.2f} s [{low:.2f}, {high:.2f}] with {timed['threads']} threads: {60 / middle:.0f} a minute, "
        f"{ratio:.2f} times [{least:.2f}, {most:.2f}] its bare forward passes (n = {timed['n']}, medians and quartiles, alternating)."
    )


def report(found: dict[str, Any], out: Path, command: str) -> None:
    best = {entry["sampler"]: entry for entry in found["samplers"]}
    lines = [
        "# Search efficiency: samplers on a table", "",
        f"{found['architectures']:,} architectures, all evaluated ({VAL_IMAGES:,} validation images, inherited weights; latency "
        f"predicted); {found['on_true_front']} are on the true front. Hypervolume relative to the true front's, median over seeds "
        f"[quartiles]. Only distinct evaluations count; a sampler that repeats itself ends after so many proposals, and then has at the later "
        f"counts what it ended with: {', '.join(f'{name} {asks * max(COUNTS):,}' for name, asks in ASKS.items())}.", "",
        "| sampler | seeds | " + " | ".join(f"at {c}" for c in COUNTS)
        + f" | evaluations to reach {BASE}'s {max(COUNTS)} | distinct | processor s | "
        + " | ".join(f"p at {c}" for c in COUNTS) + " |",
        "|---|---:|" + "---:|" * (3 + 2 * len(COUNTS)),
    ]  # fmt: skip
    for entry in found["samplers"]:
        cells = [entry["sampler"], str(entry["seeds"])]
        for count in COUNTS:
            low, middle, high = entry[f"at_{count}"]
            cells.append(f"{middle:.3f} [{low:.3f}, {high:.3f}]")
        cells.append("never" if entry["needed"] is None else f"{entry['needed']:.0f}")
        cells.append(f"{entry['evaluated']:.0f}")
        cells.append(f"{entry['cpu_seconds']:.0f}")
        cells += [f"{entry[f'p_{count}']:.2g}" if f"p_{count}" in entry else "" for count in COUNTS]
        lines.append("| " + " | ".join(cells) + " |")
    lines += [
        "", f"p: one-sided Wilcoxon signed-rank test over seeds that `{OURS}` has more. Seeds in which `{OURS}` is below `random` at any of "
        f"these counts: {found['seeds_below_random']} of {best[OURS]['seeds']}. `never`: half of the seeds or more do not reach it.",
        "", speed_words(found["evaluation"]),
        "", "![Median hypervolume over evaluations](efficiency.png)", "",
        f"Made by `{command}`.", "",
    ]  # fmt: skip
    write_text(out / "report.md", "\n".join(lines))


def _draw(figure: Figure, found: dict[str, Any]) -> None:
    styles = dict(zip(SAMPLERS, ("-", "--", "-.", ":", (0, (1, 3))), strict=True))
    axes = figure.add_subplot()
    for sampler in SAMPLERS:
        if sampler in found["curves"]:
            curve = found["curves"][sampler]
            axes.plot(range(1, len(curve) + 1), curve, linestyle=styles[sampler], label=sampler)
    axes.set(xlabel="distinct evaluations", ylabel="hypervolume / true front's", ylim=(0.8, 1.005))
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)


def _flow(run: Path, progress: Progress) -> Flow:
    directory = RunDirectory(run)
    settings, _ = directory.read_settings()
    return prepare(directory, settings, progress=progress)


def _compact(table: dict[str, tuple[float, float]]) -> Iterator[list[Any]]:
    for digest, (accuracy, latency) in table.items():
        yield [digest, round(accuracy, 4), round(latency, 5)]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--run", type=Path, required=True, help="a finished search, for its supernet and predictor"
    )
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("reports/search_efficiency"))
    parser.add_argument("--work", type=Path, default=Path("runs/search-efficiency"))
    arguments = parser.parse_args()
    progress = Progress()
    flow = _flow(arguments.run, progress)
    space = subspace(flow.space)
    table = evaluate_all(
        arguments.run, architectures(space), arguments.work / "table.jsonl",
        workers=arguments.workers, progress=progress,
    )  # fmt: skip
    rows = replays(
        space,
        table,
        arguments.seeds,
        arguments.work / "replays.jsonl",
        workers=arguments.workers,
        progress=progress,
    )
    cost_file = arguments.work / "evaluation.json"
    if not cost_file.exists():
        drawn_archs = random.Random(0).sample(architectures(space), TIMED)
        write_json(cost_file, evaluation_cost(flow, drawn_archs, progress))
    found = analyse(table, rows) | {"evaluation": read_json(cost_file)}
    command = shlex.join(["python", *sys.argv])
    arguments.out.mkdir(parents=True, exist_ok=True)
    pictures = drawn(lambda figure: _draw(figure, found), inches=(6.4, 4))
    write_bytes(arguments.out / "efficiency.png", pictures[1])
    report(found, arguments.out, command)
    write_json(
        arguments.out / "records.json",
        rounded({"command": command, "environment": environment(), **found, "table": list(_compact(table))}),
    )
    print(arguments.out / "report.md")


if __name__ == "__main__":
    main()
