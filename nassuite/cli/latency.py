"""``nassuite latency``."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

from nassuite.cli.parser import Parser, check_file
from nassuite.cli.target import add_target, target_of
from nassuite.errors import InputError
from nassuite.folders import check_no_weights, no_model
from nassuite.options import AUTO, ONNX_RUNTIMES, TORCH_RUNTIMES
from nassuite.progress import Progress


def add(commands: Any) -> None:
    latency = commands.add_parser("latency", help="measure models, here and on other devices")
    parts = latency.add_subparsers(metavar="COMMAND", required=True, parser_class=Parser)
    measure = parts.add_parser(
        "measure",
        help="latency of ONNX files, deploy folders and networks, all in the same rounds",
        description="Fresh processes on pinned cores, between two measurements of a reference network. torch runs "
        "zoo names and folders of a training, the other runtimes their ONNX files; auto tries every runtime that is "
        "installed, and checks that its outputs are those of ONNX Runtime.",
    )
    measure.add_argument(
        "models", metavar="MODEL", nargs="+", help="an .onnx file, a folder with model.onnx, or a zoo name"
    )
    measure.add_argument("--size", type=int, help="image size for zoo names (default: the paper's)")
    add_target(measure, (*ONNX_RUNTIMES, *TORCH_RUNTIMES), auto=True, batch=True)
    measure.add_argument("--json", type=Path, metavar="FILE", help="write samples and conditions there")
    measure.set_defaults(run=_measure)
    _add_bundles(parts)


def _add_bundles(parts: Any) -> None:
    plan = parts.add_parser(
        "plan",
        help="write a bundle of a space's architectures, to be measured on another device",
        description="The bundle is a folder: copy it to the device, run python3 measure.py in it (Python, numpy and "
        "onnxruntime are enough), bring results.json back, and import it.",
    )
    plan.add_argument("--space", required=True, help="search space: a shipped name or a TOML file")
    plan.add_argument("--samples", type=int, default=200, help="architectures (default: %(default)s)")
    plan.add_argument(
        "--classes", type=int, default=10, help="classes of the networks (default: %(default)s)"
    )
    plan.add_argument("--grey", action="store_true", help="for images of one channel")
    plan.add_argument("--threads", type=int, default=1, help="threads of the runtime there (default: 1)")
    plan.add_argument("--seed", type=int, default=0, help="seed of the choice (default: 0)")
    plan.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the bundle")
    plan.set_defaults(run=_plan)

    importer = parts.add_parser(
        "import",
        help="take in what a device measured",
        description="Samples of a space make the device a target: nassuite search --target NAME. Measured finalists "
        "get their certificates, in the bundle's folder certificates.",
    )
    importer.add_argument("results", metavar="RESULTS", type=Path, help="the results.json in its bundle")
    importer.add_argument("--name", required=True, help="what the device is called here")
    importer.set_defaults(run=_import)


def _plan(arguments: argparse.Namespace) -> int:
    from functools import partial

    from nassuite.latency.bundle import Planned, write_bundle
    from nassuite.latency.choosing import calibration_archs
    from nassuite.latency.meter import CALIBRATION
    from nassuite.nn.network import Interface
    from nassuite.onnx_export import export_arch
    from nassuite.settings import LEAST_CALIBRATION, check_least, check_seed
    from nassuite.space_file import load_space

    check_least(arguments, {"samples": LEAST_CALIBRATION, "classes": 2, "threads": 1})
    check_seed(arguments.seed)
    arguments.progress = progress = Progress()
    space, in_chans = load_space(arguments.space), 1 if arguments.grey else 3
    interface = Interface(in_chans, arguments.classes, (0.5,) * in_chans, (0.25,) * in_chans)
    archs = calibration_archs(space, arguments.samples, arguments.seed)
    write_bundle(
        arguments.out,
        [Planned(f"{a.digest}.onnx", partial(export_arch, a, interface), {"arch": a.to_json()}) for a in archs],
        sampling=CALIBRATION, threads=arguments.threads, seed=arguments.seed, progress=progress,
        about={
            "kind": "samples", "space": space.name, "space_digest": space.digest,
            "in_chans": in_chans, "num_classes": arguments.classes,
        },
    )  # fmt: skip
    print(f"{len(archs)} architectures of {space.name} in {arguments.out}")
    print(f"on the device, in a copy of {arguments.out}: python3 measure.py")
    print(f"then here: nassuite latency import {arguments.out / 'results.json'} --name NAME")
    return 0


def _import(arguments: argparse.Namespace) -> int:
    from nassuite.latency.devices import certificates, import_results
    from nassuite.latency.target import target_key
    from nassuite.records import write_json
    from nassuite.terminal_models import print_measurements

    device, found = import_results(arguments.results, arguments.name)
    measurements = [m for _, m in found.models]
    print(f"{device.name}: {target_key(found.target)}")
    if found.about["kind"] == "samples":
        took = [m.p50_ms for m in measurements]
        noisy = sum(m.noisy for m in measurements)
        print(
            f"{len(took)} architectures of {found.about['space']}, {min(took):.3g} to {max(took):.3g} ms, {noisy} noisy; "
            f"now: nassuite search --target {device.name} --space {found.about['space']} --budget-ms MS"
        )
        return 0
    certified = certificates(found)
    for certificate, name in certified:
        write_json(arguments.results.parent / "certificates" / name, certificate.to_json())
        print(certificate)
    if not certified:
        print_measurements([m.file for m in measurements], measurements)
    return 0


def contenders(arguments: argparse.Namespace, forms: dict[str, Path]) -> list[Any]:
    """A model in every runtime that is installed (``--runtime auto``). Raises InputError without an ONNX file."""
    from nassuite.latency.choice import compare_targets
    from nassuite.latency.target import installed_targets

    if "onnx" not in forms:
        raise InputError(f"{forms['torch']}: a folder without model.onnx")
    targets = installed_targets(
        threads=arguments.threads, batch=arguments.batch, takes=tuple(forms), precision=arguments.precision
    )
    return compare_targets(forms, targets, progress=arguments.progress)


def _measure(arguments: argparse.Namespace) -> int:
    from nassuite.latency.meter import measure
    from nassuite.latency.target import RUNTIMES
    from nassuite.records import write_json
    from nassuite.terminal_models import print_contenders, print_measurements

    target = target_of(arguments)
    if arguments.json:
        check_file(arguments.json, "--json")
    arguments.progress = progress = Progress()
    torch_too = arguments.runtime in (AUTO, *TORCH_RUNTIMES)
    with tempfile.TemporaryDirectory() as folder:
        models = [
            _forms(model, arguments.size, Path(folder) / str(number), torch_too=torch_too)
            for number, model in enumerate(arguments.models)
        ]
        if target is None:
            tried = {name: contenders(arguments, m) for name, m in zip(arguments.models, models, strict=True)}
            print_contenders(tried)
            found = [(name, c.measurement) for name, cs in tried.items() for c in cs if c.measurement]
        else:
            form = RUNTIMES[target.runtime].takes
            paths = [m.get(form, next(iter(m.values()))) for m in models]
            measurements = measure(paths, target, progress=progress)
            print_measurements(arguments.models, measurements)
            found = list(zip(arguments.models, measurements, strict=True))
    if arguments.json:
        write_json(arguments.json, [{"model": model, **m.to_json()} for model, m in found])
    return 0


def _forms(model: str, size: int | None, made: Path, *, torch_too: bool) -> dict[str, Path]:
    """What there is of a model to measure, by the form that runtimes take.

    A network of the zoo is written with fresh weights into the folder ``made``.
    """
    path = Path(model)
    if path.is_dir():
        files = {"onnx": path / "model.onnx", "torch": path / "model.json"}
        forms = {form: file if form == "onnx" else path for form, file in files.items() if file.is_file()}
        if not forms or ("onnx" not in forms and not torch_too):
            raise no_model(model, "model.onnx")
        return forms
    if path.suffix == ".onnx" or path.exists():
        check_no_weights(path)
        return {"onnx": path}
    return _zoo_forms(model, size, made, torch_too=torch_too)


def _zoo_forms(model: str, size: int | None, made: Path, *, torch_too: bool) -> dict[str, Path]:
    from nassuite.models import Description, save_model
    from nassuite.nn.network import Normalised
    from nassuite.onnx_export import export_onnx
    from nassuite.zoo.catalogue import NETWORKS
    from nassuite.zoo.create import check_size, create_model, parse_model

    name, config = parse_model(model)
    entry = NETWORKS[name]
    shape = (size, size) if size else entry.size
    network = create_model(name, **config)
    check_size(network, entry.in_chans, shape, model)
    forms = {"onnx": made / "model.onnx"}
    if torch_too:
        if shape[0] != shape[1]:
            raise InputError(
                f"{model} takes {shape[0]}x{shape[1]} pixels: for torch give --size, images are square"
            )
        plain = (0.0,) * entry.in_chans, (1.0,) * entry.in_chans
        network = Normalised(network, *plain)  # what a folder holds, so that all forms compute the same
        about = Description(model, entry.num_classes, entry.in_chans, shape[0], *plain, labels=())
        save_model(made, network, about)
        forms["torch"] = made
    export_onnx(network, forms["onnx"], input_shape=(entry.in_chans, *shape), check=False)
    return forms
