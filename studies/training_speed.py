"""What the supernet's step costs over the networks in it, and what training could win on this machine.

    python studies/training_speed.py [--space tiny] [--batch-size 64] [--out reports/training_speed]

A step of the supernet (forward, backward, clipping, optimiser) is timed beside the same architectures taken
out of it as plain modules, each with a step of its own on the same batch. Whole steps alternate, in shuffled order,
so that a slow minute of the machine meets all alike; ratios are paired by rounds, intervals are bootstraps over them.
The other variants do the supernet's step otherwise: another memory format, bf16, another number of threads.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from publishing import publish
from torch import Tensor, nn
from torch.nn import functional as F

from nassuite.nn.network import Interface
from nassuite.nn.supernet import Supernet
from nassuite.progress import Progress
from nassuite.space_file import load_space
from nassuite.spec import Arch
from nassuite.train.at_once import evaluated_at_once, parts, trained_at_once
from nassuite.train.loop import gradients_in_parts
from nassuite.train.optimiser import MaskedSGD
from nassuite.train.recalibrate import predict
from nassuite.train.sandwich import draw_sandwich, resize
from nassuite.zoo.create import create_model

SEPARATE = "the same architectures as modules of their own"
SUPERNET = "the supernet's step"
PLAIN = "mobilenet_v2"
DRAWS = 1000
AIM = 1.05


def sandwich_step(
    supernet: Supernet, optimiser: MaskedSGD, images: Tensor, labels: Tensor, archs: Sequence[Arch]
) -> None:
    """As ``train_supernet`` makes it, but for the soft labels, which cost next to nothing."""
    optimiser.zero_grad()
    for arch in archs:
        F.cross_entropy(supernet(resize(images, arch.resolution), arch).float(), labels).backward()
    nn.utils.clip_grad_norm_(supernet.parameters(), 5.0)
    optimiser.step(1e-4)


def separate_steps(
    networks: Sequence[tuple[nn.Module, MaskedSGD]], images: Tensor, labels: Tensor, archs: Sequence[Arch]
) -> None:
    for (network, optimiser), arch in zip(networks, archs, strict=True):
        optimiser.zero_grad()
        F.cross_entropy(network(resize(images, arch.resolution)).float(), labels).backward()
        nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimiser.step(1e-4)


def in_format(images: Tensor, channels_last: bool) -> Tensor:
    return images.contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)


def timed_rounds(given: argparse.Namespace, progress: Progress) -> dict[str, list[float]]:
    """Seconds of each round, by what was done in it."""
    device, rng = given.device, random.Random(given.seed)
    generator = torch.Generator().manual_seed(given.seed)
    supernet = Supernet(load_space(given.space), Interface(3, 10, (0.5,) * 3, (0.25,) * 3)).to(device)
    optimiser = MaskedSGD(supernet.parameters())
    images = torch.rand(given.batch_size, 3, given.size, given.size, generator=generator).to(device)
    labels = torch.randint(10, (given.batch_size,), generator=generator).to(device)
    last, first = in_format(images, True), in_format(images, False)
    threads = torch.get_num_threads()
    seconds: dict[str, list[float]] = {}

    def timed(name: str, step: Callable[[], None], *, bf16: bool = False, of: int = threads) -> None:
        torch.set_num_threads(of)
        with torch.autocast(device, torch.bfloat16) if bf16 else nullcontext():
            if name not in seconds:
                step()  # kernels are chosen, memory is taken
            _wait(device)
            started = time.perf_counter()
            step()
            _wait(device)
        torch.set_num_threads(threads)
        seconds.setdefault(name, []).append(time.perf_counter() - started)

    for _ in progress.track(range(given.rounds), "rounds", total=given.rounds, done=0):
        archs = draw_sandwich(supernet.space, rng)
        networks = [(n := supernet.extract(arch).train(), MaskedSGD(n.parameters())) for arch in archs]
        separate_steps(networks, last, labels, archs)  # their memory is taken, as that of the supernet is
        own = [
            lambda: timed(SUPERNET, lambda: sandwich_step(supernet, optimiser, last, labels, archs)),  # noqa: B023
            lambda: timed(SEPARATE, lambda: separate_steps(networks, last, labels, archs)),  # noqa: B023
            lambda: timed(
                "contiguous instead of channels_last",
                lambda: sandwich_step(supernet, optimiser, first, labels, archs),  # noqa: B023
            ),
            lambda: timed(
                "bf16 autocast",
                lambda: sandwich_step(supernet, optimiser, last, labels, archs),  # noqa: B023
                bf16=True,
            ),
        ]
        if threads > 1 and device == "cpu":
            own.append(
                lambda: timed(
                    "one thread",
                    lambda: sandwich_step(supernet, optimiser, last, labels, archs),  # noqa: B023
                    of=1,
                )
            )
        rng.shuffle(own)
        for step in own:
            step()
    return seconds


def parts_of_batches(given: argparse.Namespace, progress: Progress) -> list[dict[str, Any]]:
    """PLAIN on whole batches and in the parts that training and evaluation take on a CPU, alternating."""
    network = create_model(PLAIN, num_classes=10).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    rng, rows = random.Random(given.seed), []
    for size in given.sizes:
        images = in_format(torch.rand(given.batch_size, 3, size, size), True)
        together = {
            "training": trained_at_once(network, images[:1]),
            "evaluation": evaluated_at_once(network, images[:1]),
        }
        ways = ways_of(network, images, together["training"])
        seconds: dict[tuple[str, str], list[float]] = {way: [] for way in ways}
        for number in progress.track(range(given.part_rounds + 1), f"{size} pixels"):
            for way in rng.sample(sorted(ways), len(ways)):
                trains = way[0] == "training"
                network.train(trains).zero_grad()
                with torch.set_grad_enabled(trains):
                    started = time.perf_counter()
                    ways[way]()
                    if number:  # in the first kernels are chosen, memory is taken
                        seconds[way].append(time.perf_counter() - started)
        for what, count in together.items():
            whole, in_parts = (np.array(seconds[what, how]) for how in ("whole", "parts"))
            rows.append(
                {
                    "size": size, "what": what, "at_once": given.batch_size / len(parts(given.batch_size, count)),
                    "rounds": len(whole), "whole": given.batch_size / float(np.median(whole)),
                    "parts": given.batch_size / float(np.median(in_parts)),
                    "ratio": np.quantile(whole / in_parts, (0.25, 0.5, 0.75)).tolist(),
                }
            )  # fmt: skip
    return rows


def ways_of(network: nn.Module, images: Tensor, together: int) -> dict[tuple[str, str], Callable[[], object]]:
    """What is timed: of training the gradients alone, for the rest of a step is the same."""
    labels = torch.arange(len(images)) % 10

    def backward(images: Tensor, labels: Tensor, _step: int) -> float:
        loss = F.cross_entropy(network(images), labels)
        loss.backward()
        return loss.item()

    return {
        ("training", "whole"): lambda: backward(images, labels, 0),
        ("training", "parts"): lambda: gradients_in_parts(
            network, backward, images, labels, step=0, together=together
        ),
        ("evaluation", "whole"): lambda: network(images),
        ("evaluation", "parts"): lambda: predict(network, [images]),
    }


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def rows_of(seconds: dict[str, list[float]], batch_size: int, seed: int) -> list[dict[str, Any]]:
    """Ratios of the supernet's step to each, by rounds: below 1 the supernet's step is the faster."""
    rng, own, rows = np.random.default_rng(seed), np.array(seconds[SUPERNET]), []
    for name, values in seconds.items():
        other = np.array(values)
        ratios = own / other
        medians = [float(np.median(ratios[rng.integers(0, len(ratios), len(ratios))])) for _ in range(DRAWS)]
        rows.append(
            {
                "name": name, "images_per_second": batch_size / float(np.median(other)), "rounds": len(other),
                "median_seconds": float(np.median(other)), "ratio": float(np.median(ratios)),
                "interval": [float(v) for v in np.percentile(medians, (2.5, 97.5))],
            }
        )  # fmt: skip
    return sorted(rows, key=lambda row: [SUPERNET, SEPARATE].index(row["name"]) if row["name"] in (SUPERNET, SEPARATE) else 2)  # fmt: skip


def markdown(record: dict[str, Any]) -> str:
    rows = {row["name"]: row for row in record["rows"]}
    own = rows[SEPARATE]
    low, high = own["interval"]
    lines = [
        "# What a step of the supernet costs",
        "",
        f"**{own['ratio']:.3f} times** (95 % interval {low:.3f} to {high:.3f}) what the same architectures cost as modules of their "
        f"own; the aim is at most {AIM}. Space {record['settings']['space']}, batches of {record['settings']['batch_size']}, "
        f"{own['rounds']} rounds, {record['settings']['device']}, {record['threads']} threads.",
        "",
        "| step | images a second | seconds | supernet's step over it | 95 % interval |",
        "|---|---:|---:|---:|---|",
    ]
    for row in record["rows"]:
        low, high = row["interval"]
        ratio = "" if row["name"] == SUPERNET else f"{row['ratio']:.3f} | {low:.3f} to {high:.3f}"
        lines.append(
            f"| {row['name']} | {row['images_per_second']:.0f} | {row['median_seconds']:.3f} | {ratio or ' | '} |"
        )
    lines += [
        "", "Images are those of the batch; each is seen by every architecture of the step. A ratio under 1 says that "
        "the supernet's step, as it is, is the faster.", "",
        *_parts_lines(record), "## How to repeat it", "", "```sh", record["command"], "```", "",
        f"- nassuite at commit {record['environment'].get('commit')}",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _parts_lines(record: dict[str, Any]) -> list[str]:
    if not record["parts"]:
        return []
    return [
        "## Images at once", "",
        f"{PLAIN}, batches of {record['settings']['batch_size']}, whole (before) and in the parts in which a CPU takes them (now). The "
        "ratio of times is the median of rounds in which both alternate [quartiles]. Evaluation in parts begins with a pass of one image, "
        "which finds out how many go together: much of so few, and little of a whole validation set.", "",
        "| pixels | | images at once | whole, images/s | in parts, images/s | times as fast |",
        "|---:|---|---:|---:|---:|---|",
        *(
            f"| {row['size']} | {row['what']} | {row['at_once']:.0f} | {row['whole']:.0f} | {row['parts']:.0f} | "
            f"{row['ratio'][1]:.2f} [{row['ratio'][0]:.2f}, {row['ratio'][2]:.2f}] |"
            for row in record["parts"]
        ), "",
    ]  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--space", default="tiny")
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument(
        "--sizes", type=int, nargs="*", default=[32, 96, 224], help="of images in parts, in pixels"
    )
    parser.add_argument("--part-rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("reports/training_speed"))
    given = parser.parse_args(arguments)
    seconds = timed_rounds(given, Progress())
    rows = rows_of(seconds, given.batch_size, given.seed)
    in_parts = parts_of_batches(given, Progress()) if given.device == "cpu" else []
    publish(given, arguments, markdown, threads=torch.get_num_threads(), rows=rows, parts=in_parts)


if __name__ == "__main__":
    main()
