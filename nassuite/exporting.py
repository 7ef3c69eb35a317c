"""A network written for a runtime, with its card: ``nassuite export``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from nassuite.card import hash_lines, interface_lines, write_card
from nassuite.errors import InputError
from nassuite.formats import FORMATS, check_formats, write_format
from nassuite.latency.cost import cost
from nassuite.model_source import Source, open_model
from nassuite.nn.network import Normalised
from nassuite.onnx_export import Parity
from nassuite.progress import SILENT, Progress
from nassuite.run_directory import RunDirectory


@dataclass(frozen=True)
class Exported:
    """What was written: ``parity`` says of each format how far it is from PyTorch. Costs are of one image."""

    folder: Path
    name: str
    shape: tuple[int, int, int]
    params: int
    macs: int
    parity: dict[str, Parity]


def export(
    model: str | Path | nn.Module,
    *,
    out: str | Path,
    size: int | None = None,
    format: str | Sequence[str] = "onnx",
    weights: str | Path | None = None,
    classes: int | None = None,
    channels: int | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    labels: str | Path | Sequence[str] | None = None,
    seed: int = 0,
    progress: Progress = SILENT,
) -> Exported:
    """Writes a network into the new folder ``out``: one file for each ``format``, labels.txt, card.json and card.md.

    ``model`` is a name of the zoo, ``timm:NAME``, ``torchvision:NAME``, ``package.module:factory``, the folder of
    a training, or a module that takes images (N, C, H, W) in 0..1 (with ``mean`` and ``std``: normalised ones).
    ``size`` is the images' side in pixels, ``weights`` a file for a network given by name, ``labels`` a
    file of one label a line, or the labels. Formats are onnx, pt2 (torch.export), openvino, executorch and tflite. Each file
    takes ``image`` float32 (N, C, H, W) in 0..1, N free (executorch: up to 8; tflite: (1, H, W, C), as the card says), and gives
    ``logits`` (N, classes); its outputs are compared
    with PyTorch's before anything is said of it. Raises InputError for what cannot be exported, with the operator.
    """
    formats = tuple(dict.fromkeys([format] if isinstance(format, str) else format))
    check_formats(formats)
    run = RunDirectory(Path(out))
    run.check_new()
    source = open_model(
        model, size=size, weights=weights, classes=classes, channels=channels, mean=mean, std=std,
        labels=_labels(labels), seed=seed, progress=progress,
    )  # fmt: skip
    run.create()
    with run.locked():
        parity = {
            name: write_format(name, source.model, run.root, source.shape)
            for name in progress.track(formats, "exporting", unit="formats")
        }
        counted = cost(source.model, source.shape)
        exported = Exported(run.root, source.name, source.shape, counted.params, counted.macs, parity)
        write_card(run.root, _card(source, exported), _markdown)
    return exported


def _labels(labels: str | Path | Sequence[str] | None) -> tuple[str, ...] | None:
    if labels is None or not isinstance(labels, str | Path):
        return None if labels is None else tuple(labels)
    try:
        lines = Path(labels).read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--labels {labels}: no file of labels that can be read ({error})") from None
    return tuple(line.strip() for line in lines if line.strip())


def _card(source: Source, exported: Exported) -> dict[str, Any]:
    normalise = source.model.normalise if isinstance(source.model, Normalised) else None
    channels, height, width = source.shape
    return {
        "model": source.description.model if source.description else source.name,
        "weights": source.weights,
        "shape": list(source.shape),
        "maps": source.maps,
        "labels": list(source.labels),
        "normalisation": {
            "mean": normalise.mean.flatten().tolist(),
            "std": normalise.std.flatten().tolist(),
        }
        if normalise
        else None,
        "params": exported.params,
        "macs": exported.macs,
        "formats": {
            name: {
                "files": list(FORMATS[name].files),
                "takes": FORMATS[name].takes.format(channels=channels, height=height, width=width),
                "parity": parity.to_json(),
            }
            for name, parity in exported.parity.items()
        },
    }


def _markdown(card: dict[str, Any]) -> list[str]:
    lines = [f"# {card['model']}", "", f"Weights: {card['weights']}."]
    if card["weights"].startswith("fresh"):
        lines[-1] += " They are random: good for timing, not for predictions."
    lines += ["", *interface_lines(card), ""]
    if card["normalisation"]:
        mean, std = ([f"{value:.3f}" for value in card["normalisation"][key]] for key in ("mean", "std"))
        lines += [f"The graph subtracts {', '.join(mean)} and divides by {', '.join(std)}.", ""]
    lines += [
        f"{card['params']:,} parameters, {card['macs'] / 1e6:.2f} M MACs for one image.",
        "",
        "| format | largest difference from PyTorch | at logits up to | same answer | bytes |",
        "|---|---|---|---|---|",
    ]
    for name, form in card["formats"].items():
        parity = form["parity"]
        lines.append(
            f"| {name} | {parity['max_abs_diff']:.2g} | {parity['scale']:.3g} | {parity['top1_agreement']:.0%} of "
            f"{parity['images']} | {parity['size_bytes']} |"
        )
    for form in card["formats"].values():
        lines += ["", f"{form['takes']}."] if form["takes"] else []
    return [*lines, "", *hash_lines(card)]
