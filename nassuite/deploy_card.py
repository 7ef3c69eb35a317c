"""What lies beside a deployed model: card, labels, certificate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nassuite import deploy
from nassuite.card import confusion_lines, hash_lines, interface_lines, limit_lines, write_card
from nassuite.costing import part_times
from nassuite.data import Data
from nassuite.latency.certificate import Certificate
from nassuite.latency.target import FULL_PRECISION, Target
from nassuite.models import Description, save_model
from nassuite.nn.network import Interface, parts
from nassuite.records import write_json
from nassuite.spec import Arch


def write(
    folder: Path,
    variants: Sequence[deploy.Variant],
    chosen: deploy.Variant | None,
    *,
    arch: Arch,
    data: Data,
    budget_ms: float,
    target: Target,
    metric: str,
    cuts: Mapping[str, dict[str, Any]],
    trained_on: dict[str, Any],
) -> None:
    """Writes the hand-over; test images are read here, once, after ``chosen`` was settled.

    ``cuts`` are the records of what was cut for each variant that has fewer channels, "pruned" among them.
    """
    sized = data.resized(arch.resolution)
    shape = (sized.in_chans, arch.resolution, arch.resolution)
    images, labels = deploy.evaluation_images(sized.test), sized.test.labels.numpy()
    rows = []
    for variant in variants:
        test = deploy.read_test(
            variant, images, labels, target=target, metric=metric, classes=len(data.labels)
        )
        rows.append(deploy.variant_record(variant, test, chosen=variant is chosen, shape=shape))
    shown = chosen or min(variants, key=lambda v: v.certificate.percentile_ms if v.certificate else 0.0)
    assert shown.certificate is not None
    deploy.copy_chosen(shown, folder, shape)
    description = Description(
        str(arch), len(data.labels), data.in_chans, arch.resolution, data.mean, data.std, data.labels,
        cuts=cuts.get(shown.name.removesuffix("-int8")), arch=arch.to_json(), trained_on=trained_on,
    )  # fmt: skip
    save_model(folder, shown.network, description)
    names = [
        part.name for part in parts(arch, Interface(data.in_chans, len(data.labels), data.mean, data.std))
    ]
    write_json(folder / "certificate.json", shown.certificate.to_json())
    card = {
        "file": "model.onnx",
        "budget_ms": budget_ms,
        "metric": metric,
        "shape": list(shape),
        "labels": list(data.labels),
        "data": {"name": data.name, "train": len(data.train), "val": len(data.val), "test": len(data.test)},
        "arch": arch.to_json(),
        "prune": cuts["pruned"],
        "refine": cuts.get("refined"),
        "target": shown.certificate.measurement.target,
        "variants": rows,
        "certificate": _promise(shown.certificate),
        "times": part_times(folder / "model.onnx", names, target),
    }
    write_card(folder, card, _markdown)


def _markdown(card: dict[str, Any]) -> list[str]:
    shown = next(row for row in card["variants"] if row["sha256"] == card["hashes"]["model.onnx"])
    lines = [
        f"# model.onnx, for {card['budget_ms']:g} ms",
        "",
        f"A classifier of {len(card['labels'])} classes, trained on {card['data']['train']} images of "
        f"{card['data']['name']}.",
        "",
        *interface_lines(card),
        f"- Measured on {card['target']['cpu']['name']}, {card['target']['runtime']} "
        f"{card['target']['runtime_version']}, {card['target'].get('precision', FULL_PRECISION)}, "
        f"{card['target']['threads']} thread(s); samples in `certificate.json`.",
        "",
        "| variant | file | p50 ms | p90 ms | certificate | validation | test (95 % interval) | bytes |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in card["variants"]:
        low, high = row["test"]["interval"]
        name = f"**{row['name']}** (model.onnx)" if row["chosen"] else row["name"]
        lines.append(
            f"| {name} | {row['file']} | {row['p50_ms']:.3f} | {row['p90_ms']:.3f} | {row['verdict']} | "
            f"{row['val_accuracy']:.2%} | {row['test']['accuracy']:.2%} ({low:.2%} to {high:.2%}) | {row['size_bytes']} |"
        )
    if not shown["chosen"]:
        lines += [
            "",
            "**No variant keeps the budget with a certificate**: model.onnx is the fastest of them.",
        ]
    lines += ["", f"What follows is of model.onnx ({shown['name']}).", "", *_certificate_lines(card), ""]
    lines += [*confusion_lines(card["labels"], shown["test"]["confusion"]), ""]
    return [*lines, *limit_lines(card, shown["test"]["n"]), "", *hash_lines(card)]


def _promise(certificate: Certificate) -> dict[str, Any]:
    """What of the certificate the card tells; its samples are in a file of their own."""
    names = ("verdict", "percentile", "confidence", "percentile_ms")
    counts = {"samples": sum(map(len, certificate.measurement.samples_ms))}
    counts |= {"over": certificate.over[-1], "allowed": max(certificate.allowed[-1], 0)}
    return {name: getattr(certificate, name) for name in names} | counts


def _certificate_lines(card: dict[str, Any]) -> list[str]:
    found = card["certificate"]
    return [
        "## Latency certificate",
        "",
        f"**{found['verdict']}**: p{found['percentile']} {found['percentile_ms']:.3g} ms against {card['budget_ms']:g} ms. Of "
        f"{found['samples']} single inferences {found['over']} took longer than the budget; {found['allowed']} may at "
        f"{100 * found['confidence']:g} % confidence. `nassuite certify --check certificate.json` counts again.",
    ]
