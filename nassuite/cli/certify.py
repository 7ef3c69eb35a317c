"""``nassuite certify``."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import Any

from nassuite.cli.latency import contenders
from nassuite.cli.parser import EXIT_MISSED, check_file
from nassuite.cli.target import add_target, target_of
from nassuite.errors import InputError
from nassuite.folders import check_no_weights, models_in, no_model
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
    arguments.model = _onnx_file(arguments.model)
    if arguments.out:
        check_file(arguments.out, "--out")
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
        if not isinstance(written, dict) or "measurement" not in written:
            raise ValueError("it has no measurement")
    except (OSError, ValueError) as error:
        raise _no_certificate(arguments.check, error) from None
    if arguments.model is None and not (path.parent / "model.onnx").is_file():
        raise InputError(f"{path} has no model.onnx beside it: give the model that it is about")
    model = _onnx_file(arguments.model or path.parent)
    verdict = check(written, model)
    print(f"{verdict}: {model}, {written['budget_ms']:g} ms, as {path} says")
    return 0 if verdict == "pass" else EXIT_MISSED


def _no_certificate(given: Path, error: OSError | ValueError) -> InputError:
    expected = "expected the JSON file that nassuite certify --out wrote, or a folder with certificate.json"
    if given.is_dir() and models_in(given, "certificate.json"):
        return no_model(given, "certificate.json")
    if isinstance(error, FileNotFoundError):
        what = "holds no certificate.json" if given.is_dir() else "is not there"
        return InputError(f"--check {given} {what}: {expected}")
    return InputError(f"--check {given} is no certificate: {expected}")


def _onnx_file(given: Path) -> Path:
    """The file to measure: the one given, or that in the folder. Raises InputError where there is none."""
    path = _file(given, "model.onnx")
    if given.is_dir() and not path.is_file():
        raise no_model(given, path.name)
    if not path.is_file():
        raise InputError(f"{path}: no such file to measure")
    check_no_weights(path)
    return path


def _file(path: Path, name: str) -> Path:
    """``path`` itself, or the file of that name in the folder that it is."""
    return path / name if path.is_dir() else path
