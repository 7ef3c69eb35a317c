"""``--time-limit`` in a run; the machine's speed is made up."""

import dataclasses
import itertools
import json
import shutil
import time

import pytest
from deterministic_meter import deterministic_meter
from test_limits import flow_of
from tiny_runs import LOOSE_MS, TIGHT_MS, InterruptingProgress, Interruption, ListeningProgress, settings

from nassuite import exploring, pacing
from nassuite.errors import InputError
from nassuite.exploring import explore
from nassuite.pacing import fit_to_limit, measure_speeds, settle_fine_tuning
from nassuite.progress import SILENT
from nassuite.run_directory import RunDirectory
from nassuite.settings import SHARED_SETTINGS, Settings
from nassuite.study import search
from nassuite.time_shares import Amounts, Speeds, Work

MACHINE = Speeds(sample=0.5, epoch=10.0, trial=0.5, finalist=1.0, winner_epoch=5.0, winner=10.0)
FREE = dict.fromkeys(SHARED_SETTINGS)


@pytest.fixture
def made_up(monkeypatch):
    monkeypatch.setattr(pacing, "measure_speeds", lambda flow, **_: iter([MACHINE]))
    monkeypatch.setattr(pacing, "TIMINGS", 1)


def amounts_of(found: Settings) -> Amounts:
    return Amounts(**{name: getattr(found, name) for name in SHARED_SETTINGS})


def test_amounts_are_said_before_it_starts_and_kept_by_a_resume(tiny_run, tmp_path, made_up):
    run, said = RunDirectory(tmp_path / "run"), ListeningProgress()
    progress = InterruptingProgress({"latency samples": 1})
    progress.say = said.say
    wanted = settings(tiny_run.folder, LOOSE_MS, **(FREE | {"time_limit": "10m", "trials": 33}))
    with pytest.raises(Interruption):
        search(wanted, out=run.root, meter=deterministic_meter, progress=progress)
    found, facts = run.read_settings()
    amounts = amounts_of(found)
    assert amounts.trials == 33
    work = Work(winners=1, finalists=8)
    planned = facts["plan"]["gone_seconds"] + amounts.seconds(MACHINE, work)
    assert facts["plan"]["planned_seconds"] == pytest.approx(planned, abs=0.1)
    assert 0.9 * 600 < planned <= 0.97 * 600 + 0.1
    assert facts["plan"]["given"] == ["trials"]
    assert any(line.startswith("about 10 min: ") and amounts.said(work) in line for line in said.said)
    progress.after["latency samples"] = 1
    with pytest.raises(Interruption):
        search(out=run.root, resume=True, meter=deterministic_meter, progress=progress)
    assert amounts_of(run.read_settings()[0]) == amounts


def test_too_short_a_limit_is_refused_with_the_least_that_will_do(tiny_run, tmp_path, made_up):
    def tried(limit):
        wanted = settings(tiny_run.folder, LOOSE_MS, **(FREE | {"time_limit": limit}))
        search(wanted, out=tmp_path / "run", meter=deterministic_meter, progress=SILENT)

    with pytest.raises(InputError) as caught:
        tried("5s")
    least = 24 * 0.5 + 10 + 24 * 0.5 + 8 + 2 * 5 + 10
    assert str(caught.value).startswith("--time-limit 5s: too short, the least takes about ")
    assert int(str(caught.value).split("about ")[1].split()[0]) >= least / 0.97
    assert "24 latency samples, 1 epoch, 24 trials, 1 epoch of fine-tuning" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_limit_far_too_short_is_refused_before_all_is_timed(tiny_run, tmp_path, monkeypatch):
    def measured(flow, **_):
        speeds = Speeds(sample=0.0, epoch=0.0, trial=0.1, finalist=0.0, winner_epoch=0.0, winner=0.0)
        yield speeds
        yield dataclasses.replace(speeds, epoch=120.0)
        raise AssertionError("it was timed on")

    monkeypatch.setattr(pacing, "measure_speeds", measured)
    wanted = settings(tiny_run.folder, LOOSE_MS, **(FREE | {"time_limit": "100s"}))
    with pytest.raises(InputError, match=r"^--time-limit 100s: too short, .* about 3 min .* try 7 min \("):
        search(wanted, out=tmp_path / "run", meter=deterministic_meter, progress=SILENT)
    assert not (tmp_path / "run").exists()


def test_the_search_ends_with_its_share_of_the_time(tiny_run, tmp_path, monkeypatch):
    """But not before it has seen the least; and is not taken up again."""
    monkeypatch.setitem(exploring.LEAST, "trials", 5)
    flow = flow_of(tiny_run, tmp_path / "run", LOOSE_MS)
    flow.search_seconds = 0.0
    with flow.run.stage("search"):
        explore(flow)
    assert len(flow.evaluated) == 5
    again = dataclasses.replace(flow, search_seconds=1e9)
    explore(again)
    assert len(again.evaluated) == 5


def finished_search(tiny_run, folder, **changes):
    """A flow that knows its finalists, and has spent what its stages say."""
    flow = flow_of(tiny_run, folder, LOOSE_MS, TIGHT_MS, **changes)
    shutil.copy(tiny_run.run / "finalists.json", folder)
    (folder / "stages.jsonl").write_text('{"stage": "supernet", "seconds": 300.0, "done": true}\n')
    return flow


def test_the_winners_training_gets_what_is_left(tiny_run, tmp_path, monkeypatch):
    flow = finished_search(tiny_run, tmp_path / "run")
    monkeypatch.setattr(pacing, "_winner_epoch_seconds", lambda flow, arch: 2.0)
    plan = {
        "limit_seconds": 600.0, "gone_seconds": 60.0, "speeds": dataclasses.asdict(MACHINE), "given": [], "settled": False,
    }  # fmt: skip
    entries = json.loads((tmp_path / "run" / "finalists.json").read_text())
    winners = {json.dumps(entries[f"{b:g}"]["winner"]["arch"]) for b in (LOOSE_MS, TIGHT_MS)}
    work, measured = Work(len(winners), 0), dataclasses.replace(MACHINE, winner_epoch=2.0)
    assert settle_fine_tuning(flow, plan)
    assert plan["settled"]
    found = amounts_of(flow.settings)

    def spent(epochs, after):
        alone = Amounts(0, 0, 0, epochs, after)
        return alone.seconds(measured, work)

    assert spent(found.finetune_epochs, found.prune_epochs) <= 0.97 * 600 - 360
    assert spent(found.finetune_epochs + 1, found.prune_epochs) > 0.97 * 600 - 360 - 2 * len(winners)
    before = flow.settings
    assert not settle_fine_tuning(flow, plan)
    assert flow.settings == before


def test_given_epochs_of_fine_tuning_are_not_touched(tiny_run, tmp_path, made_up):
    wanted = {"time_limit": "10h", "epochs": None, "finetune_epochs": 2, "prune_epochs": None}
    flow = finished_search(tiny_run, tmp_path / "run", **wanted)
    plan = fit_to_limit(flow, started=time.monotonic(), trained=False, sampled=False)
    assert plan["settled"]
    assert (flow.settings.finetune_epochs, flow.settings.prune_epochs) == (2, 1)
    assert flow.settings.epochs == 200


@pytest.mark.slow
def test_speeds_are_measured_and_leave_the_run_as_it_was(tiny_run, tmp_path):
    flow = flow_of(tiny_run, tmp_path / "run", LOOSE_MS)
    before = sorted(tmp_path.rglob("*"))
    in_turn = list(measure_speeds(flow, trained=False, sampled=False))
    assert len(in_turn) == pacing.TIMINGS
    for before_it, after_it in itertools.pairwise(map(dataclasses.astuple, in_turn)):
        assert all(a <= b for a, b in zip(before_it, after_it, strict=True))
    assert all(value > 0 for value in dataclasses.astuple(in_turn[-1]))
    assert "supernet" not in flow.__dict__
    assert sorted(tmp_path.rglob("*")) == before
    *_, again = measure_speeds(flow, trained=True, sampled=True)
    assert (again.epoch, again.sample) == (0.0, 0.0)
