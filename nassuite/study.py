"""The whole flow on one page: images and budgets in, deployed models and a report out.

data -> space -> latency -> supernet -> search -> finalists -> deploy -> report. Latency comes before the
supernet, although DESIGN draws it after: it needs no trained weights, and a budget that nothing can keep
is then known to be so in the first minute.

Every stage writes what it found into the run directory when it is done, and is skipped or continued
by the next run; only this module and the command line know that directory.
"""

from __future__ import annotations

import os
import shlex
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from nassuite import deploy, deploy_card
from nassuite.compress.prune import PruneRecord, replay
from nassuite.data import Data, DataConfig, default_augment, load_data
from nassuite.errors import InputError
from nassuite.export import export_onnx
from nassuite.latency.calibrate import Sample, calibration_archs, measure_archs
from nassuite.latency.certificate import certify
from nassuite.latency.features import features
from nassuite.latency.meter import Measurement, Meter, measure, normalised_ms
from nassuite.latency.predictor import Predictor, fit_predictor
from nassuite.latency.target import Target
from nassuite.metrics import class_weights, score
from nassuite.nn.network import Interface, build
from nassuite.nn.supernet import Supernet
from nassuite.progress import SILENT, Progress
from nassuite.records import append_jsonl, environment, write_bytes, write_json
from nassuite.report import write_report
from nassuite.run_directory import FileCheckpoints, RunDirectory, read_lines, read_record
from nassuite.search.driver import (
    Evaluation,
    Objective,
    SearchConfig,
    drop_torn_line,
    evaluations,
    open_study,
    run_trials,
    sweep,
    trials_done,
)
from nassuite.search.finalists import Finalist, choose_winner, nominate, to_json
from nassuite.settings import Settings
from nassuite.space import Space
from nassuite.space_file import load_space
from nassuite.spec import Arch
from nassuite.summary import Inputs, report_content
from nassuite.train.loop import TrainConfig
from nassuite.train.recalibrate import predict, recalibrated
from nassuite.train.sandwich import train_supernet

if TYPE_CHECKING:
    import optuna

RECALIBRATION_IMAGES = 1024
SEARCH_VAL_IMAGES = 2000
FINALISTS = 8
LEAST_SAMPLES = 24
HOPELESS = 0.8
"""A budget below this fraction of the fastest architecture's latency is told to be so before any training."""
WATCH_SECONDS = 0.5


@dataclass(frozen=True)
class BudgetResult:
    """What a budget led to. ``chosen`` is a variant's record, None where nothing keeps the budget."""

    budget_ms: float
    folder: Path | None
    chosen: dict[str, Any] | None
    variants: tuple[dict[str, Any], ...]
    message: str


@dataclass(frozen=True)
class Outcome:
    run: Path
    results: tuple[BudgetResult, ...]
    notes: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether every budget has a model with a passing certificate."""
        return all(result.chosen is not None for result in self.results)


def search(
    settings: Settings | None = None,
    *,
    out: Path,
    resume: bool = False,
    reuse: Path | None = None,
    meter: Meter = measure,
    progress: Progress | None = None,
    command: Sequence[str] | None = None,
    expected_budgets: Sequence[float] | None = None,
) -> Outcome:
    """Searches, compresses and deploys for every budget of ``settings``, into the run directory ``out``.

    ``resume`` continues the run in ``out`` with the settings that it began with. ``reuse`` is
    another run whose supernet and latency samples serve this one. ``meter`` stands in for the
    measurement in tests. Raises InputError for anything wrong with the input.
    """
    progress = progress or Progress()
    run = RunDirectory(out)
    if resume:
        settings, facts = run.read_settings()
        _refuse_other_budgets(run, settings, expected_budgets)
        with run.locked():
            flow = prepare(run, settings, progress=progress, meter=meter)
            _refuse_other_ground(flow, facts)
            return _follow(flow, facts)
    if settings is None or not settings.budget_ms:
        raise InputError("no latency budget: give --budget-ms, for instance --budget-ms 20")
    # Everything is checked before anything is written: what was refused leaves no directory behind.
    run.check_new()
    flow = prepare(run, settings, progress=progress, meter=meter)
    facts = _facts(flow, command)
    if reuse is not None:
        facts["reused"] = str(reuse.resolve())
        flow.settings = _adopted_settings(flow, RunDirectory(reuse), facts)
    run.create()
    with run.locked():
        run.write_settings(flow.settings, facts)
        return _follow(flow, facts)


def _follow(flow: Flow, facts: dict[str, Any]) -> Outcome:
    """Every stage in turn; each finds for itself what of it is done."""
    run = flow.run
    if "reused" in facts:
        _copy_reused(flow, RunDirectory(Path(facts["reused"])), facts)
    with run.stage("latency"):
        calibrate(flow)
    with run.stage("supernet"):
        train_shared_weights(flow)
    with run.stage("search"):
        explore(flow)
    with run.stage("finalists"):
        measure_finalists(flow)
    with run.stage("deploy"):
        results = tuple(deploy_budget(flow, budget) for budget in flow.settings.budget_ms)
    if "report" not in run.stages_done() or not run.report.is_dir():
        with run.stage("report"):
            draw(flow, results)
    return Outcome(run.root, results, tuple(flow.notes()))


# --- what every stage needs -------------------------------------------------------------------------


@dataclass
class Flow:
    """The values that the stages share; the expensive ones are made when first asked for."""

    run: RunDirectory
    settings: Settings
    data: Data
    space: Space
    meter: Meter
    progress: Progress

    @property
    def device(self) -> str:
        return self.settings.device

    @property
    def target(self) -> Target:
        return Target(self.settings.runtime, self.settings.threads)

    @property
    def interface(self) -> Interface:
        return Interface(self.data.in_chans, len(self.data.labels), self.data.mean, self.data.std)

    @property
    def class_weights(self) -> Tensor | None:
        weights = class_weights(
            self.data.train.labels, self.settings.class_weights, classes=len(self.data.labels)
        )
        return None if weights is None else weights.to(self.device)

    @cached_property
    def supernet(self) -> Supernet:
        """With trained weights where there are some."""
        supernet = Supernet(self.space, self.interface, seed=self.settings.seed)
        found = FileCheckpoints(self.run.supernet).load()
        if found:
            state = {k.removeprefix("model."): v for k, v in found.tensors.items() if k.startswith("model.")}
            try:
                supernet.load_state_dict(state)
            except RuntimeError:
                raise InputError(
                    f"{self.run.supernet} holds other weights than this run's: delete it to train again"
                ) from None
        return supernet.to(self.device)

    @cached_property
    def recalibration_batches(self) -> list[Tensor]:
        count = min(RECALIBRATION_IMAGES, len(self.data.train) // 2)
        subset = self.data.train.subset(count, seed=self.settings.seed)
        return [x for x, _ in subset.batches(256, device=self.device)]

    @cached_property
    def samples(self) -> list[Sample]:
        try:
            return [Sample.from_json(value) for value in read_lines(self.run.samples)]
        except (KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"{self.run.samples} is damaged ({error!r}): delete it, and --resume measures again"
            ) from None

    @cached_property
    def predictor(self) -> Predictor:
        quiet = [sample for sample in self.samples if not sample.noisy]
        samples = quiet if len(quiet) >= LEAST_SAMPLES else self.samples
        x = np.stack([features(sample.arch, self.data.in_chans) for sample in samples])
        return fit_predictor(x, np.array(normalised_ms(samples)), seed=self.settings.seed)

    @cached_property
    def teacher(self) -> deploy.Teacher:
        return deploy.choose_teacher(
            self.supernet, self.recalibration_batches, self.data.val, metric=self.settings.metric
        )

    @cached_property
    def evaluated(self) -> list[Evaluation]:
        return evaluations(self.study, self.space)

    @cached_property
    def study(self) -> optuna.Study:
        return open_study(self.run.journal)

    def predict_ms(self, arch: Arch) -> float:
        return float(self.predictor.predict(features(arch, self.data.in_chans)[None])[0])

    def export(self, arch: Arch, path: Path) -> None:
        """Fresh weights: time does not depend on their values."""
        shape = (self.data.in_chans, arch.resolution, arch.resolution)
        export_onnx(build(arch, self.interface), path, input_shape=shape, check=False)

    def training(self, epochs: int, lr: float, seed: int) -> TrainConfig:
        assert self.settings.batch_size is not None
        return TrainConfig(
            epochs, self.settings.batch_size, lr, seed=seed, augment=default_augment(self.data)
        )

    def notes(self) -> list[str]:
        return budget_notes(self.settings.budget_ms, normalised_ms(self.samples))


def prepare(run: RunDirectory, settings: Settings, *, progress: Progress, meter: Meter = measure) -> Flow:
    """Loads the data and the space, and fills in the settings that depend on them."""
    device = settings.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    elif device == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda: this machine has no CUDA device; use --device cpu or auto")
    Target(settings.runtime, settings.threads)  # refuses what this machine has not
    space = load_space(settings.space) if settings.space else None
    size = settings.size or (max(space.resolution) if space else None)
    data = load_data(
        DataConfig(settings.data, size=size, seed=settings.seed, train_images=settings.train_images),
        progress=progress,
    )
    settings = settings.resolved(images=len(data.train), size=data.size, device=device)
    assert settings.space is not None
    space = space or load_space(settings.space)
    if size is not None and size != max(space.resolution):
        raise InputError(
            f"--size {size}: the space {space.name} is for {max(space.resolution)} pixels; leave --size out, or "
            "give another --space"
        )
    if space.size < LEAST_SAMPLES:
        raise InputError(
            f"the space {space.name} has only {space.size} architectures: a search takes {LEAST_SAMPLES} or more"
        )
    if max(space.resolution) != data.size:
        data = data.resized(max(space.resolution))
        settings = replace(settings, size=data.size)
    return Flow(run, settings, data, space, meter, progress)


def _facts(flow: Flow, command: Sequence[str] | None) -> dict[str, Any]:
    return {
        "command": shlex.join(command) if command else "nassuite.search(...)",
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "data_digest": flow.data.digest,
        "space_digest": flow.space.digest,
        "target": flow.target.key,
        "environment": _without_none(environment()),
    }


def _refuse_other_budgets(run: RunDirectory, settings: Settings, expected: Sequence[float] | None) -> None:
    if expected is not None and set(expected) != set(settings.budget_ms):
        theirs = " ".join(f"{budget:g}" for budget in settings.budget_ms)
        raise InputError(
            f"--resume {run.root}: that run has the budgets {theirs} ms; for others use --from {run.root}"
        )


def _refuse_other_ground(flow: Flow, facts: dict[str, Any]) -> None:
    """A run goes on only with the images, the space and the machine that it began with."""
    ground = {
        "data_digest": ("the images", flow.data.digest, flow.settings.data),
        "space_digest": ("the search space", flow.space.digest, flow.space.name),
    }
    for name, (what, digest, where) in ground.items():
        if facts[name] != digest:
            raise InputError(
                f"--resume {flow.run.root}: {what} ({where}) changed since it began: "
                "restore what it was, or start a new run"
            )
    if facts["target"] != flow.target.key:
        raise InputError(
            f"--resume {flow.run.root}: it began on ({facts['target']}), this is ({flow.target.key}), whose latencies "
            f"do not compare: go on there, or take its supernet with --from {flow.run.root}"
        )


def _adopted_settings(flow: Flow, other: RunDirectory, facts: dict[str, Any]) -> Settings:
    """This run's settings with those of another's supernet, if it is of the same data and space."""
    theirs, their_facts = other.read_settings()
    for what in ("data_digest", "space_digest"):
        if their_facts.get(what) != facts[what]:
            name = what.split("_")[0]
            raise InputError(
                f"--from {other.root}: its {name} is not this run's ({getattr(theirs, name)}, here "
                f"{getattr(flow.settings, name)}); a supernet serves only the {name} it was trained for"
            )
    if FileCheckpoints(other.supernet).load() is None or "supernet" not in other.stages_done():
        raise InputError(
            f"--from {other.root}: its supernet is not trained yet; continue it with --resume first"
        )
    trained = ("epochs", "batch_size", "lr", "seed")
    return replace(flow.settings, **{name: getattr(theirs, name) for name in trained})


def _copy_reused(flow: Flow, other: RunDirectory, facts: dict[str, Any]) -> None:
    """The supernet, and latency samples of the same target, where they are not copied yet."""
    theirs = [(other.supernet, flow.run.supernet)]
    if other.samples.exists() and other.read_settings()[1]["target"] == facts["target"]:
        theirs.append((other.samples, flow.run.samples))
    for source, copy in theirs:
        if not copy.exists():
            write_bytes(copy, source.read_bytes())


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_none(v) for k, v in value.items() if v is not None}
    return value


# --- stages -----------------------------------------------------------------------------------------


def calibrate(flow: Flow) -> None:
    """Measures architectures for the predictor, prints its held-out error, says which budgets are hopeless."""
    archs = calibration_archs(flow.space, flow.settings.calibration, flow.settings.seed)
    measure_archs(
        archs, flow.export, flow.meter, flow.target,
        known=flow.samples, save=lambda s: append_jsonl(flow.run.samples, s.to_json()),
        progress=flow.progress, seed=flow.settings.seed,
    )  # fmt: skip
    flow.__dict__.pop("samples", None)  # read again, now with the new ones
    if flow.run.predictor.exists():
        return
    flow.progress.say(f"latency predictor ({flow.predictor.model}): {flow.predictor.error}")
    fastest = min(normalised_ms(flow.samples))
    hopeless = [f"{budget:g} ms" for budget in flow.settings.budget_ms if budget < fastest * HOPELESS]
    if hopeless:
        flow.progress.say(f"nothing will keep {', '.join(hopeless)}: the fastest measured takes {fastest:.3g} ms")
    write_json(flow.run.predictor, {"model": flow.predictor.model, **flow.predictor.error.to_json()})


def train_shared_weights(flow: Flow) -> None:
    settings = flow.settings
    assert settings.epochs is not None
    val = flow.data.val.subset(SEARCH_VAL_IMAGES, seed=settings.seed)
    ends = [flow.space.extreme(which) for which in ("largest", "smallest")]
    started = time.monotonic()

    def after_epoch() -> dict[str, float]:
        accuracies = [accuracy_of(flow, arch, val.to(flow.device)) for arch in ends]
        seconds = round(time.monotonic() - started, 1)
        return {"val_largest": accuracies[0], "val_smallest": accuracies[1], "seconds": seconds}

    config = flow.training(settings.epochs, settings.lr, settings.seed)
    log = train_supernet(
        flow.supernet, flow.data.train, config,
        device=flow.device, class_weights=flow.class_weights,
        checkpoints=FileCheckpoints(flow.run.supernet), progress=flow.progress, after_epoch=after_epoch,
    )  # fmt: skip
    write_json(flow.run.root / "supernet" / "log.json", log)


def accuracy_of(flow: Flow, arch: Arch, val: Any) -> float:
    """Inherited validation accuracy of one architecture, by the run's metric."""
    network = recalibrated(flow.supernet, arch, flow.recalibration_batches)
    logits = predict(network, (x for x, _ in val.batches(512, device=flow.device)), arch.resolution)
    return score(logits, val.labels, metric=flow.settings.metric)


def explore(flow: Flow) -> None:
    """The Optuna study, in this process or in several that share the journal."""
    drop_torn_line(flow.run.journal)
    sweep(flow.study)
    if flow.settings.workers > 1:
        _search_together(flow)
        sweep(flow.study)
    _search_here(flow)


def _search_together(flow: Flow) -> None:
    context = torch.multiprocessing.get_context("spawn")
    workers = [
        context.Process(target=_search_worker, args=(flow.run.root,), daemon=True)
        for _ in range(flow.settings.workers)
    ]
    for worker in workers:
        worker.start()
    try:
        done = trials_done(flow.study)
        for _ in flow.progress.track(_news(flow, workers, done), "search", total=flow.settings.trials, done=done):
            pass
    finally:
        for worker in workers:
            worker.terminate()
            worker.join()
    if any(worker.exitcode for worker in workers):
        flow.progress.say("a search process ended early; this one finishes its share")


def _news(flow: Flow, workers: Sequence[Any], done: int) -> Iterator[int]:
    """Yields once for each trial that the workers finish, until all of them have ended."""
    while True:
        ended = not any(worker.is_alive() for worker in workers)
        now = trials_done(flow.study)
        yield from range(done, now)
        done = now
        if ended:
            return
        time.sleep(WATCH_SECONDS)


def _search_worker(root: Path) -> None:
    """What goes wrong here is met again, and told, by the process that started this one."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    run = RunDirectory(root)
    try:
        settings, _ = run.read_settings()
        torch.set_num_threads(max(1, torch.get_num_threads() // settings.workers))
        _search_here(prepare(run, settings, progress=SILENT))
    except (InputError, OSError, KeyboardInterrupt):
        sys.exit(1)


def _end_with_parent() -> None:
    """A worker left over by a killed run would write into the journal of the one that resumes it."""
    if parent := torch.multiprocessing.parent_process():
        parent.join()
        os._exit(1)


def _search_here(flow: Flow) -> None:
    settings = flow.settings
    val = flow.data.val.subset(SEARCH_VAL_IMAGES, seed=settings.seed).to(flow.device)
    objective = Objective(lambda arch: accuracy_of(flow, arch, val), flow.predict_ms)
    limit = max(settings.budget_ms)
    config = SearchConfig(settings.trials, limit, settings.sampler, settings.seed)
    run_trials(flow.study, flow.space, objective, config, flow.progress)


def measure_finalists(flow: Flow) -> None:
    """Exports and measures the most accurate architectures around each budget, and picks the winners."""
    if flow.run.finalists.exists():
        return
    budgets = flow.settings.budget_ms
    measured: dict[int, Measured] = {}
    entries: dict[str, Any] = {}
    # Each round reaches lower, should the predictor have been too hopeful.
    for reach in (1.0, 0.92, 0.8, 0.6):
        lacking = [budget for budget in budgets if entries.get(f"{budget:g}", {}).get("winner") is None]
        nominated = {e.number: e for b in lacking for e in nominate(flow.evaluated, b * reach, FINALISTS)}
        new = [e for number, e in nominated.items() if number not in measured]
        measured |= {m.evaluation.number: m for m in _measure(flow, new)}
        for budget in lacking:
            entries[f"{budget:g}"] = _held_to(flow, measured.values(), budget)
    write_json(flow.run.finalists, entries)


@dataclass(frozen=True, eq=False)
class Measured:
    """An exported architecture, and what it says of the validation images."""

    evaluation: Evaluation
    measurement: Measurement
    logits: np.ndarray


def _measure(flow: Flow, nominated: Sequence[Evaluation]) -> list[Measured]:
    if not nominated:
        return []
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{e.arch.digest}.onnx" for e in nominated]
        for evaluation, path in zip(nominated, paths, strict=True):
            flow.export(evaluation.arch, path)
        measurements = flow.meter(paths, flow.target, progress=flow.progress, seed=flow.settings.seed)
    found = []
    for evaluation, measurement in zip(nominated, measurements, strict=True):
        network = recalibrated(flow.supernet, evaluation.arch, flow.recalibration_batches)
        batches = (x for x, _ in flow.data.val.batches(512, device=flow.device))
        logits = predict(network, batches, evaluation.arch.resolution).cpu().numpy()
        found.append(Measured(evaluation, measurement, logits))
    return found


def _held_to(flow: Flow, measured: Iterable[Measured], budget: float) -> dict[str, Any]:
    """The finalists of one budget, and which of them wins."""
    settings = flow.settings
    labels = flow.data.val.labels.numpy()
    finalists = []
    for m in measured:
        certificate = certify(
            m.measurement, budget, percentile=settings.percentile, confidence=settings.confidence
        )
        finalists.append(
            Finalist(
                m.evaluation,
                accuracy=score(m.logits, labels, metric=settings.metric),
                correct=m.logits.argmax(1) == labels,
                latency_ms=certificate.percentile_ms,
                passes=certificate.verdict == "pass",
                p50_ms=m.measurement.p50_ms,
                p90_ms=m.measurement.p90_ms,
                aa_ratio=max(m.measurement.aa_ratios, key=lambda ratio: abs(ratio - 1)),
            )
        )
    winner = choose_winner(finalists)
    return {
        "finalists": [to_json(f) for f in finalists],
        "winner": None if winner is None else to_json(winner),
    }


def deploy_budget(flow: Flow, budget: float) -> BudgetResult:
    """Distils, prunes, quantises, exports and certifies the winner of one budget; test is read last."""
    winner = _finalists(flow, budget)["winner"]
    if winner is None:
        return BudgetResult(budget, None, None, (), _miss(flow, budget))
    folder = flow.run.deploy(budget)
    if not (folder / "card.json").exists():
        _deploy(flow, budget, Arch.from_json(winner["arch"]), folder)
    card = read_record(folder / "card.json", "variants")
    chosen = next((v for v in card["variants"] if v["chosen"]), None)
    message = ""
    if chosen is None:
        percentile = f"p{flow.settings.percentile}_ms"
        fastest = min(card["variants"], key=lambda variant: variant[percentile])
        message = (
            f"no variant of the winner keeps {budget:g} ms: the fastest, {fastest['name']}, "
            f"{_over(fastest[percentile], budget)}"
        )
    return BudgetResult(budget, folder, chosen, tuple(card["variants"]), message)


def _finalists(flow: Flow, budget: float) -> dict[str, Any]:
    return read_record(flow.run.finalists, f"{budget:g}")[f"{budget:g}"]


def _deploy(flow: Flow, budget: float, arch: Arch, folder: Path) -> None:
    settings = flow.settings
    dense, pruned, record = compressed(flow, arch)
    variants = deploy.export_variants(
        dense, pruned, arch, flow.data, folder, metric=settings.metric, progress=flow.progress
    )
    variants = deploy.certify_variants(
        variants, budget, flow.meter, flow.target, percentile=settings.percentile,
        confidence=settings.confidence, progress=flow.progress, seed=settings.seed,
    )  # fmt: skip
    chosen = deploy.choose_variant(variants)
    deploy_card.write(
        folder, variants, chosen, arch=arch, data=flow.data, budget_ms=budget, metric=settings.metric,
        prune_record=record.to_json(),
    )  # fmt: skip


def compressed(flow: Flow, arch: Arch) -> tuple[Any, Any, Any]:
    """The winner, distilled from the largest subnet; and its pruned form, distilled from the winner."""
    settings = flow.settings
    assert settings.finetune_epochs is not None
    assert settings.prune_epochs is not None
    teacher = flow.teacher
    common: dict[str, Any] = {
        "device": flow.device,
        "class_weights": flow.class_weights,
        "progress": flow.progress,
    }
    dense = deploy.distil(
        recalibrated(flow.supernet, arch, flow.recalibration_batches), arch, flow.data,
        flow.training(settings.finetune_epochs, settings.lr / 2, settings.seed + 1),
        teacher=teacher.network, teacher_resolution=teacher.arch.resolution,
        checkpoints=FileCheckpoints(flow.run.training(f"{arch.digest}-dense")),
        description="distilling the winner", **common,
    )  # fmt: skip
    pruned, record = _pruned(flow, arch, dense)
    pruned = deploy.distil(
        pruned, arch, flow.data,
        flow.training(settings.prune_epochs, settings.lr / 4, settings.seed + 2),
        teacher=dense, teacher_resolution=arch.resolution,
        checkpoints=FileCheckpoints(flow.run.training(f"{arch.digest}-pruned")),
        description="distilling the pruned winner", **common,
    )  # fmt: skip
    return dense.cpu(), pruned, record


def _pruned(flow: Flow, arch: Arch, dense: Any) -> tuple[Any, PruneRecord]:
    """Measurements decide how much is cut, so the cuts are kept: a resume could measure otherwise."""
    path = flow.run.cuts(arch.digest)
    if path.exists():
        record = PruneRecord.from_json(read_record(path))
        return replay(dense, record), record
    pruned, record = deploy.prune_winner(
        dense, arch, flow.data, flow.settings.prune,
        meter=flow.meter, target=flow.target, seed=flow.settings.seed,
    )  # fmt: skip
    write_json(path, record.to_json())
    return pruned, record


def draw(flow: Flow, results: Sequence[BudgetResult]) -> None:
    _, facts = flow.run.read_settings()
    held_out = [(float(p), float(m)) for p, m in flow.predictor.held_out]
    content = report_content(
        Inputs(
            flow.run, flow.settings, facts, flow.data, flow.space, flow.evaluated, held_out,
            notes=flow.notes(), misses=[r.message for r in results if r.message],
        )
    )  # fmt: skip
    write_report(content, flow.run.report)


# --- words ------------------------------------------------------------------------------------------


def budget_notes(budgets: Sequence[float], latencies: Sequence[float]) -> list[str]:
    """For budgets that every architecture keeps: where they would begin to bind."""
    slowest = max(latencies)
    return [
        f"the budget of {budget:g} ms does not bind: the slowest architecture measured takes {slowest:.3g} ms, "
        "so only a budget below that would"
        for budget in budgets
        if budget >= slowest
    ]


def _miss(flow: Flow, budget: float) -> str:
    """Why a budget has no winner: the fastest of all that was measured, and by how much it misses."""
    measured = [(f["latency_ms"], f["arch"]) for f in _finalists(flow, budget)["finalists"]]
    latencies = normalised_ms(flow.samples)
    measured += [(ms, sample.arch.to_json()) for ms, sample in zip(latencies, flow.samples, strict=True)]
    fastest, arch = min(measured, key=lambda pair: pair[0])
    return f"no architecture keeps {budget:g} ms: the fastest, {Arch.from_json(arch)}, {_over(fastest, budget)}"


def _over(latency_ms: float, budget: float) -> str:
    if latency_ms <= budget:
        return f"takes {latency_ms:.3g} ms, but varies too much for a certificate: try a quieter machine"
    return f"takes {latency_ms:.3g} ms, {100 * (latency_ms / budget - 1):.0f} % over"
