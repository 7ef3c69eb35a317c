"""``nassuite latency measure`` and ``nassuite certify``."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

from nassuite.cli.parser import EXIT_MISSED, Parser
from nassuite.errors import InputError
from nassuite.progress import Progress


def add(commands: Any) -> None:
    latency = commands.add_parser("latency", help="measure models on this machine")
    parts = latency.add_subparsers(metavar="COMMAND", required=True, parser_class=Parser)
    measure = parts.add_parser(
        "measure",
        help="latency of ONNX files, deploy folders and networks, all in the same rounds",
        description="Fresh processes on pinned cores, between two measurements of a reference network.",
    )
    measure.add_argument(
        "models", metavar="MODEL", nargs="+", help="an .onnx file, a folder with model.onnx, or a zoo name"
    )
    measure.add_argument("--size", type=int, help="image size for zoo names (default: the paper's)")
    _add_target(measure)
    measure.add_argument("--json", type=Path, metavar="FILE", help="write samples and conditions there")
    measure.set_defaults(run=_measure)

    certify = commands.add_parser(
        "certify",
        help="say whether an ONNX file keeps a latency budget",
        description="Pass, fail or too noisy, by a binomial rule on raw samples, in each process and in all together. "
        "Exits with 1 unless it is a pass.",
    )
    certify.add_argument("model", metavar="MODEL", nargs="?", type=Path, help="an .onnx file")
    certify.add_argument("--budget-ms", type=float, metavar="MS")
    certify.add_argument("--percentile", type=int, default=50, choices=(50, 90))
    certify.add_argument("--confidence", type=float, default=0.99)
    _add_target(certify)
    certify.add_argument("--out", type=Path, metavar="FILE", help="write the certificate there (JSON)")
    certify.add_argument(
        "--check", type=Path, metavar="CERT", help="verify hash and verdict of this certificate instead"
    )
    certify.set_defaults(run=_certify)


def _add_target(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--threads", type=int, default=1, help="threads of the runtime (default: 1)")
    parser.add_argument("--batch", type=int, default=1, help="images in one inference (default: 1)")


def _measure(arguments: argparse.Namespace) -> int:
    from nassuite.latency.meter import measure
    from nassuite.latency.target import Target
    from nassuite.records import write_json
    from nassuite.terminal_models import print_measurements

    target = Target(threads=arguments.threads, batch=arguments.batch)
    arguments.progress = progress = Progress()
    with tempfile.TemporaryDirectory() as folder:
        paths = [
            _onnx_file(model, arguments.size, Path(folder) / f"{number}.onnx")
            for number, model in enumerate(arguments.models)
        ]
        measurements = measure(paths, target, progress=progress)
    print_measurements(arguments.models, measurements)
    if arguments.json:
        found = zip(arguments.models, measurements, strict=True)
        write_json(arguments.json, [{"model": model, **m.to_json()} for model, m in found])
    return 0


def _onnx_file(model: str, size: int | None, exported: Path) -> Path:
    """The file to measure; a network of the zoo is exported with fresh weights to ``exported``."""
    path = Path(model)
    if path.is_dir():
        if not (path / "model.onnx").is_file():
            raise InputError(f"{model}: a folder without model.onnx")
        return path / "model.onnx"
    if path.suffix == ".onnx" or path.exists():
        return path
    from nassuite.onnx_export import export_onnx
    from nassuite.zoo.catalogue import NETWORKS
    from nassuite.zoo.create import check_size, create_model, parse_model

    name, config = parse_model(model)
    entry = NETWORKS[name]
    shape = (size, size) if size else entry.size
    network = create_model(name, **config)
    check_size(network, entry.in_chans, shape, model)
    export_onnx(network, exported, input_shape=(entry.in_chans, *shape), check=False)
    return exported


def _certify(arguments: argparse.Namespace) -> int:
    from nassuite.latency.certificate import certify, check
    from nassuite.latency.meter import measure
    from nassuite.latency.target import Target
    from nassuite.records import read_json, write_json

    if arguments.check is not None:
        written = _read_certificate(read_json, arguments.check)
        model = arguments.model or arguments.check.parent / "model.onnx"
        if not model.is_file():
            raise InputError(f"{model}: no such file: give the model that {arguments.check} is about")
        verdict = check(written, model)
        print(f"{verdict}: {model}, {written['budget_ms']:g} ms, as {arguments.check} says")
        return 0 if verdict == "pass" else EXIT_MISSED
    if arguments.model is None or arguments.budget_ms is None:
        raise InputError("certify takes a model and --budget-ms, or --check CERT")
    target = Target(threads=arguments.threads, batch=arguments.batch)
    arguments.progress = progress = Progress()
    (measurement,) = measure([arguments.model], target, progress=progress)
    certificate = certify(
        measurement, arguments.budget_ms, percentile=arguments.percentile, confidence=arguments.confidence
    )
    if arguments.out:
        write_json(arguments.out, certificate.to_json())
    print(certificate)
    return 0 if certificate.verdict == "pass" else EXIT_MISSED


def _read_certificate(read_json: Any, path: Path) -> dict[str, Any]:
    try:
        certificate = read_json(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: no certificate that can be read ({error})") from None
    if not isinstance(certificate, dict):
        raise InputError(f"{path}: not a certificate")
    return certificate
