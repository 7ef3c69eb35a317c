"""Bundles: models to be measured on another device, and what comes back from it.

A bundle is a folder with the models as ONNX, the reference network, ``manifest.json``, and the protocol itself
(``measure.py`` and ``worker.py``, the files that measure here too). The device runs ``python3 measure.py`` and
gives back ``results.json``: raw samples and what it is. Everything else is computed from those here.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nassuite.errors import InputError
from nassuite.latency import protocol
from nassuite.latency.meter import Measurement, Sampling, summarise
from nassuite.latency.protocol import Run
from nassuite.latency.reference import reference_model
from nassuite.latency.target import FULL_PRECISION
from nassuite.progress import SILENT, Progress
from nassuite.records import parse_cpu_info, read_json, sha256_file, write_bytes, write_json

RUNTIME = "onnxruntime"
SCRIPTS = {"measure.py": Path(protocol.__file__), protocol.WORKER.name: protocol.WORKER}


@dataclass(frozen=True)
class Planned:
    """A model of a bundle: its file's name, what writes it, and what is to be known of it at the import."""

    name: str
    write: Callable[[Path], object]
    about: dict[str, Any]


@dataclass(frozen=True)
class Imported:
    """What a device gave back: ``about`` that of the bundle, and each model's ``about`` with its measurement."""

    target: dict[str, Any]
    about: dict[str, Any]
    sampling: dict[str, Any]
    models: tuple[tuple[dict[str, Any], Measurement], ...]


def write_bundle(
    folder: Path,
    models: Sequence[Planned],
    *,
    sampling: Sampling,
    about: dict[str, Any],
    threads: int = 1,
    batch: int = 1,
    seed: int = 0,
    progress: Progress = SILENT,
) -> None:
    """Writes the bundle, whole or not at all. Raises InputError if ``folder`` is there and not empty."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} is there and not empty: give a folder that is new or empty")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as temporary:
        made = Path(temporary) / "bundle"
        (made / "models").mkdir(parents=True)
        write_bytes(made / "reference.onnx", reference_model())
        for name, source in SCRIPTS.items():
            shutil.copyfile(source, made / name)
        for model in progress.track(models, "exporting", unit="networks"):
            model.write(made / "models" / model.name)
        entries = [{**_entry(made, f"models/{model.name}"), "about": model.about} for model in models]
        manifest = {
            "schema": protocol.SCHEMA, "runtime": RUNTIME, "precision": FULL_PRECISION, "threads": threads,
            "batch": batch, "seed": seed, "sampling": asdict(sampling), "about": about,
            "reference": _entry(made, "reference.onnx"), "models": entries,
        }  # fmt: skip
        write_json(made / "manifest.json", manifest)
        if folder.exists():
            folder.rmdir()
        made.rename(folder)


def _entry(folder: Path, file: str) -> dict[str, Any]:
    return {"file": file, "sha256": sha256_file(folder / file)}


def read_results(path: Path) -> Imported:
    """The measurements in the ``results.json`` of a bundle, its ``manifest.json`` beside it.

    Raises InputError where either is missing, edited or cut short, where results are of another bundle, or
    where they mix samples of two machines.
    """
    manifest, results = _read(path.with_name("manifest.json")), _read(path)
    again = "copy the bundle to the device anew and run measure.py there"
    try:
        stated = results.pop("digest")
        if protocol.digest(results) != stated:
            raise InputError(
                f"{path} was changed or cut short after measure.py wrote it: copy it again, or {again}"
            )
        for value in (manifest, results):
            if value["schema"] != protocol.SCHEMA:
                raise InputError(
                    f"{path}: of another version of nassuite (schema {value['schema']}): {again}"
                )
        whole = path.with_name("manifest.json").read_bytes()
        if results["manifest"] != hashlib.sha256(whole).hexdigest():
            raise InputError(
                f"{path} is not of the bundle in {path.parent} (its manifest.json is another): {again}"
            )
        groups = protocol.schedule(len(manifest["models"]), manifest["sampling"])
        if [run["models"] for run in results["runs"]] != groups:
            raise InputError(
                f"{path} lacks {len(groups) - len(results['runs'])} of {len(groups)} runs: {again}"
            )
        return _imported(path, manifest, results)
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise InputError(f"{path} is not what measure.py writes ({error!r}): {again}") from None


def _read(path: Path) -> dict[str, Any]:
    try:
        value = read_json(path)
    except FileNotFoundError:
        raise InputError(
            f"{path}: no such file: give the results.json in its bundle, where manifest.json is too"
        ) from None
    except ValueError as error:
        raise InputError(f"{path} is damaged ({error}): copy it again") from None
    if not isinstance(value, dict):
        raise InputError(f"{path} is not what measure.py writes: expected an object")
    return value


def _imported(path: Path, manifest: dict[str, Any], results: dict[str, Any]) -> Imported:
    targets = [describe_machine(run["machine"], manifest) for run in results["runs"]]
    for target in targets[1:]:
        if target != targets[0]:
            first, other = (
                f"{t['host']}, {t['cpu']['name']}, {RUNTIME} {t['runtime_version']}"
                for t in (targets[0], target)
            )
            raise InputError(
                f"{path} mixes two machines ({first}; {other}): delete parts/ in the bundle, and measure on one"
            )
    runs: list[list[tuple[Run, int]]] = [[] for _ in manifest["models"]]
    for raw in results["runs"]:
        run = Run.of(raw)
        for position, index in enumerate(raw["models"], start=1):
            runs[index].append((run, position))
    conditions = results["runs"][0]["conditions"] if results["runs"] else {}
    models = tuple(
        (
            entry["about"],
            summarise(
                Path(entry["file"]).name,
                entry["sha256"],
                targets[0],
                own,
                conditions=conditions,
                seed=manifest["seed"],
            ),
        )
        for entry, own in zip(manifest["models"], runs, strict=True)
    )
    if not models:
        raise InputError(f"{path} holds no model")
    return Imported(targets[0], manifest["about"], manifest["sampling"], models)


def describe_machine(machine: dict[str, str], manifest: dict[str, Any]) -> dict[str, Any]:
    """``Target.describe`` of the device, from what ``protocol.machine`` said there."""
    return {
        "runtime": RUNTIME,
        "runtime_version": machine["runtime_version"],
        "precision": FULL_PRECISION,
        "threads": manifest["threads"],
        "batch": manifest["batch"],
        "host": machine["host"],
        "cpu": parse_cpu_info(machine["cpuinfo"], machine["processor"]),
        "system": machine["system"],
    }
