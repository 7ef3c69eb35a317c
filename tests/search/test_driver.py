import multiprocessing
import random
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

import optuna
import pytest
from small_spaces import space_of
from toy import LIMIT_MS, TOY, Counted, Died, accuracy, latency_ms, work

from nassuite.errors import InputError
from nassuite.search.driver import SearchConfig, evaluations, open_study, run_trials, sweep
from nassuite.search.pareto import hypervolume
from nassuite.search.samplers import POPULATION
from nassuite.space import Stage

TRIALS = 20
SAMPLERS = ["nsga2", "guided", "tpe", "random", pytest.param("gp", marks=pytest.mark.slow)]


def config(
    sampler: str = "nsga2", *, trials: int = TRIALS, seed: int = 0, limit_ms: float = LIMIT_MS
) -> SearchConfig:
    return SearchConfig(trials, (limit_ms / 2, limit_ms), sampler, seed)


def search(journal: Path, settings: SearchConfig, counted: Counted, space=TOY) -> optuna.Study:
    study = open_study(journal)
    sweep(study)
    run_trials(study, space, counted.objective(), settings)
    return study


def completed(study: optuna.Study) -> list[tuple]:
    trials = study.get_trials(states=[optuna.trial.TrialState.COMPLETE])
    return [(t.params, t.values, t.user_attrs) for t in trials]


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Callable[[str], tuple[optuna.Study, Counted]]:
    """A search that nothing interrupted, and what it asked; made once for each sampler."""

    @cache
    def make(sampler: str) -> tuple[optuna.Study, Counted]:
        counted = Counted()
        return search(tmp_path_factory.mktemp(sampler) / "journal", config(sampler), counted), counted

    return make


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_distinct_evaluations_are_counted_and_repeats_cost_nothing(whole, sampler):
    study, counted = whole(sampler)
    found = evaluations(study, TOY)
    assert len(found) == TRIALS
    assert [e.number for e in found] == list(range(TRIALS))
    assert [e.arch for e in found] == counted.asked
    assert len(set(counted.asked)) == TRIALS
    assert len(set(counted.timed)) == len(counted.timed)
    for e in found:
        assert (e.accuracy, e.latency_ms) == (accuracy(e.arch), latency_ms(e.arch))


def test_architectures_over_the_limit_are_not_asked_for_their_accuracy(whole):
    study, counted = whole("nsga2")
    over = [arch for arch in counted.timed if latency_ms(arch) > LIMIT_MS]
    assert over
    assert all(latency_ms(arch) <= LIMIT_MS for arch in counted.asked)
    assert not {e.arch for e in evaluations(study, TOY)} & set(over)
    # What Optuna calls feasible is what is in reach.
    assert all(trial.values[1] <= LIMIT_MS for trial in study.best_trials)


@pytest.mark.parametrize("sampler", ["nsga2", "guided", "tpe"])
def test_what_is_over_another_limit_is_not_evaluated(tmp_path, sampler):
    """And what is known to keep it is tried, should chance not find any."""
    wide = max(TOY.genes["stage1.width"])
    least = [arch for arch in (TOY.sample(random.Random(n)) for n in range(99)) if channels(arch) == wide][:1]

    def excess(arch):
        return {"channels": float(wide - channels(arch))}

    counted, study = Counted(), open_study(tmp_path / "journal")
    settings = SearchConfig(12, (1e9,), sampler, 0, tuple(least))
    run_trials(study, TOY, counted.objective(excess=excess), settings)
    assert len(counted.asked) == 12
    assert all(channels(arch) == wide for arch in counted.asked)
    assert least[0] in counted.asked
    assert all(TOY.decode(trial.user_attrs["genes"]) in counted.asked for trial in study.best_trials)


@pytest.mark.parametrize(("sampler", "trials"), [("nsga2", 12), ("guided", POPULATION + 6)])
def test_a_third_objective_is_asked_and_kept(tmp_path, sampler, trials):
    counted, study = Counted(), open_study(tmp_path / "journal", minimised=2)
    objective = counted.objective(cost=lambda arch: float(channels(arch)))
    run_trials(study, TOY, objective, config(trials=trials, sampler=sampler))
    found = evaluations(study, TOY)
    assert len(found) == trials
    assert [e.cost for e in found] == [channels(e.arch) for e in found]
    assert len(study.directions) == 3


def test_without_a_budget_everything_is_in_reach(tmp_path):
    counted, study = Counted(), open_study(tmp_path / "journal")
    run_trials(study, TOY, counted.objective(), SearchConfig(12, (), "nsga2"))
    assert len(counted.timed) == len(counted.asked) == 12


def channels(arch) -> int:
    return arch.blocks[-1].out_channels


def test_the_first_trials_are_both_ends_in_every_operator(tmp_path):
    counted = Counted()
    search(tmp_path / "journal", config(trials=10, limit_ms=1e9), counted)
    ends = list(
        dict.fromkeys(TOY.extreme(end, op) for end in ("smallest", "largest") for op in TOY.operators)
    )
    assert counted.asked[: len(ends)] == ends


@pytest.mark.parametrize(
    ("sampler", "dies_at"),
    [
        ("random", 0),
        ("nsga2", 3),
        ("nsga2", 18),
        ("random", 18),
        ("tpe", 18),
        ("guided", 18),
        pytest.param("gp", 18, marks=pytest.mark.slow),
    ],
)
def test_killed_and_resumed_makes_the_same_trials(whole, tmp_path, sampler, dies_at):
    """The trial in which it died stays in the journal: RUNNING, and swept at the next start."""
    uninterrupted, asked = whole(sampler)
    expected = completed(uninterrupted)
    assert len(expected) > POPULATION, "or the sampler has not begun to learn"
    died = Counted(dies_at=dies_at)
    with pytest.raises(Died):
        search(tmp_path / "journal", config(sampler), died)
    study = open_study(tmp_path / "journal")
    assert [t.state.name for t in study.get_trials()].count("RUNNING") == 1
    study.enqueue_trial({"resolution": 1})  # killed between asking for a trial and taking it
    rest = Counted()
    resumed = search(tmp_path / "journal", config(sampler), rest)
    assert completed(resumed) == expected
    assert died.asked + rest.asked == asked.asked
    assert {t.state.name for t in resumed.get_trials()} == {"COMPLETE", "FAIL"}


def test_what_is_finished_is_not_done_again(tmp_path):
    search(tmp_path / "journal", config(), Counted())
    again = Counted()
    study = search(tmp_path / "journal", config(), again)
    assert (again.asked, again.timed) == ([], [])
    search(tmp_path / "journal", config(trials=TRIALS + 5), again)
    assert len(again.asked) == 5
    assert len(evaluations(study, TOY)) == TRIALS + 5


@pytest.mark.parametrize("sampler", ["nsga2", "tpe", "random"])
def test_the_seed_decides(tmp_path, sampler):
    asked = []
    for name, seed in (("one", 0), ("again", 0), ("other", 1)):
        counted = Counted()
        search(tmp_path / name, config(sampler, trials=14, seed=seed), counted)
        asked.append(counted.asked)
    assert asked[0] == asked[1] != asked[2]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_space_that_is_exhausted_ends_the_search(tmp_path, sampler):
    space = space_of(Stage((8, 16), (1,), 2, ("dwcb",), (3, 5), (2.0,)))
    counted = Counted()
    study = search(tmp_path / "journal", config(sampler, trials=10, limit_ms=1e9), counted, space)
    assert space.size == len(evaluations(study, space)) == len(set(counted.asked)) == len(counted.asked) == 4


def test_a_space_of_one_architecture(tmp_path):
    space = space_of(Stage((8,), (1,), 2, ("dwcb",), (3,), (2.0,)))
    counted = Counted()
    search(tmp_path / "journal", config(trials=3), counted, space)
    assert counted.asked == [space.extreme("largest")]


def test_a_limit_that_nothing_keeps_ends_the_search(tmp_path):
    counted = Counted()
    study = search(tmp_path / "journal", config("random", trials=3, limit_ms=0.0), counted)
    assert evaluations(study, TOY) == []
    assert counted.asked == []


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["nsga2", "tpe", "guided"])
def test_samplers_find_more_than_chance_does(tmp_path, sampler):
    volume = {}
    for name in (sampler, "random"):
        found = evaluations(search(tmp_path / name, config(name, trials=80), Counted()), TOY)
        points = [(e.accuracy, e.latency_ms) for e in found]
        volume[name] = hypervolume(points, (0.0, LIMIT_MS), maximise=(True, False))
    assert volume[sampler] > volume["random"]


def test_unknown_samplers_are_refused(tmp_path):
    with pytest.raises(
        InputError, match=r"unknown sampler 'nsga3': expected one of nsga2, guided, tpe, gp, random"
    ):
        search(tmp_path / "journal", config("nsga3"), Counted())


def test_two_processes_share_a_journal(tmp_path):
    """No trial is lost, nothing is evaluated twice, and no more than was asked for."""
    journal, settings = tmp_path / "journal", config("random", trials=24)
    open_study(journal)
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=work, args=(journal, settings)) for _ in range(2)]
    for worker in workers:
        worker.start()
        time.sleep(0.2)
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0]
    study = open_study(journal)
    trials = [trial for trial in study.get_trials() if "left" not in trial.user_attrs]
    assert {trial.state.name for trial in trials} == {"COMPLETE"}
    found = evaluations(study, TOY)
    assert len({e.arch for e in found}) == len(found) == 24
    assert sum(trial.user_attrs["evaluated"] for trial in trials) == 24
