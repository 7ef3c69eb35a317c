"""``nassuite export`` and ``nassuite predict``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from nassuite.errors import InputError
from nassuite.folders import no_model
from nassuite.progress import Progress


def add(commands: Any) -> None:
    export = commands.add_parser(
        "export",
        help="write a network for a runtime, with its card",
        description="One file for each format, images in 0..1 in and logits out with the normalisation inside, compared "
        "with PyTorch.",
    )
    export.add_argument(
        "model",
        metavar="MODEL",
        help="folder of a training, NAME, 'NAME(option=value)', timm:NAME, torchvision:NAME, package.module:factory",
    )
    export.add_argument("--size", type=int, help="side of the images in pixels (default: the model's)")
    export.add_argument(
        "--format", action="append", choices=("onnx", "pt2", "openvino", "executorch", "tflite"),
        help="may be given several times (default: onnx)",
    )  # fmt: skip
    export.add_argument("--weights", type=Path, metavar="FILE", help="weights of a network given by name")
    export.add_argument("--classes", type=int, help="classes of a network given by name (default: its own)")
    export.add_argument("--channels", type=int, help="channels of its images (default: its own, or 3)")
    for name in ("mean", "std"):
        export.add_argument(
            f"--{name}", type=float, nargs="+", metavar="X",
            help=f"{name} of the images that its weights expect, per channel (default: what the file of --weights says, else ImageNet's)",
        )  # fmt: skip
    export.add_argument("--labels", type=Path, metavar="FILE", help="names of the classes, one a line")
    export.add_argument("--seed", type=int, default=0, help="seed of fresh weights")
    export.add_argument("--out", type=Path, required=True, metavar="DIR", help="new folder for the files")
    export.add_argument(
        "--verbose", action="store_true", help="also say how tensors of --weights were matched"
    )
    export.set_defaults(run=_export)

    predict = commands.add_parser(
        "predict",
        help="labels and probabilities for images, by a deployed model",
        description="Does what predict.py in the folder does.",
    )
    predict.add_argument("deploy", metavar="DEPLOY", type=Path, help="folder with model.onnx and card.json")
    predict.add_argument(
        "images", metavar="IMAGE", nargs="+", help="a file, a folder, or - for JPEG images on stdin"
    )
    predict.add_argument("--top", type=int, default=3, help="labels to print (default: 3)")
    predict.add_argument("--json", action="store_true", help="print a JSON object for each image")
    predict.set_defaults(run=_predict)


def _export(arguments: argparse.Namespace) -> int:
    arguments.progress = progress = Progress(verbose=arguments.verbose)
    with progress.starting(f"exporting {arguments.model}, into {arguments.out}"):
        from nassuite.exporting import export
        from nassuite.terminal_models import print_exported

    exported = export(
        arguments.model, out=arguments.out, size=arguments.size, format=arguments.format or "onnx",
        weights=arguments.weights, classes=arguments.classes, channels=arguments.channels,
        mean=arguments.mean, std=arguments.std, labels=arguments.labels, seed=arguments.seed, progress=progress,
    )  # fmt: skip
    print_exported(exported)
    return 0


def _predict(arguments: argparse.Namespace) -> int:
    from nassuite.predicting import predict

    if arguments.top < 1:
        raise InputError(f"--top {arguments.top}: expected 1 or more")
    if not (arguments.deploy / "card.json").is_file():
        raise no_model(arguments.deploy, "card.json")
    try:
        return predict(arguments.deploy, arguments.images, top=arguments.top, as_json=arguments.json)
    except ValueError as error:
        raise InputError(str(error)) from None
