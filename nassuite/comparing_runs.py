"""Runs on the same data set against each other: ``nassuite compare``, and ``nassuite report`` of several.

Searches, prunings and trainings are read from their folders; nothing is trained, and measured only where that is asked for.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from nassuite.errors import InputError
from nassuite.folders import PRUNING, SEARCH, TRAINING, is_finished, kind_of, not_finished
from nassuite.latency.meter import Meter, measure
from nassuite.latency.target import Target, target_key
from nassuite.progress import SILENT, Progress
from nassuite.records import read_json, read_toml
from nassuite.report import read_report
from nassuite.report.front import pareto_evaluations
from nassuite.report.runs import RunComparison, RunModel, RunRecord, Searched, unit_of
from nassuite.report.runs_text import MEASURE, MOST_RUNS
from nassuite.run_directory import RunDirectory, read_lines, read_record


def compare_runs(
    folders: Sequence[Path],
    *,
    measured: bool = False,
    threads: int = 1,
    meter: Meter = measure,
    progress: Progress = SILENT,
    command: Sequence[str] | None = None,
    title: str = "",
) -> RunComparison:
    """What finished runs in ``folders`` reached, side by side.

    With ``measured`` every file is measured anew, all in the same rounds on this machine; otherwise the latencies
    are those of the runs. Raises InputError for a folder that is no run, for a run that is not finished, and for runs
    on other data, by another metric or of another percentile than the first.
    """
    if not 2 <= len(set(folders)) == len(folders) <= MOST_RUNS:
        raise InputError(f"a comparison takes 2 to {MOST_RUNS} runs, each once")
    read = [_read(folder) for folder in folders]
    facts, records = [about for about, _ in read], [record for _, record in read]
    remarks = _check_alike(folders, facts)
    names = _names(folders)
    runs = tuple(replace(record, name=name) for record, name in zip(records, names, strict=True))
    if measured:
        runs = _measured(runs, folders, Target(threads=threads), meter, progress)
    unit, why = unit_of(runs)
    if unmeasured := [run.name for run in runs if not run.measured]:
        remarks.append(f"Not measured, so not in the chart: {', '.join(unmeasured)}; {MEASURE}.")
    return RunComparison(
        title=title or f"{', '.join(names)}",
        command=shlex.join(command) if command else "compare_runs(...)",
        metric=facts[0]["metric"],
        percentile=facts[0]["percentile"] or next((f["percentile"] for f in facts if f["percentile"]), 50),
        unit=unit,
        data=facts[0]["data"],
        classes=len(facts[0]["labels"]),
        test_images=facts[0]["test_images"],
        runs=runs,
        remarks=(why, *remarks),
    )


def _read(folder: Path) -> tuple[dict[str, Any], RunRecord]:
    """What has to be alike in all runs, and the run."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such run")
    readers: dict[str, Callable[[Path], tuple[dict[str, Any], RunRecord]]] = {
        "study.toml": _search,
        "records.json": _report_alone,
        "prune.toml": _pruning,
        "train.toml": _training,
    }
    for file, reader in readers.items():
        if (folder / file).is_file():
            try:
                return reader(folder)
            except InputError:
                raise
            except (KeyError, TypeError, ValueError, StopIteration) as error:
                raise InputError(
                    f"{folder} cannot be compared: its records are damaged ({error!r})"
                ) from None
    raise InputError(f"{folder} is no run: expected a search, a pruning or a training")


def _search(folder: Path) -> tuple[dict[str, Any], RunRecord]:
    run = RunDirectory(folder)
    _, facts = run.read_settings()
    if not is_finished(folder, SEARCH):
        raise not_finished(folder, SEARCH)
    about, record = _report_alone(run.report)
    references = [line["reference_ms"] for line in read_lines(run.samples)]
    models = [
        replace(model, reference_ms=_reference(run.root / Path(model.path).parent, model))
        for model in record.models
    ]
    return about | {"digest": facts["data_digest"]}, replace(
        record,
        host=facts["target"],
        data_digest=facts["data_digest"],
        models=tuple(models),
        front_reference_ms=float(np.median(references)) if references else None,
    )


def _reference(deploy: Path, model: RunModel) -> float | None:
    """The reference beside a model of a search: noted with it, or in older runs with the model that was handed over."""
    rows = read_record(deploy / "card.json", "variants")["variants"]
    noted = next((row.get("reference_ms") for row in rows if row["name"] == model.name), None)
    if noted is not None or not (deploy / "certificate.json").is_file():
        return noted
    return read_record(deploy / "certificate.json", "measurement")["measurement"]["reference_ms"]


def _report_alone(folder: Path) -> tuple[dict[str, Any], RunRecord]:
    """A search of which only the report is there."""
    content = read_report(folder)
    data, environment, settings = content.run.data, content.run.environment, content.run.settings
    about = {
        "metric": content.metric, "percentile": content.percentile, "data": data.name, "labels": data.classes,
        "test_images": data.test, "digest": data.digest,
    }  # fmt: skip
    models = [
        RunModel(
            name=v.name, path=v.path, arch=d.arch, val_accuracy=v.val_accuracy, test_accuracy=v.test_accuracy,
            test_interval=v.test_interval, params=v.params, macs=v.macs, chosen=v.chosen, budget_ms=d.budget_ms,
            p50_ms=v.p50_ms, p90_ms=v.p90_ms, size_bytes=v.size_bytes, verdict=v.verdict,
        )
        for d in content.deployed
        for v in d.variants
    ]  # fmt: skip
    runtime, threads = settings.get("runtime", "onnxruntime"), settings.get("threads", 1)
    version = environment["versions"].get(runtime, "unknown")
    host = f"{runtime} | {version} | {threads} | 1 | {environment['host']} | {environment['cpu']['name']}"
    return about, RunRecord(
        name=folder.name,
        kind="search",
        command=content.run.command,
        settings=_flat(settings, environment)
        | {"seed": str(content.run.seed), "space": content.run.space.name},
        host=host,
        data_digest=data.digest,
        models=tuple(models),
        seconds=sum(content.run.seconds.values()),
        budgets_ms=content.budgets_ms,
        evaluations=len(content.evaluations),
        front=tuple(Searched(e.arch, e.predicted_ms, e.accuracy) for e in pareto_evaluations(content)),
    )


def _pruning(folder: Path) -> tuple[dict[str, Any], RunRecord]:
    if not is_finished(folder, PRUNING):
        raise not_finished(folder, PRUNING)
    table = read_toml(folder / "prune.toml")
    value = read_record(folder / "pruning.json", "models", "settings", "target", "environment")
    card = read_record(folder / "card.json", "labels")
    settings = value["settings"]
    budget = settings.get("target_ms")
    verdict = ""
    if (folder / "certificate.json").is_file():
        verdict = read_record(folder / "certificate.json", "verdict")["verdict"]
    confusion = card["confusion"]
    about = {
        "metric": "top1", "percentile": settings.get("percentile"), "data": card["data"], "labels": card["labels"],
        "test_images": sum(map(sum, confusion)), "digest": table.get("data_digest", ""),
    }  # fmt: skip
    files = {"dense": "dense.onnx", "pruned": "model.onnx"}
    models = [
        RunModel(
            name=row["name"], path=files[row["name"]], arch=card["model"], val_accuracy=row["val"],
            test_accuracy=row["test"], test_interval=tuple(row["test_interval"]), params=row["params"],
            macs=row["macs"], chosen=row["name"] == "pruned", p50_ms=row["p50_ms"], p90_ms=row["p90_ms"],
            reference_ms=row.get("reference_ms"), size_bytes=(folder / files[row["name"]]).stat().st_size,
            budget_ms=budget if row["name"] == "pruned" else None,
            verdict=verdict if row["name"] == "pruned" else "",
        )
        for row in value["models"]
    ]  # fmt: skip
    return about, RunRecord(
        name=folder.name,
        kind="pruning",
        command=table.get("command", ""),
        settings=_flat(settings, value["environment"]),
        host=target_key(value["target"]),
        data_digest=about["digest"],
        models=tuple(models),
        budgets_ms=(budget,) if budget else (),
    )


def _training(folder: Path) -> tuple[dict[str, Any], RunRecord]:
    table = read_toml(folder / "train.toml")
    if not is_finished(folder, TRAINING):
        raise not_finished(folder, kind_of(folder) or TRAINING)
    value = read_json(folder / "result.json")
    if "accuracy" not in value["test"]:
        raise InputError(f"{folder} is a segmentation: a comparison takes classifiers")
    settings, test = table["settings"], value["test"]
    about = {
        "metric": settings.get("metric", "top1"), "percentile": None, "data": settings["data"],
        "labels": (folder / "labels.txt").read_text().splitlines(), "test_images": test["n"],
        "digest": table.get("data_digest", ""),
    }  # fmt: skip
    model = RunModel(
        name="trained", path="model.onnx", arch=settings["model"], val_accuracy=value["val"],
        test_accuracy=test["accuracy"], test_interval=tuple(test["interval"]), params=value["params"],
        macs=value["macs"], size_bytes=(folder / "model.onnx").stat().st_size,
    )  # fmt: skip
    return about, RunRecord(
        name=folder.name,
        kind="training",
        command=table.get("command", ""),
        settings=_flat(settings, value["environment"]),
        host="",
        data_digest=about["digest"],
        models=(model,),
        seconds=value["seconds"],
    )


def _flat(settings: Mapping[str, Any], environment: Mapping[str, Any]) -> dict[str, str]:
    """Settings and what else can make a difference, as text."""
    values = {
        name: ", ".join(f"{one:g}" if isinstance(one, float) else str(one) for one in value)
        if isinstance(value, (list, tuple))
        else str(value)
        for name, value in settings.items()
    }
    versions = environment["versions"]
    about = {name: versions[name] for name in ("torch", "optuna", "onnxruntime") if name in versions}
    return {
        **values,
        **about,
        "cpu": f"{environment['cpu']['name']}, {environment['cores']} cores",
        "commit": environment.get("commit") or "unknown",
    }


def _check_alike(folders: Sequence[Path], facts: Sequence[Mapping[str, Any]]) -> list[str]:
    """Remarks where it is not sure that the images are the same; InputError where they are not."""
    first, remarks = facts[0], []
    for folder, other in zip(folders[1:], facts[1:], strict=True):
        if list(other["labels"]) != list(first["labels"]) or other["test_images"] != first["test_images"]:
            raise InputError(
                f"{folder} is on other data than {folders[0]}: {_data_words(other)}, there {_data_words(first)}"
            )
        if other["metric"] != first["metric"]:
            raise InputError(
                f"{folder} counts accuracy by {other['metric']}, {folders[0]} by {first['metric']}: they do not compare"
            )
        if (
            None not in (other["percentile"], first["percentile"])
            and other["percentile"] != first["percentile"]
        ):
            raise InputError(
                f"{folder} holds budgets at p{other['percentile']}, {folders[0]} at p{first['percentile']}: they do not "
                "compare"
            )
        if not other["digest"] or other["digest"] != first["digest"]:
            remarks.append(
                f"{folder.name} split its images in another way than {folders[0].name}, or does not say how: that both were "
                "tested on the same ones is known only where a data set brings its own test images."
            )
    return remarks


def _data_words(about: Mapping[str, Any]) -> str:
    return f"{about['data']} with {len(about['labels'])} classes and {about['test_images']:,} test images"


def _names(folders: Sequence[Path]) -> list[str]:
    """The folders' last names, longer where two are the same."""
    parts = [folder.resolve().parts for folder in folders]
    for depth in range(1, max(map(len, parts)) + 1):
        names = ["/".join(one[-depth:]) for one in parts]
        if len(set(names)) == len(names):
            return names
    raise InputError("a comparison takes every run once")


def _measured(
    runs: Sequence[RunRecord], folders: Sequence[Path], target: Target, meter: Meter, progress: Progress
) -> tuple[RunRecord, ...]:
    """The runs with every file measured here, all in the same rounds; certificates are not renewed by that."""
    paths = [folder / model.path for run, folder in zip(runs, folders, strict=True) for model in run.models]
    for path in paths:
        if not path.is_file():
            raise InputError(f"{path}: not there to be measured")
    found = dict(zip(paths, meter(paths, target, progress=progress), strict=True))
    host = target.key
    return tuple(
        replace(
            run,
            host=host,
            models=tuple(
                replace(model, p50_ms=m.p50_ms, p90_ms=m.p90_ms, reference_ms=m.reference_ms)
                for model in run.models
                for m in [found[folder / model.path]]
            ),
        )
        for run, folder in zip(runs, folders, strict=True)
    )
