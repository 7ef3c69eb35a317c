"""``nassuite certify``."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import Any

from nassuite.cli.latency import contenders
from nassuite.cli.parser import EXIT_MISSED
from nassuite.cli.target import add_target, target_of
from nassuite.errors import InputError
from nassuite.progress import Progress


def add(commands: Any) -> None:
    certify = commands.add_parser(
        "certify",
        help="say whether an ONNX file keeps a latency budget",
        description="Pass, fail or too noisy, by a binomial rule on raw samples, in each process and in all together. "
        "Exits with 1 unless it is a pass. With --target it is measured there: over ssh at once; for an imported "
        "device a bundle is written first, to be run on it.",
    )
    certify.add_argument(
        "model", metavar="MODEL", nargs="?", type=Path, help="an .onnx file, or a folder with model.onnx"
    )
    certify.add_argument("--budget-ms", type=float, metavar="MS", help="latency budget in milliseconds")
    certify.add_argument(
        "--percentile", type=int, default=50, choices=(50, 90),
        help="the latency percentile that has to keep the budget (default: 50)",
    )  # fmt: skip
    certify.add_argument(
        "--confidence", type=float, default=0.99, help="confidence of the certificate (default: 0.99)"
    )
    add_target(certify, auto=True, batch=True)
    certify.add_argument(
        "--target", metavar="NAME", help="an imported device, or ssh:user@host (default: this machine)"
    )
    certify.add_argument("--out", type=Path, metavar="FILE", help="write the certificate there (JSON)")
    certify.add_argument(
        "--check",
        type=Path,
        metavar="CERT",
        help="verify hash and verdict of this certificate, or of that in a folder, instead",
    )
    certify.set_defaults(run=_certify)


def _certify(arguments: argparse.Namespace) -> int:
    from nassuite.latency.certificate import certify
    from nassuite.records import write_json

    if arguments.check is not None:
        return _check(arguments)
    if arguments.model is None or arguments.budget_ms is None:
        raise InputError("certify takes a model and --budget-ms, or --check CERT")
    arguments.model = _file(arguments.model, "model.onnx")
    if not arguments.model.is_file():
        raise InputError(f"{arguments.model}: no such file to measure")
    arguments.progress = Progress()
    measurement = _measured_here(arguments) if arguments.target is None else _measured_there(arguments)
    certificate = certify(
        measurement, arguments.budget_ms, percentile=arguments.percentile, confidence=arguments.confidence
    )
    if arguments.out:
        write_json(arguments.out, certificate.to_json())
    print(certificate)
    return 0 if certificate.verdict == "pass" else EXIT_MISSED


def _measured_here(arguments: argparse.Namespace) -> Any:
    from nassuite.latency.choice import fastest
    from nassuite.latency.meter import measure
    from nassuite.terminal_models import print_contenders

    target = target_of(arguments)
    if target is None:
        tried = contenders(arguments, {"onnx": arguments.model})
        print_contenders({str(arguments.model): tried})
        target = fastest(tried).target
    # Measured anew: the least of several measurements is a lucky one.
    (measurement,) = measure([arguments.model], target, progress=arguments.progress)
    return measurement


def _measured_there(arguments: argparse.Namespace) -> Any:
    """On another device; raises DeviceNeeded where somebody has to go there first."""
    from nassuite.latency.certificate import checked
    from nassuite.latency.remote import meter_of
    from nassuite.settings import check_target

    check_target(arguments)
    if arguments.batch != 1:
        raise InputError(f"--batch {arguments.batch}: --target measures one image at a time")
    # What is asked for is checked before somebody carries it to a device.
    checked(arguments.budget_ms, arguments.percentile, arguments.confidence)
    folder = (arguments.out or arguments.model).parent / "device"
    target, meter = meter_of(
        arguments.target, threads=arguments.threads, folder=folder,
        about={
            "budgets_ms": [arguments.budget_ms], "percentile": arguments.percentile, "confidence": arguments.confidence,
        },
        go_on=f"nassuite {shlex.join(arguments.command_line)}",
    )  # fmt: skip
    if arguments.threads not in (1, target.threads):
        raise InputError(
            f"--threads {arguments.threads}: {arguments.target} was measured with {target.threads}: leave it out"
        )
    (measurement,) = meter([arguments.model], target, progress=arguments.progress)
    return measurement


def _check(arguments: argparse.Namespace) -> int:
    from nassuite.latency.certificate import check
    from nassuite.records import read_json

    path = _file(arguments.check, "certificate.json")
    try:
        written = read_json(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: no certificate that can be read ({error})") from None
    if not isinstance(written, dict):
        raise InputError(f"{path}: not a certificate")
    model = _file(arguments.model or path.parent, "model.onnx")
    if not model.is_file():
        raise InputError(f"{model}: no such file: give the model that {path} is about")
    verdict = check(written, model)
    print(f"{verdict}: {model}, {written['budget_ms']:g} ms, as {path} says")
    return 0 if verdict == "pass" else EXIT_MISSED


def _file(path: Path, name: str) -> Path:
    """``path`` itself, or the file of that name in the folder that it is."""
    return path / name if path.is_dir() else path
