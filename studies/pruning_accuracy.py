"""How much faster does a pruned network get at the accuracy that it had? Our strategy against torch-pruning.

    python studies/pruning_accuracy.py --data folder:DIR --models mobilenet_v2 [...] [--out reports/pruning_accuracy]

Each network is trained once, then cut to the same measured speed-ups by three strategies and fine-tuned
alike: the same epochs, distilled from the dense network, the same seed. So is the dense network itself, lest fine-tuning
be mistaken for pruning. torch-pruning is given what it does not have, a search over its ratio by measurement. At the
end all files of a network are measured in the same rounds, and test is read. The speed-up at a loss of
accuracy is read off the line through a strategy's points, with an interval from drawing test images again.
Resumable: run it again after an interruption, or with more models; what stands in the report already, made
with the same settings, is kept there.
"""

from __future__ import annotations

import argparse
import copy
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from publishing import publish
from safetensors.torch import load_model, save_model
from torch import nn
from torch_pruning_baseline import torch_pruned

from nassuite.checkpoints import FileCheckpoints
from nassuite.compress.goal import Goal, Judge
from nassuite.data import default_augment
from nassuite.errors import InputError
from nassuite.latency.cost import cost
from nassuite.latency.meter import Meter, measure
from nassuite.latency.target import Target
from nassuite.metrics import binomial_interval
from nassuite.models import load_model as load_folder
from nassuite.onnx_export import export_onnx, run_onnx
from nassuite.progress import Progress
from nassuite.prune_settings import PruneSettings
from nassuite.pruning import prune_model
from nassuite.pruning_source import Brought, bring_model
from nassuite.records import environment, read_json, write_json
from nassuite.report.words import count, milliseconds, percent
from nassuite.train.distill import SoftLabels, train_network
from nassuite.train.loop import TrainConfig
from nassuite.train_settings import TrainSettings
from nassuite.training import train_model

OURS = "nassuite, latency"
THEIRS = {"torch-pruning, global": None, "torch-pruning, rounded to 16": 16}
GRID = 40
NEARLY = 0.97
"""Of a speed-up: what is measured quickly to be this fast is measured again."""
LOSS = 0.005
UNDER = {
    "dense-tuned": "the dense network after the same fine-tuning",
    "dense": "the dense network as it was, which the same fine-tuning would have made better",
}
"""What a loss is counted from."""
DRAWS = 1000


@dataclass(frozen=True, eq=False)
class Work:
    """One network's part of the study; everything that was made lies under ``folder``."""

    name: str
    folder: Path
    brought: Brought
    given: argparse.Namespace
    meter: Meter
    progress: Progress

    @property
    def dense(self) -> nn.Module:
        return self.brought.model


def fine_tuned(work: Work, network: nn.Module, name: str) -> nn.Module:
    """``network`` after the fine-tuning that ``nassuite prune`` gives in its last step, or as it was kept."""
    kept, given, data = work.folder / f"{name}.safetensors", work.given, work.brought.data
    network = copy.deepcopy(network)
    if kept.is_file():
        load_model(network, kept)
        return network.eval()
    config = TrainConfig(
        given.finetune_epochs, given.batch_size, given.finetune_lr, seed=given.seed,
        augment=default_augment(data),
    )  # fmt: skip
    checkpoints = work.folder / "training" / f"{name}.safetensors"
    train_network(
        network, data.train, config, resolution=data.size, soft_labels=SoftLabels(work.dense, data.size),
        description=f"{work.name}: {name}", checkpoints=FileCheckpoints(checkpoints), progress=work.progress,
    )  # fmt: skip
    network.cpu().eval()
    work.dense.cpu().eval()
    save_model(network, kept)
    checkpoints.unlink(missing_ok=True)
    return network


def by_torch_pruning(work: Work, speedup: float, round_to: int | None, name: str) -> nn.Module:
    """Cut with the least ratio whose exported file is measured ``speedup`` times as fast as the dense one's.

    All ratios are tried: a layer that a larger one would empty, or round away, is left whole by torch-pruning, so that
    a larger ratio may well be slower.
    """
    example = next(work.brought.data.val.batches(2, channels_last=False))[0]
    noted = work.folder / f"{name}.json"

    def cut(ratio: float) -> nn.Module:
        return torch_pruned(work.dense, example, ratio, round_to=round_to)

    if not noted.is_file():
        judge = Judge(Goal("speedup", speedup), work.dense, work.brought.shape, Target(), work.meter)
        ratios = [number / GRID for number in range(1, GRID)]
        dense, *measured = judge.quick_measurements([work.dense, *map(cut, ratios)])
        speedups = [dense.ratio / m.ratio for m in measured]
        near = (r for r, found in zip(ratios, speedups, strict=True) if found >= NEARLY * speedup)
        ratio = next((ratio for ratio in near if judge(cut(ratio)).met), None)
        write_json(noted, {"ratio": ratio, "speedups": [round(found, 3) for found in speedups]})
    ratio = read_json(noted)["ratio"]
    if ratio is None:
        raise InputError(f"{work.name}: torch-pruning reaches no speed-up of {speedup:g}, whatever the ratio")
    return cut(ratio)


def by_us(work: Work, speedup: float, name: str) -> nn.Module:
    out, given = work.folder / name, work.given
    if not (out / "pruning.json").is_file():
        resume = (out / "prune.toml").is_file()
        settings = PruneSettings(
            model=str(work.folder / "dense"), speedup=speedup, finetune_epochs=given.finetune_epochs,
            steps=given.steps, batch_size=given.batch_size, lr=given.finetune_lr, seed=given.seed,
            train_images=given.train_images,
        )  # fmt: skip
        prune_model(
            None if resume else settings, out=out, resume=resume, meter=work.meter, progress=work.progress
        )
    return load_folder(out)


def networks_of(work: Work) -> tuple[dict[str, tuple[str, float | None, nn.Module]], list[str]]:
    """By their names: strategy, the speed-up that was asked for, the network; and what could not be made, and why."""
    found: dict[str, tuple[str, float | None, nn.Module]] = {
        "dense": ("dense", None, work.dense),
        "dense-tuned": ("dense, fine-tuned", None, fine_tuned(work, work.dense, "dense-tuned")),
    }
    failures = []
    for speedup in work.given.speedups:
        name = f"latency-{speedup:g}"
        found[name] = (OURS, speedup, by_us(work, speedup, name))
        for strategy, round_to in THEIRS.items():
            name = f"tp{round_to or ''}-{speedup:g}"
            try:
                cut = by_torch_pruning(work, speedup, round_to, name)
            except InputError as error:
                work.progress.say(str(error))
                failures.append(f"{strategy}, {speedup:g}x: {error}")
                continue
            found[name] = (strategy, speedup, fine_tuned(work, cut, name))
    return found, failures


def judged(work: Work) -> dict[str, Any]:
    """Every network of the work: measured in the same rounds, test read."""
    (networks, failures), shape = networks_of(work), work.brought.shape
    splits = {"val": work.brought.data.val, "test": work.brought.data.test}
    images = {
        split: np.concatenate([x.numpy() for x, _ in of.batches(512, channels_last=False)])
        for split, of in splits.items()
    }
    paths = [work.folder / "onnx" / f"{name}.onnx" for name in networks]
    for path, (_, _, network) in zip(paths, networks.values(), strict=True):
        path.parent.mkdir(exist_ok=True)
        export_onnx(
            network, path, input_shape=shape, images=next(splits["val"].batches(64, channels_last=False))[0]
        )
    measurements = work.meter(paths, Target(), progress=work.progress, seed=work.given.seed)
    rows, correct = [], {}
    for (name, (strategy, wanted, network)), path, m in zip(
        networks.items(), paths, measurements, strict=True
    ):
        right = {
            split: run_onnx(path, images[split]).argmax(1) == of.labels.numpy()
            for split, of in splits.items()
        }
        correct[name] = right["test"]
        counted, n = cost(network, shape), len(right["test"])
        rows.append(
            {
                "name": name, "strategy": strategy, "wanted": wanted, "macs": counted.macs, "params": counted.params,
                "p50_ms": m.p50_ms, "ratio": m.ratio, "speedup": measurements[0].ratio / m.ratio, "noisy": m.noisy,
                "val": float(right["val"].mean()), "test": float(right["test"].mean()), "test_n": n,
                "test_interval": binomial_interval(int(right["test"].sum()), n),
            }
        )  # fmt: skip
    return {
        "model": work.name, "rows": rows, "failures": failures, "target": Target().describe(),
        "commit": environment().get("commit"),
        "at_loss": {name: gains(rows, correct, work.given.seed, under=name) for name in UNDER},
    }  # fmt: skip


def speedup_at(points: Sequence[tuple[float, float]], least: float) -> float:
    """The largest speed-up at which the line through (speed-up, accuracy) ``points`` is not under ``least``.

    The first point is the dense network, fine-tuned alike; past the last point nothing is known.
    """
    ordered = sorted(points)
    best = ordered[0][0]
    for (x0, y0), (x1, y1) in itertools.pairwise(ordered):
        if y1 >= least:
            best = x1
        elif y0 >= least:
            best = x0 + (x1 - x0) * (y0 - least) / (y0 - y1)
    return best


def gains(
    rows: Sequence[dict[str, Any]], correct: dict[str, np.ndarray], seed: int, *, under: str = "dense-tuned"
) -> dict[str, dict[str, Any]]:
    """Per strategy: speed-up at ``LOSS`` under the network named ``under``, and ours over it; intervals of 95 %.

    What is drawn again are the test images, the same for all networks.
    """
    strategies = [OURS, *THEIRS]
    own = {s: [row for row in rows if row["strategy"] == s] for s in strategies}

    def of(strategy: str, chosen: np.ndarray) -> float:
        tuned, base = (float(correct[name][chosen].mean()) for name in ("dense-tuned", under))
        points = [(r["speedup"], float(correct[r["name"]][chosen].mean())) for r in own[strategy]]
        return speedup_at([(1.0, tuned), *points], base - LOSS)

    n = len(correct["dense-tuned"])
    rng = np.random.default_rng(seed)
    draws = [rng.integers(0, n, n) for _ in range(DRAWS)]
    drawn = {s: np.array([of(s, chosen) for chosen in draws]) for s in strategies}
    found = {}
    for s in strategies:
        here = of(s, np.arange(n))
        found[s] = {
            "speedup": here, "interval": _interval(drawn[s]), "at_end": bool(own[s]) and here >= max(r["speedup"] for r in own[s]),
            "ours_over_it": of(OURS, np.arange(n)) / here, "ours_over_it_interval": _interval(drawn[OURS] / drawn[s]),
        }  # fmt: skip
    return found


def _interval(values: np.ndarray) -> list[float]:
    return [float(v) for v in np.percentile(values, (2.5, 97.5))]


def brought(name: str, folder: Path, given: argparse.Namespace, progress: Progress) -> Brought:
    dense = folder / "dense"
    if not (dense / "result.json").is_file():
        resume = (dense / "train.toml").is_file()
        settings = TrainSettings(
            model=name, data=given.data, train_images=given.train_images, epochs=given.epochs,
            batch_size=given.batch_size, seed=given.seed,
        )  # fmt: skip
        train_model(None if resume else settings, out=dense, resume=resume, progress=progress)
    return bring_model(str(dense), train_images=given.train_images, seed=given.seed, progress=progress)


def reported(given: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """The networks of the report that is there, by name; none where it was made with other settings."""
    path = given.out / "records.json"
    if not path.is_file():
        return {}
    record = read_json(path)
    free = ("models", "data", "work", "out")
    same = all(record["settings"].get(key) == value for key, value in vars(given).items() if key not in free)
    return {part["model"]: part for part in record["models"]} if same else {}


def markdown(record: dict[str, Any]) -> str:
    given = record["settings"]
    lines = [
        "# Pruned networks at equal accuracy: how much faster?",
        "",
        f"Data {given['data']}, {given['train_images'] or 'all'} training images; {given['epochs']} epochs for the dense network, "
        f"{given['finetune_epochs']} for every fine-tuning (distilled from the dense network), seed {given['seed']}: one seed, "
        "so the spread over seeds is not in the intervals, which are those of the test images. A short schedule: the "
        "dense network still learns, hence the comparison is with the dense network after the same fine-tuning.",
        "",
    ]
    for part in record["models"]:
        lines += [
            f"## {part['model']}", "",
            f"On {part['target']['cpu']['name']}, onnxruntime {part['target']['runtime_version']}, one thread; nassuite at commit {part['commit']}.", "",
            "| network | asked for | measured speed-up | p50 | MACs | parameters | validation | test | 95 % interval |",
            "|---|---:|---:|---:|---:|---:|---:|---:|---|",
        ]  # fmt: skip
        for row in part["rows"]:
            low, high = row["test_interval"]
            wanted = f"{row['wanted']:g}x" if row["wanted"] else ""
            lines.append(
                f"| {row['strategy']} | {wanted} | {row['speedup']:.2f}x{' (noisy)' if row['noisy'] else ''} "
                f"| {milliseconds(row['p50_ms'])} | {count(row['macs'])} | {count(row['params'])} "
                f"| {percent(row['val'])} | {percent(row['test'])} | {percent(low)} to {percent(high)} |"
            )
        lines += ["", *(f"- {failure}" for failure in part["failures"])]
        for name, at_loss in part["at_loss"].items():
            lines += [
                "", f"At {100 * LOSS:g} points of test accuracy under {UNDER[name]}:", "",
                "| strategy | speed-up | 95 % interval | ours over it | 95 % interval |", "|---|---:|---|---:|---|",
            ]  # fmt: skip
            lines += [_at_loss(part, strategy, at, at_loss[OURS]) for strategy, at in at_loss.items()]
        lines.append("")
    lines += ["## How to repeat it", "", "```sh", record["command"], "```"]
    return "\n".join(lines) + "\n"


def _at_loss(part: dict[str, Any], strategy: str, at: dict[str, Any], ours: dict[str, Any]) -> str:
    """A line of the table: a speed-up and its interval, ours over it and its interval."""
    if all(row["strategy"] != strategy for row in part["rows"]):
        return f"| {strategy} | none | | | |"
    more = "or more, " if at["at_end"] else ""
    line = f"| {strategy} | {more}{at['speedup']:.2f}x | {_between(at['interval'])} |"
    if at["at_end"] and ours["at_end"]:  # past their last points nothing is known of either
        return f"{line} | |"
    return f"{line} {at['ours_over_it']:.2f}x | {_between(at['ours_over_it_interval'])} |"


def _between(bounds: Sequence[float]) -> str:
    return f"{bounds[0]:.2f} to {bounds[1]:.2f}"


def main(arguments: Sequence[str] | None = None, *, meter: Meter = measure) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True)
    parser.add_argument("--models", nargs="+", default=["mobilenet_v2"])
    parser.add_argument("--train-images", type=int)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--finetune-epochs", type=int, default=4)
    parser.add_argument("--finetune-lr", type=float, default=0.02)
    parser.add_argument("--steps", type=int, default=2, help="of our strategy")
    parser.add_argument("--speedups", type=float, nargs="+", default=[1.5, 2.0, 2.5])
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, default=Path("runs/pruning-accuracy"))
    parser.add_argument("--out", type=Path, default=Path("reports/pruning_accuracy"))
    given, progress = parser.parse_args(arguments), Progress()
    parts = reported(given)
    for name in given.models:
        if name in parts:
            continue
        folder = given.work / name
        folder.mkdir(parents=True, exist_ok=True)
        kept = folder / "judged.json"
        if not kept.is_file():
            work = Work(name, folder, brought(name, folder, given, progress), given, meter, progress)
            write_json(kept, judged(work))
        parts[name] = read_json(kept)
    publish(given, arguments, markdown, models=list(parts.values()))


if __name__ == "__main__":
    main()
