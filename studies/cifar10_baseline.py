"""The bar that a search has to clear: one plain network, trained for the time that the whole search took.

    python studies/cifar10_baseline.py --data folder:DIR --epochs 8 60 --out reports/cifar10/baseline.json

A plain inverted-residual network of 12 million MACs and 0.2 million parameters, built of the suite's own blocks
with identity shortcuts alone, by the suite's own training loop: one-cycle SGD, label smoothing, flip and shift.
Each number of epochs is a training of its own; each is exported and measured as the search's models are.
Resumable: run it again after an interruption.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nassuite.data import Data, DataConfig, default_augment, load_data
from nassuite.export import export_onnx, run_onnx
from nassuite.latency.cost import cost
from nassuite.latency.meter import measure
from nassuite.latency.target import Target
from nassuite.metrics import binomial_interval, score
from nassuite.nn.network import Interface, build
from nassuite.progress import Progress
from nassuite.records import environment, read_json, write_json
from nassuite.run_directory import FileCheckpoints
from nassuite.spec import Arch, BlockSpec, HeadSpec, StemSpec
from nassuite.train.distill import train_network
from nassuite.train.loop import TrainConfig

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


def train_and_test(data: Data, epochs: int, folder: Path, seed: int) -> dict[str, Any]:
    arch = plain_network()
    network = build(arch, Interface(data.in_chans, len(data.labels), data.mean, data.std), seed=seed)
    config = TrainConfig(epochs, batch_size=128, lr=0.2, seed=seed, augment=default_augment(data))
    started = time.monotonic()
    log = train_network(
        network, data.train, config, resolution=32, description=f"plain network, {epochs} epochs",
        checkpoints=FileCheckpoints(folder / f"plain-{epochs}.safetensors"), progress=Progress(),
    )  # fmt: skip
    seconds = time.monotonic() - started
    counted = cost(network, (3, 32, 32))
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "plain.onnx"
        export_onnx(network, path, input_shape=(3, 32, 32))
        (measurement,) = measure([path], Target())
        scores = {}
        for name, split in (("val", data.val), ("test", data.test)):
            images = np.concatenate([x.numpy() for x, _ in split.batches(512, channels_last=False)])
            logits = run_onnx(path, images)
            correct = int((logits.argmax(1) == split.labels.numpy()).sum())
            scores[name] = {
                "accuracy": score(logits, split.labels.numpy()),
                "interval": binomial_interval(correct, len(images)),
                "n": len(images),
            }
    return {
        "epochs": epochs,
        "seconds": seconds,
        "macs": counted.macs,
        "params": counted.params,
        "p50_ms": measurement.p50_ms,
        "p90_ms": measurement.p90_ms,
        "final_loss": log[-1]["loss"],
        **scores,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True)
    parser.add_argument("--epochs", type=int, nargs="+", default=[8])
    parser.add_argument("--train-images", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("reports/cifar10/baseline.json"))
    parser.add_argument("--work", type=Path, default=Path("runs/cifar10-baseline"), help="checkpoints")
    arguments = parser.parse_args()
    data = load_data(
        DataConfig(arguments.data, seed=arguments.seed, train_images=arguments.train_images),
        progress=Progress(),
    )
    rows = read_json(arguments.out)["rows"] if arguments.out.exists() else []
    for epochs in arguments.epochs:
        if all(row["epochs"] != epochs for row in rows):
            rows.append(train_and_test(data, epochs, arguments.work, arguments.seed))
            facts = {"environment": environment(), "threads": torch.get_num_threads(), "rows": rows}
            write_json(arguments.out, facts)
            print(rows[-1])


if __name__ == "__main__":
    main()
