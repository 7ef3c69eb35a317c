"""The whole flow on one page: images and budgets in, deployed models and a report out.

data -> space -> latency -> supernet -> search -> finalists -> deploy -> report. Latency comes before the
supernet, although DESIGN draws it after: it needs no trained weights, and a budget that nothing can keep
is then known to be so in the first minute.

Every stage writes what it found into the run directory when it is done, and is skipped or continued
by the next run; only this module and the command line know that directory.
"""

from __future__ import annotations

import hashlib
import platform
import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nassuite.errors import InputError
from nassuite.exploring import explore, search_seconds
from nassuite.flow import Flow, prepare
from nassuite.hand_over import BudgetResult, deploy_budgets, draw
from nassuite.latency.meter import Meter, measure
from nassuite.nominating import measure_finalists
from nassuite.pacing import fit_to_limit, settle_fine_tuning
from nassuite.progress import Progress
from nassuite.records import environment, write_bytes
from nassuite.run_directory import RunDirectory
from nassuite.search.storage import open_storage
from nassuite.settings import Settings, check_budgets
from nassuite.stages import calibrate, train_shared_weights
from nassuite.starting import check_initial, start_from, trained_supernet
from nassuite.storage_url import without_password


@dataclass(frozen=True)
class Outcome:
    """What a search came to: its folder, what each budget led to, and remarks on budgets that do not bind."""

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
    out: str | Path,
    resume: bool = False,
    reuse: str | Path | None = None,
    init: str | Path | None = None,
    meter: Meter = measure,
    progress: Progress | None = None,
    command: Sequence[str] | None = None,
    expected_budgets: Sequence[float] | None = None,
) -> Outcome:
    """Searches, compresses and deploys for every budget of ``settings``, into the run directory ``out``.

    ``resume`` continues the run in ``out`` with the settings that it began with. ``reuse`` is
    another run whose supernet and latency samples serve this one; ``init`` one whose supernet's weights this
    one's begins with. ``meter`` stands in for the measurement in tests. ``command`` is the line that repeats the run, for its
    records; with ``expected_budgets`` a run of others is not resumed.

    Raises InputError for anything wrong with the input, and DeviceNeeded where something is to be measured on a device
    that is not reached from here.
    """
    started = time.monotonic()
    progress = progress or Progress()
    run = RunDirectory(Path(out))
    reused, initial = (None if other is None else RunDirectory(Path(other)) for other in (reuse, init))
    if resume:
        settings, facts = run.read_settings()
        _refuse_other_budgets(run, settings, expected_budgets)
        with run.locked():
            flow = prepare(run, settings, progress=progress, meter=meter)
            refuse_other_ground(flow, facts)
            return _follow(flow, facts)
    if initial is not None and reused is not None:
        raise InputError("--from takes another run's supernet as it is, --init trains it further: give one")
    if settings is None:
        raise InputError("no settings: give them, or resume=True")
    check_budgets(settings)
    # Everything is checked before anything is written: what was refused leaves no directory behind.
    run.check_new()
    if settings.storage is not None:
        open_storage(settings.storage)
    flow = prepare(run, settings, progress=progress, meter=meter)
    flow.check_limits()
    facts = run_facts(flow, command)
    if reused is not None:
        facts["reused"] = str(reused.root.resolve())
        flow.settings = _adopted_settings(flow, reused, facts)
    if initial is not None:
        facts["initial"] = str(initial.root.resolve())
        check_initial(flow, initial)
    if flow.settings.time_limit is not None:
        sampled = reused is not None and _same_target(reused, facts)
        facts["plan"] = fit_to_limit(flow, started=started, trained=reused is not None, sampled=sampled)
    run.create()
    with run.locked():
        run.write_settings(flow.settings, facts)
        again = f"nassuite search --resume {shlex.quote(str(out))}"
        progress.say(f"run {out}: Ctrl-C stops it, {again} goes on")
        return _follow(flow, facts)


def _follow(flow: Flow, facts: dict[str, Any]) -> Outcome:
    """Every stage in turn; each finds for itself what of it is done."""
    run = flow.run
    flow.search_seconds = search_seconds(facts)
    if "reused" in facts:
        _copy_reused(flow, RunDirectory(Path(facts["reused"])), facts)
    if "initial" in facts:
        start_from(flow, RunDirectory(Path(facts["initial"])))
    with run.stage("latency"):
        calibrate(flow)
    with run.stage("supernet"):
        train_shared_weights(flow)
    with run.stage("search"):
        explore(flow)
    with run.stage("finalists"):
        measure_finalists(flow)
    with run.stage("deploy"):
        if "plan" in facts and settle_fine_tuning(flow, facts["plan"]):
            run.write_settings(flow.settings, facts)
        results = deploy_budgets(flow)
    if "report" not in run.stages_done() or not run.report.is_dir():
        with run.stage("report"):
            draw(flow, results)
    return Outcome(run.root, results, tuple(flow.notes()))


def run_facts(flow: Flow, command: Sequence[str] | None) -> dict[str, Any]:
    words = [without_password(word) for word in command or ()]
    place = flow.run.root.resolve()
    origin = f"{platform.node()}{place}{time.time()}"
    return {
        "command": shlex.join(words) if words else "nassuite.search(...)",
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "study": f"{place.name}-{hashlib.sha256(origin.encode()).hexdigest()[:8]}",
        "data_digest": flow.data.digest,
        "space_digest": flow.space.digest,
        "resolution": list(flow.space.resolution),
        "classes": list(flow.data.labels),
        "target": flow.target.key,
        "environment": _without_none(environment()),
    }


def _refuse_other_budgets(run: RunDirectory, settings: Settings, expected: Sequence[float] | None) -> None:
    if expected is not None and set(expected) != set(settings.budget_ms):
        theirs = " ".join(f"{budget:g}" for budget in settings.budget_ms)
        has = f"has the budgets {theirs} ms" if theirs else "looks for the whole front"
        raise InputError(f"--resume {run.root}: that run {has}; for others use --from {run.root}")


def refuse_other_ground(flow: Flow, facts: dict[str, Any], *, machine: bool = True) -> None:
    """A run goes on only with the images, the space and, where that matters, the machine that it began with."""
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
    if machine and facts["target"] != flow.target.key:
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
    trained_supernet(other, "--from")
    trained = ("epochs", "batch_size", "lr", "seed")
    return replace(flow.settings, **{name: getattr(theirs, name) for name in trained})


def _copy_reused(flow: Flow, other: RunDirectory, facts: dict[str, Any]) -> None:
    """The supernet, and latency samples of the same target, where they are not copied yet."""
    theirs = [(other.supernet, flow.run.supernet)]
    if _same_target(other, facts):
        theirs.append((other.samples, flow.run.samples))
    for source, copy in theirs:
        if not copy.exists():
            write_bytes(copy, source.read_bytes())


def _same_target(other: RunDirectory, facts: dict[str, Any]) -> bool:
    """Whether another run's latencies are of this one's target."""
    return other.samples.exists() and other.read_settings()[1]["target"] == facts["target"]


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_none(v) for k, v in value.items() if v is not None}
    return value
