"""What many workers on one study may and may not do, on a journal; ``test_storage`` has a database."""

import multiprocessing
import os
import signal
import time

import optuna
import pytest
from optuna.trial import TrialState
from toy import LIMIT_MS, TOY, Counted, accuracy, latency_ms, work_until_killed

from nassuite.search import claims
from nassuite.search.driver import SearchConfig, evaluations, open_study, run_trials
from nassuite.search.parameters import suggest


@pytest.fixture
def study(tmp_path) -> optuna.Study:
    return open_study(tmp_path / "journal")


@pytest.fixture(autouse=True)
def _fast(monkeypatch):
    monkeypatch.setattr(claims, "POLL_SECONDS", 0.01)


def asked(study: optuna.Study, digest: str | None = None) -> optuna.Trial:
    trial = study.ask()
    suggest(trial, TOY)
    if digest:
        trial.set_user_attr("digest", digest)
        trial.set_user_attr("genes", {})
    return trial


def standing(study: optuna.Study, trial: optuna.Trial, digest: str, most: int = 9) -> str:
    return claims.settle(study, trial, digest, most=most, watch=claims.Watch())


class Waited(Exception):
    pass


@pytest.fixture
def no_waiting(monkeypatch):
    def sleep(_seconds: float) -> None:
        raise Waited

    monkeypatch.setattr(claims.time, "sleep", sleep)


def told(study: optuna.Study, trial: optuna.Trial, *, evaluated: bool = True) -> None:
    trial.set_user_attr("evaluated", evaluated)
    study.tell(trial, [0.5, 1.0])


def test_the_first_of_two_claims_evaluates_and_the_second_waits_for_it(study, no_waiting):
    first, second = asked(study, "a"), asked(study, "a")
    assert standing(study, first, "a") == "evaluate"
    with pytest.raises(Waited):
        standing(study, second, "a")
    told(study, first)
    assert standing(study, second, "a") == "repeat"


def test_nobody_goes_ahead_of_a_trial_that_has_not_said_what_it_is_for(study, no_waiting):
    silent, later = asked(study), asked(study, "a")
    with pytest.raises(Waited):
        standing(study, later, "a")
    silent.set_user_attr("digest", "b")
    assert standing(study, later, "a") == "evaluate"


def test_no_more_are_evaluated_than_were_asked_for(study, no_waiting):
    first, second = asked(study, "a"), asked(study, "b")
    with pytest.raises(Waited):
        standing(study, second, "b", most=1)
    told(study, first, evaluated=False)  # it was over the limit
    assert standing(study, second, "b", most=1) == "evaluate"
    told(study, second)
    third = asked(study, "c")
    assert standing(study, third, "c", most=1) == "leave"
    claims.leave(study, third)
    assert not claims.lost(study.get_trials())


def test_what_waits_in_the_queue_is_not_evaluated_beside_it(study):
    study.enqueue_trial({"resolution": 0}, {"digest": "a"})
    # As of a worker that looked into the queue just before.
    study.add_trial(optuna.create_trial(state=TrialState.RUNNING, user_attrs={"digest": "a"}))
    later = optuna.Trial(study, study.get_trials()[-1]._trial_id)
    assert standing(study, later, "a") == "leave"


def test_a_beat_that_stands_still_is_a_worker_that_died(study):
    now = 0.0
    watch = claims.Watch(lambda: now)
    alive, dead = asked(study, "a"), asked(study, "b")
    for step in range(4):
        now = step * claims.GRACE_SECONDS * 0.6
        alive.set_user_attr("beat", step)
        claims.fail_dead(study, study.get_trials(), watch)
        assert study.get_trials()[dead.number].state == (TrialState.RUNNING if step < 2 else TrialState.FAIL)
    assert study.get_trials()[alive.number].state == TrialState.RUNNING
    assert list(claims.lost(study.get_trials())) == ["b"]
    with pytest.raises(claims.TAKEN):
        dead.set_user_attr("evaluated", True)


def test_what_was_lost_is_taken_up_again_but_not_for_ever(study):
    for attempt in range(claims.ATTEMPTS):
        trial = asked(study, "a")
        first = study.get_trials()[0].params
        assert not claims.lost(study.get_trials())
        study.tell(trial, state=TrialState.FAIL)
        found = claims.lost(study.get_trials())
        assert found == ({"a": first} if attempt < claims.ATTEMPTS - 1 else {})


def test_the_beat_goes_on_while_a_worker_is_at_it(study, monkeypatch):
    monkeypatch.setattr(claims, "BEAT_SECONDS", 0.01)
    trial = asked(study, "a")
    with claims.beating(trial):
        deadline = time.monotonic() + 30
        while study.get_trials()[0].user_attrs.get("beat", 0) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
    beat = study.get_trials()[0].user_attrs["beat"]
    assert beat >= 2
    time.sleep(0.05)
    assert study.get_trials()[0].user_attrs["beat"] == beat


def test_a_worker_that_was_taken_for_dead_drops_its_result_and_goes_on(study):
    """As a laptop that was asleep: another failed its trial, evaluated the architecture and was told."""
    counted = Counted()
    objective = counted.objective()
    robbed = []

    def slow(arch):
        if not robbed:
            running = [t for t in study.get_trials() if t.state == TrialState.RUNNING]
            robbed.append(running[0].number)
            study.tell(running[0].number, state=TrialState.FAIL)
        return objective.accuracy(arch)

    config = SearchConfig(6, (LIMIT_MS,), "random")
    run_trials(study, TOY, type(objective)(slow, latency_ms), config)
    trials = study.get_trials()
    assert [t.number for t in trials if t.state == TrialState.FAIL] == robbed
    evaluated = [
        t.user_attrs["digest"] for t in trials if t.state == TrialState.COMPLETE and t.user_attrs["evaluated"]
    ]
    assert len(evaluated) == len(set(evaluated)) == 6
    assert trials[robbed[0]].user_attrs["digest"] in evaluated


def test_a_worker_killed_on_the_way_loses_nothing(tmp_path, monkeypatch):
    journal, config = tmp_path / "journal", SearchConfig(16, (LIMIT_MS,), "random")
    study = open_study(journal)
    context = multiprocessing.get_context("spawn")
    begun = context.Event()
    victim = context.Process(target=work_until_killed, args=(journal, config, begun), daemon=True)
    victim.start()
    assert begun.wait(300)
    os.kill(victim.pid, signal.SIGKILL)
    victim.join()
    (dead,) = [t for t in study.get_trials() if t.state == TrialState.RUNNING]
    monkeypatch.setattr(claims, "GRACE_SECONDS", 0.5)
    counted = Counted()
    run_trials(study, TOY, counted.objective(), config)
    found = evaluations(study, TOY)
    assert len(found) == 16
    assert dead.user_attrs["digest"] in {e.arch.digest for e in found}
    assert len(counted.asked) == len({a.digest for a in counted.asked})
    assert study.get_trials()[dead.number].state == TrialState.FAIL
    assert all(e.accuracy == accuracy(e.arch) for e in found)
