"""A run that never was, with the numbers of one that might have been."""

import dataclasses

import numpy as np

from nassuite.report.content import (
    Baseline,
    DataFacts,
    Deployment,
    Epoch,
    Evaluation,
    Finalist,
    History,
    LayerCost,
    PartTimes,
    PredictorFacts,
    ReportContent,
    RunFacts,
    SpaceFacts,
    Variant,
    WidthCut,
)
from nassuite.report.evidence import Choice, ChoiceFacts, RankingFacts, RankingPoint, RankingRow, Trait
from nassuite.report.front import pareto_evaluations
from nassuite.report.runs import RunComparison, RunModel, RunRecord, Searched, unit_of
from nassuite.report.runs_text import MEASURE
from nassuite.search.pareto import hypervolume_history
from nassuite.spec import Arch, BlockSpec, HeadSpec, StemSpec
from nassuite.summary import PREDICT

OPS = ("inverted_residual", "ghost", "shuffle", "dwcb", "group_dwcb", "alt_dwcb")
BUDGETS_MS = (0.3, 0.6)


def random_arch(rng):
    stages, width = [], 16
    for stage, base in enumerate((16, 32, 64, 96)):
        out = int(base * rng.choice([0.75, 1.0, 1.25])) // 8 * 8
        blocks = []
        for layer in range(int(rng.integers(1, 5))):
            op = str(rng.choice(OPS))
            kernel = int(rng.choice([3, 5, 7]))
            stride = 2 if layer == 0 and stage > 0 else 1
            shape = (1, kernel) if op == "alt_dwcb" else (kernel, kernel)
            blocks.append(
                BlockSpec(
                    op, width, out, shape, stride, expand=float(rng.choice([2, 3, 4, 6])),
                    se=bool(op == "inverted_residual" and rng.random() < 0.4), act="hard_swish",
                    shortcut="identity" if stride == 1 and width == out else "none",
                )
            )  # fmt: skip
            width = out
        stages.append(tuple(blocks))
    return Arch(32, StemSpec(16), tuple(stages), HeadSpec(256))


def layer_costs(arch):
    side, costs = arch.resolution, []
    costs.append(LayerCost("stem", "conv 3×3", (arch.stem.width, side, side), 442_368, 464))
    for stage, blocks in enumerate(arch.stages, start=1):
        for layer, block in enumerate(blocks, start=1):
            side //= block.stride
            params = int(block.in_channels * block.out_channels * block.expand)
            shape = (block.out_channels, side, side)
            costs.append(LayerCost(f"stage {stage}.{layer}", block.op, shape, params * side**2, params))
    costs.append(LayerCost("head", "conv 1×1, linear", (10,), 396_000, 27_000))
    return tuple(costs)


def evaluations(rng, count):
    rows = []
    for number in range(count):
        arch = random_arch(rng)
        costs = layer_costs(arch)
        macs, params = sum(c.macs for c in costs), sum(c.params for c in costs)
        latency = 0.12 + macs / 40e6 * rng.normal(1, 0.12)
        accuracy = 0.87 - 0.055 / (latency + 0.05) ** 0.7 + rng.normal(0, 0.012)
        if rng.random() < 0.03:
            accuracy = rng.uniform(0.2, 0.55)
        fits = tuple(bool(latency <= b) for b in BUDGETS_MS)
        rows.append(
            Evaluation(
                number, arch.digest, str(arch), float(accuracy), float(latency), macs, params, fits,
                arch_json=arch.to_json(),
            )
        )  # fmt: skip
    return tuple(rows)


def variants(budget_ms, latency, accuracy):
    test_n = 10_000

    def variant(name, factor, gain, size, file, **rest):
        value = accuracy + gain
        half = 1.96 * (value * (1 - value) / test_n) ** 0.5
        return Variant(
            name=name, path=f"deploy/{budget_ms:g}ms/{file}", sha256="3f9a1c77d0e24b58" * 4, size_bytes=size,
            params=size // 4, macs=int(12e6 * factor), p50_ms=latency * factor, p90_ms=latency * factor * 1.04,
            min_ms=latency * factor * 0.97, val_accuracy=value + 0.004, test_accuracy=value,
            test_interval=(value - half, value + half), test_n=test_n, parity_max_abs=3.1e-6, parity_top1=1.0,
            **rest,
        )  # fmt: skip

    return (
        variant("fp32", 1.0, 0.0, 1_310_720, "model.fp32.onnx", verdict="pass"),
        variant("pruned", 0.78, -0.009, 890_880, "model.pruned.onnx", verdict="pass"),
        variant(
            "int8", 0.93, -0.006, 402_000, "model.onnx", verdict="pass" if budget_ms > 0.3 else "too noisy",
            chosen=True, notes="static PTQ, unsigned activations, signed weights, 512 calibration images",
        ),
    )  # fmt: skip


def sample_content(count=220, seed=3):
    rng = np.random.default_rng(seed)
    rows = evaluations(rng, count)
    winners = [max((r for r in rows if r.feasible[i]), key=lambda r: r.accuracy) for i in range(2)]
    points = [(e.predicted_ms, e.accuracy) for e in rows]
    volumes = hypervolume_history(points, (1.0, 0.1), maximise=(False, True))
    predicted = rng.uniform(0.15, 1.0, 40)
    measured = predicted * rng.normal(1, 0.035, 40)
    finalists = [
        Finalist(
            e.digest, e.arch, b, e.predicted_ms, e.predicted_ms * float(rng.normal(1, 0.03)),
            e.predicted_ms * 1.05, float(rng.normal(1, 0.004)), e.accuracy,
        )
        for b, limit in zip(BUDGETS_MS, BUDGETS_MS, strict=True)
        for e in sorted((r for r in rows if r.predicted_ms <= limit), key=lambda r: -r.accuracy)[:4]
    ]  # fmt: skip
    deployed = []
    for budget_ms, e in zip(BUDGETS_MS, winners, strict=True):
        arch = Arch.from_json(e.arch_json)
        files = variants(budget_ms, e.predicted_ms * 0.99, e.accuracy + 0.024)
        costs = layer_costs(arch)
        deployed.append(
            Deployment(budget_ms, e.arch, e.arch_json, files, costs, times=part_times(costs), cuts=CUTS)
        )
    return ReportContent(
        run=sample_run(),
        metric="top1",
        budgets_ms=BUDGETS_MS,
        evaluations=rows,
        finalists=tuple(finalists),
        predictor=PredictorFacts(
            "gradient boosting on 14 features", 160, 0.027, 0.86, 0.985, 0.954,
            tuple(zip(predicted.tolist(), measured.tolist(), strict=True)),
        ),
        history=History(1.0, 0.1, tuple((n, float(v)) for n, v in enumerate(volumes, start=1))),
        deployed=tuple(deployed),
        baselines=(
            Baseline("plain 12-MMAC net", 0.41, 12_000_000, 200_000, 0.823, 0.819, (0.811, 0.826), 0.43,
                     note="trained for 12.5 minutes"),
            Baseline("the same, longer", 0.41, 12_000_000, 200_000, None, 0.842, (0.835, 0.849),
                     note="trained for the winner's whole time"),
        ),
        training=tuple(
            Epoch(n, 2.1 * 0.93**n + 0.5, 61.0 + n % 3, 0.84 - 0.5 * 0.85**n, 0.72 - 0.45 * 0.87**n)
            for n in range(1, 31)
        ),
        ranking=sample_ranking(),
        choices=CHOICES,
    )  # fmt: skip


CUTS = (
    WidthCut("blocks.0.expand.conv", 96, 64),
    WidthCut("blocks.1.expand.conv", 144, 96),
    WidthCut("stem.conv", 16, 16, "no wider than 16 channels, one aligned step"),
)


CHOICES = ChoiceFacts(
    n=60, n_front=7, accuracy_r2=0.22, latency_r2=0.81,
    choices=(
        Choice("stage 1 operator", 0.61, 0.08, 0.02, 0.01),
        Choice("stage 3 depth", 0.03, 0.02, 0.44, 0.05),
        Choice("stage 2 width", -0.01, 0.01, 0.002, 0.01),
    ),
    traits=(Trait("stage 2 operator: DWCB", 0.67, 0.36, 2.7), Trait("stage 1 depth", 1.0, 1.6, -2.4)),
)  # fmt: skip


def part_times(costs):
    parts = tuple((cost.name, 1e-9 * cost.macs + 0.004) for cost in costs)
    return PartTimes("int8", 400, 1.07 * sum(ms for _, ms in parts), parts)


def sample_ranking(count=30):
    rng = np.random.default_rng(0)
    scratch = 0.6 + 0.1 * rng.random(count)
    return RankingFacts(
        verdict="trust for large differences only",
        reason="tau is 0.61 (0.52 to 0.70), +0.02 over MACs: not surely better than counting MACs",
        n=count, epochs=8, train_images=10_000,
        rows=(
            RankingRow("inherited accuracy", count, 0.61, (0.52, 0.7), 0.79, (0.7, 0.87)),
            RankingRow("MACs", count, 0.59, (0.5, 0.68), 0.77, (0.68, 0.85)),
            RankingRow("a second training (noise ceiling)", 10, 0.82, (0.7, 0.91), 0.93, (0.85, 0.98)),
        ),
        over_macs=(0.02, -0.05, 0.08),
        gap=(-0.12, -0.13, -0.11),
        bands=((0.1, 0.2, 10, 0.4), (0.2, 0.3, 10, 0.35), (0.3, 0.6, 10, 0.44)),
        points=tuple(
            RankingPoint(f"{n:016x}", f"architecture {n}", float(value - 0.1), float(value), 0.1 + 0.01 * n)
            for n, value in enumerate(scratch)
        ),
    )  # fmt: skip


def sample_run():
    return RunFacts(
        name="cifar10-0.3-0.6-2026-11-21",
        command="nassuite search --data folder:data/cifar10 --space tiny --budget-ms 0.3 --budget-ms 0.6 "
        "--trials 220 --seed 3 --out runs/cifar10-0.3-0.6-2026-11-21",
        seed=3,
        started="2026-11-21T20:14:05+00:00",
        ended="2026-11-21T21:38:40+00:00",
        seconds={"supernet": 3320.0, "latency": 212.4, "search": 640.9, "compress": 780.0, "deploy": 41.7},
        settings={
            "space": "tiny", "runtime": "onnxruntime", "threads": 1, "sampler": "nsga2", "trials": 220,
            "supernet": {"epochs": 30, "batch": 256, "lr": 0.2, "augment": ["flip", "shift", "cutout"]},
            "train_images": None,
        },
        environment={
            "host": "worker-3", "system": "Linux 6.8.0", "machine": "x86_64",
            "cpu": {"name": "AMD EPYC 9R14", "flags": ["avx2", "avx512f", "avx512_vnni"]},
            "cores": 2, "python": "3.11.9",
            "versions": {"nassuite": "0.1.0", "torch": "2.13.0", "optuna": "5.0.0", "onnxruntime": "1.31.1"},
            "commit": "a1b2c3d+",
        },
        data=DataFacts(
            "cifar10", ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
            45_000, 5_000, 10_000, 3, 32, ("train/cat/broken.jpg",),
        ),
        space=SpaceFacts("tiny", "48291750239847502938475029384750", 1_900_000, 61_000_000),
        misses=("At 0.3 ms the machine was too noisy to certify the chosen file: A/A ratio 1.031 in 2 of 5 processes.",
                "The plain network trained for the winner's whole time is within the winner's interval."),
        notes=("int8 is slower than the pruned fp32 file here and was kept out of the second budget.",
               "3 trials repeated an architecture and were answered from the cache."),
        predict=PREDICT,
    )  # fmt: skip


def sample_comparison(runs=3):
    """Searches of other seeds and a training, with names that are long."""
    records = []
    for seed in range(runs):
        content = sample_content(count=40, seed=seed)
        models = tuple(
            RunModel(
                v.name, v.path, d.arch, v.val_accuracy, v.test_accuracy, v.test_interval, v.params, v.macs,
                chosen=v.chosen, budget_ms=d.budget_ms, p50_ms=v.p50_ms, p90_ms=v.p90_ms,
                reference_ms=0.2 * (1 + 0.1 * seed), size_bytes=v.size_bytes, verdict=v.verdict,
            )
            for d in content.deployed
            for v in d.variants
        )  # fmt: skip
        front = tuple(Searched(e.arch, e.predicted_ms, e.accuracy) for e in pareto_evaluations(content))
        settings = {"seed": str(seed), "sampler": ("nsga2", "tpe")[seed % 2], "epochs": "30"}
        records.append(
            RunRecord(
                f"runs/a-rather-long-name-of-a-run-{seed}", "search", content.run.command, settings,
                "onnxruntime | 1.31.1 | 1 | 1 | worker-3 | AMD EPYC 9R14", "450dbdff0c381454", models, 4995.0,
                BUDGETS_MS, 40, front, 0.2 * (1 + 0.1 * seed),
            )
        )  # fmt: skip
    file = RunModel(
        "trained", "model.onnx", "mobilenet_v2(width_mult=0.5)", 0.8, 0.79, (0.78, 0.8), 10**6, 10**7
    )
    training = RunRecord(
        "mobilenet_v2", "training", "nassuite train mobilenet_v2", {"epochs": "8"}, "", "", (file,)
    )
    unit, why = unit_of(tuple(records))
    return RunComparison(
        "Three samplers", "nassuite compare runs/a runs/b runs/c runs/d", "top1", 50, unit, "cifar10", 10, 10_000,
        (*records, training), (why, f"Not measured, so not in the chart: mobilenet_v2; {MEASURE}."),
    )  # fmt: skip


def empty_content():
    """A run that was stopped before it had anything to show."""
    content = sample_content(count=1)
    run = dataclasses.replace(content.run, misses=(), notes=(), predict="", seconds={}, settings={})
    return ReportContent(run=run, metric="f1", budgets_ms=(0.05,), percentile=90)
