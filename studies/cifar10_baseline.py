"""The bar that a search has to clear: one plain network, trained for the time that the whole search took.

    python studies/cifar10_baseline.py --data folder:DIR --epochs 8 60 --out reports/cifar10/baseline
    nassuite report RUN --baselines reports/cifar10/baseline

A plain inverted-residual network of 12 million MACs and 0.2 million parameters, built of the suite's own blocks
with identity shortcuts alone, by the suite's own training loop: one-cycle SGD, label smoothing, flip and shift.
Each number of epochs is a training of its own; all are exported and measured as the search's models are, in
the same rounds. Resumable: run it again after an interruption, or with more epochs.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from pathlib import Path

import numpy as np
import torch

from nassuite.benchmark import time_networks
from nassuite.checkpoints import FileCheckpoints
from nassuite.data import Data, DataConfig, default_augment, load_data
from nassuite.latency.target import Target
from nassuite.metrics import binomial_interval
from nassuite.nn.network import Interface, Network, build
from nassuite.progress import Progress
from nassuite.records import environment
from nassuite.report.comparison import Compared, Comparison, write_comparison
from nassuite.spec import Arch, BlockSpec, HeadSpec, StemSpec
from nassuite.train.distill import train_network
from nassuite.train.loop import TrainConfig
from nassuite.train.recalibrate import predict

LR_OF_IMAGE = 0.2 / 128
"""The peak learning rate grows with the batch (Goyal et al. 2017, section 2.1)."""
STAGES = ((16, 1, 1, 4.0), (24, 2, 2, 4.0), (48, 2, 3, 4.0), (96, 2, 2, 4.0))
"""Width, stride of the first layer, layers, expansion."""


def plain_network() -> Arch:
    channels, stages = 16, []
    for width, stride, depth, expand in STAGES:
        blocks = []
        for layer in range(depth):
            keeps = channels == width and layer > 0
            blocks.append(
                BlockSpec(
                    "inverted_residual", channels, width,
                    stride=stride if layer == 0 else 1, expand=expand, shortcut="identity" if keeps else "none",
                )
            )  # fmt: skip
            channels = width
        stages.append(tuple(blocks))
    return Arch(32, StemSpec(16), tuple(stages), HeadSpec(256))


def trained(data: Data, epochs: int, batch_size: int, work: Path, seed: int) -> tuple[Network, float]:
    """The plain network after ``epochs``, and the seconds that it took, interruptions left out."""
    network = build(
        plain_network(), Interface(data.in_chans, len(data.labels), data.mean, data.std), seed=seed
    )
    config = TrainConfig(
        epochs, batch_size, LR_OF_IMAGE * batch_size, seed=seed, augment=default_augment(data)
    )
    checkpoints = FileCheckpoints(work / f"plain-{epochs}-{batch_size}.safetensors")
    meta = checkpoints.meta()
    before = meta["log"][-1]["seconds"] if meta and meta["log"] else 0.0
    started = time.monotonic()
    log = train_network(
        network, data.train, config, resolution=32, description=f"plain network, {epochs} epochs",
        checkpoints=checkpoints, progress=Progress(),
        after_epoch=lambda: {"seconds": round(before + time.monotonic() - started, 1)},
    )  # fmt: skip
    return network.eval(), log[-1]["seconds"]


def accuracies(network: Network, data: Data) -> dict[str, np.ndarray]:
    """For each image of val and test, whether the network is right."""
    return {
        name: (predict(network, (x for x, _ in split.batches(512))).argmax(1) == split.labels).numpy()
        for name, split in (("val", data.val), ("test", data.test))
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True)
    parser.add_argument("--epochs", type=int, nargs="+", default=[8])
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--train-images", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("reports/cifar10/baseline"))
    parser.add_argument("--work", type=Path, default=Path("runs/cifar10-baseline"), help="checkpoints")
    arguments = parser.parse_args()
    progress = Progress()
    config = DataConfig(arguments.data, seed=arguments.seed, train_images=arguments.train_images)
    data = load_data(config, progress=progress)
    networks, rows = {}, []
    for epochs in arguments.epochs:
        networks[f"plain, {epochs} epochs"], seconds = trained(
            data, epochs, arguments.batch_size, arguments.work, arguments.seed
        )
        rows.append((epochs, seconds))
    target = Target()
    timed = time_networks(networks, (data.in_chans, 32, 32), target=target, progress=progress)
    compared = []
    for (name, network), time_, (epochs, seconds) in zip(networks.items(), timed, rows, strict=True):
        correct = accuracies(network, data)
        test = int(correct["test"].sum())
        compared.append(
            Compared(
                name=name, params=time_.params, macs=time_.macs, val_accuracy=float(correct["val"].mean()),
                test_accuracy=test / len(data.test), test_interval=binomial_interval(test, len(data.test)),
                test_n=len(data.test), p50_ms=time_.p50_ms, p90_ms=time_.p90_ms, epochs=epochs, seconds=seconds,
                note="noisy measurement" if time_.noisy else "",
            )
        )  # fmt: skip
    comparison = Comparison(
        title="A plain inverted-residual network on CIFAR-10",
        command=shlex.join(["python", *sys.argv]),
        metric="top1",
        digest=data.digest,
        target=target.describe(),
        environment=environment(),
        recipe={
            "batch_size": arguments.batch_size, "lr": LR_OF_IMAGE * arguments.batch_size, "schedule": "one cycle", "label_smoothing": 0.1,
            "train_images": len(data.train), "seed": arguments.seed, "threads": torch.get_num_threads(),
        },
        rows=tuple(compared),
    )  # fmt: skip
    for path in write_comparison(comparison, arguments.out):
        print(path)


if __name__ == "__main__":
    main()
