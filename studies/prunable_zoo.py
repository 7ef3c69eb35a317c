"""How much of every network of the zoo can be pruned exactly, and why the rest cannot.

    python studies/prunable_zoo.py --out reports/prunable_zoo [--only NAME ...]

Each network is built for ten classes and the smallest images of a list that it takes, given random weights, and pruned by
half of what can go: the mask gate, a forward pass and the parity of the exported file must hold. Networks that
are in the folder's prunable.json already are not tried again, so it may be interrupted; delete the file to begin anew.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from pathlib import Path
from typing import Any

from nassuite.compress.coverage import coverage
from nassuite.errors import InputError, typed_line
from nassuite.progress import Progress
from nassuite.records import SCHEMA_VERSION, environment, read_json, write_json, write_text
from nassuite.zoo import create_model, list_models
from nassuite.zoo.catalogue import NETWORKS
from nassuite.zoo.create import check_size

SIZES = (32, 64, 96, 128, 224, 299, 512)


def small_network(name: str) -> tuple[Any, tuple[int, int, int]]:
    """The network for ten classes, and the shape (C, H, W) of the smallest images that leave it maps to work on."""
    entry = NETWORKS[name]
    classes = None if entry.kind == "features" else 10
    network = create_model(name, num_classes=classes)
    least = 32 if max(entry.size) <= 32 else 64
    for size in SIZES:
        if size < least:
            continue
        try:
            check_size(network, entry.in_chans, (size, size), name)
        except InputError:
            continue
        return network, (entry.in_chans, size, size)
    raise InputError(f"{name} takes none of {SIZES} pixels")


def tried(name: str) -> dict[str, Any]:
    started = time.monotonic()
    try:
        network, shape = small_network(name)
        found = coverage(network, shape, name=name).to_json()
    except Exception as error:  # the report shall name every network that fails, not stop at the first
        found = {"model": name, "error": typed_line(error)}
    return found | {"seconds": round(time.monotonic() - started, 1)}


def markdown(rows: list[dict[str, Any]], command: str) -> str:
    lines = [
        "# How much of each network can be pruned exactly",
        "",
        f"Made by `{command}`. Channels: the outputs of convolutions and linear layers; prunable: those in groups whose "
        "cut passes the mask gate (the pruned network equals the masked one to 1e-4). Half of the prunable channels "
        "were removed, widths multiples of 8; the exported file was compared with the pruned network.",
        "",
        "| network | pixels | prunable channels | groups | parameters left | MACs left | gate | ONNX | left alone |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        if "error" in row:
            lines.append(f"| {row['model']} | | **{row['error']}** | | | | | | |")
            continue
        reasons = "; ".join(f"{count}: {reason}" for reason, count in row["reasons"].items())
        lines.append(
            f"| {row['model']} | {row['shape'][1]} | {row['prunable'] / row['channels']:.0%} | {row['groups']} | "
            f"{row['params_left']:.0%} | {row['macs_left']:.0%} | {row['gate_difference']:.0e} | "
            f"{row['onnx_difference']:.0e} | {reasons} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", nargs="+", default=list_models(), metavar="NAME")
    arguments = parser.parse_args()
    path = arguments.out / "prunable.json"
    rows = {row["model"]: row for row in read_json(path)["networks"]} if path.is_file() else {}
    missing = [name for name in arguments.only if name not in rows]
    command = shlex.join(["python", *sys.argv])
    for name in Progress().track(
        missing, "networks", total=len(arguments.only), done=len(arguments.only) - len(missing)
    ):
        rows[name] = tried(name)
        ordered = [rows[known] for known in sorted(rows)]
        write_json(
            path,
            {
                "schema_version": SCHEMA_VERSION,
                "command": command,
                "environment": environment(),
                "networks": ordered,
            },
        )
        write_text(arguments.out / "report.md", markdown(ordered, command))
    failed = [name for name in arguments.only if "error" in rows[name]]
    print(
        f"{len(arguments.only) - len(failed)} of {len(arguments.only)} networks pass"
        + (f"; not: {', '.join(failed)}" if failed else "")
    )
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
