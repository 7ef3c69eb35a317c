"""Half the MACs, and how much faster? Strategies of pruning at 224 pixels, by latency alone.

    python studies/pruning_speed.py [--model mobilenet_v2] [--size 224] [--out reports/pruning_speed]

The same network is cut to at most a share of its MACs by each strategy; all files are then measured in the same
rounds. Weights are random, with batch norms scaled by chance so that global rankings have something to
rank: accuracy plays no part, only which widths are left. Several seeds show how much of it is that chance.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from publishing import publish
from torch import nn
from torch_pruning_baseline import torch_pruned

from nassuite.benchmark import Timed, time_networks
from nassuite.compress.steps import prepare, prune_in_steps
from nassuite.errors import InputError
from nassuite.latency.cost import cost
from nassuite.latency.meter import Meter, measure
from nassuite.latency.target import Target
from nassuite.progress import Progress
from nassuite.prune_settings import PruneSettings
from nassuite.pruning import plan_of, resolved
from nassuite.report.words import count, milliseconds
from nassuite.zoo import create_model
from nassuite.zoo.create import parse_model

GRID = 100
OURS = {
    "uniform, aligned": {"strategy": "uniform"},
    "global magnitude, aligned": {"strategy": "global", "importance": "magnitude"},
    "latency": {"strategy": "latency", "importance": "magnitude", "steps": 2},
}
"""Magnitude, because there is no loss to expand where nothing was trained."""
THEIRS = {"torch-pruning, global": None, "torch-pruning, global, rounded to 16": 16}


def random_network(name: str, seed: int) -> nn.Module:
    """Weights of the initialisation, batch-norm scales log-normal as after a training with weight decay."""
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        full, options = parse_model(name)
        network = create_model(full, **options).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.constant_(module.bias, 0.1)
            with torch.no_grad():
                module.weight.copy_(torch.randn(module.num_features, generator=generator).mul(0.5).exp())
    return network


def smallest_cut(made: Callable[[float], nn.Module], enough: Callable[[nn.Module], bool]) -> nn.Module:
    """With the least ratio of 1 / ``GRID`` steps that is ``enough``; raises InputError where none is.

    One after the other: layers that a larger ratio would empty stay whole, so what is left need not fall with the ratio.
    """
    for number in range(1, GRID):
        if enough(network := made(number / GRID)):
            return network
    raise InputError("torch-pruning cuts no such share, whatever the ratio")


def pruned_networks(
    dense: nn.Module, size: int, *, share: float, seed: int, meter: Meter, progress: Progress
) -> dict[str, nn.Module]:
    example = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(seed))
    whole = cost(dense, (3, size, size)).macs
    found = {}
    for name, given in OURS.items():
        progress.say(f"seed {seed}: {name}")
        settings, _ = resolved(
            PruneSettings(model="the network", target_macs=share, seed=seed, **given), progress
        )
        plan = plan_of(settings, dense, example, target=Target(), meter=meter, progress=progress)
        found[name] = prune_in_steps(dense, plan, prepare(dense, plan, name="the network"))[0]
    for name, round_to in THEIRS.items():
        progress.say(f"seed {seed}: {name}")
        found[name] = smallest_cut(
            lambda ratio: torch_pruned(dense, example[:1], ratio, round_to=round_to),  # noqa: B023
            lambda network: cost(network, (3, size, size)).macs <= share * whole,
        )
    return found


def rows_of(timed: Sequence[Timed], seed: int) -> list[dict[str, Any]]:
    dense = timed[0]
    return [
        {
            **row.to_json(),
            "seed": seed,
            "macs_left": row.macs / dense.macs,
            "speedup": dense.p50_ms / row.p50_ms,
        }
        for row in timed
    ]


def markdown(rows: Sequence[dict[str, Any]], record: dict[str, Any]) -> str:
    seeds = len({row["seed"] for row in rows})
    lines = [
        f"# {record['model']} at {record['size']} pixels, cut to {record['share']:.0%} of its MACs: how much faster?",
        "",
        f"No training, random weights, {seeds} seed(s); ONNX Runtime, 1 thread. The networks of a seed were measured in the same "
        "rounds. The speed-up is the median over seeds, with the lowest and highest.",
        "",
        "| strategy | MACs left | parameters | p50 | speed-up | lowest to highest |",
        "|---|---:|---:|---:|---:|---|",
    ]
    for name in dict.fromkeys(row["name"] for row in rows):
        own = [row for row in rows if row["name"] == name]
        speedups = [row["speedup"] for row in own]
        lines.append(
            f"| {name} | {statistics.median(r['macs_left'] for r in own):.1%} "
            f"| {count(statistics.median(r['params'] for r in own))} "
            f"| {milliseconds(statistics.median(r['p50_ms'] for r in own))} | {statistics.median(speedups):.2f}x "
            f"| {min(speedups):.2f} to {max(speedups):.2f} |"
        )
    if any(row["noisy"] for row in rows):
        lines += ["", "**Some measurements found no quiet minute; they are marked in records.json.**"]
    lines += ["", "## How to repeat it", "", "```sh", record["command"], "```", ""]
    lines.append(f"- {record['target']['cpu']['name']}, onnxruntime {record['target']['runtime_version']}")
    lines.append(f"- nassuite at commit {record['environment'].get('commit')}")
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None, *, meter: Meter = measure) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="mobilenet_v2")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--share", type=float, default=0.5, help="of the MACs to keep at most")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("reports/pruning_speed"))
    given = parser.parse_args(arguments)
    progress, target, rows = Progress(), Target(), []
    for seed in range(given.seeds):
        dense = random_network(given.model, seed)
        networks = pruned_networks(
            dense, given.size, share=given.share, seed=seed, meter=meter, progress=progress
        )
        shape = (3, given.size, given.size)
        timed = time_networks(
            {"dense": dense, **networks}, shape, target=target, meter=meter, progress=progress, seed=seed
        )
        rows += rows_of(timed, seed)
    publish(
        given, arguments, lambda record: markdown(rows, record),
        model=given.model, size=given.size, share=given.share, target=target.describe(), rows=rows,
    )  # fmt: skip


if __name__ == "__main__":
    main()
