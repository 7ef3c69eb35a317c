"""Many machines on one study, through a real PostgreSQL server and through Optuna's gRPC proxy."""

import multiprocessing
import os
import signal
import socket
import sys
import time
from collections import Counter

import optuna
import postgres
import pytest
from optuna.trial import TrialState
from toy import FACTS, LIMIT_MS, TOY, Counted, accuracy, latency_ms, work_in_storage

from nassuite.errors import InputError
from nassuite.search import storage as storage_module
from nassuite.search.driver import SearchConfig, evaluations, keep, open_study, run_trials
from nassuite.search.pareto import hypervolume
from nassuite.search.storage import begin_study, join_study, open_storage
from nassuite.storage_url import STORAGE_VARIABLE

TRIALS = 48
CONFIG = SearchConfig(TRIALS, (LIMIT_MS,), "nsga2")
SPAWN = multiprocessing.get_context("spawn")


@pytest.fixture(scope="module")
def database():
    reason = postgres.lacking()
    if reason:
        pytest.skip(reason)
    with postgres.server() as url:
        yield url


@pytest.fixture
def url(database, monkeypatch):
    """The password is in the environment alone, for worker processes too."""
    whole = postgres.with_secret(database)
    monkeypatch.setenv(STORAGE_VARIABLE, whole)
    yield database
    storage = open_storage(whole)
    for name in optuna.get_all_study_names(storage):
        optuna.delete_study(study_name=name, storage=storage)


def front_volume(study: optuna.Study) -> float:
    points = [(e.accuracy, e.latency_ms) for e in evaluations(study, TOY)]
    return hypervolume(points, (0.0, LIMIT_MS), maximise=(True, False))


def accounted_for(study: optuna.Study) -> Counter:
    """How the trials ended, after all that must be true of them was checked."""
    trials = study.get_trials()
    assert all(t.state.is_finished() for t in trials)
    done = [t for t in trials if t.state == TrialState.COMPLETE]
    evaluated = [t.user_attrs["digest"] for t in done if t.user_attrs["evaluated"]]
    assert len(evaluated) == len(set(evaluated)) == TRIALS, "every one once, and no more than was asked for"
    for t in done:
        arch = TOY.decode(t.user_attrs["genes"])
        assert t.values[1] == latency_ms(arch)
        assert t.values[0] == (accuracy(arch) if t.values[1] <= LIMIT_MS else 0.0)
    return Counter("left" if t.user_attrs.get("left") else t.state.name for t in trials)


@pytest.mark.slow
def test_four_workers_one_of_them_killed(url, tmp_path):
    begun = SPAWN.Event()
    study = begin_study(open_storage(url), url, "toy", FACTS)
    victim = SPAWN.Process(target=work_in_storage, args=(url, CONFIG, begun), daemon=True)
    workers = [SPAWN.Process(target=work_in_storage, args=(url, CONFIG), daemon=True) for _ in range(3)]
    victim.start()
    assert begun.wait(300)
    (at,) = [t for t in study.get_trials() if t.state == TrialState.RUNNING]
    for worker in workers:
        worker.start()
    while len(evaluations(study, TOY)) < 8 and any(worker.is_alive() for worker in workers):
        time.sleep(0.05)
    assert study.get_trials()[at.number].state == TrialState.RUNNING, "slow, but it has a beat"
    os.kill(victim.pid, signal.SIGKILL)
    for worker in (victim, *workers):
        worker.join(300)
    assert [worker.exitcode for worker in (victim, *workers)] == [-signal.SIGKILL, 0, 0, 0]
    ended = accounted_for(study)
    assert ended["FAIL"] == 1
    assert study.get_trials()[at.number].state == TrialState.FAIL
    assert at.user_attrs["digest"] in {e.arch.digest for e in evaluations(study, TOY)}
    alone = open_study(tmp_path / "alone")
    run_trials(alone, TOY, Counted().objective(), CONFIG)
    assert front_volume(study) >= 0.9 * front_volume(alone)

    keep(study, tmp_path / "journal")
    kept = open_study(tmp_path / "journal")
    assert evaluations(kept, TOY) == evaluations(study, TOY)
    assert kept.user_attrs == FACTS


def proxy(port: int) -> None:
    optuna.storages.run_grpc_proxy_server(optuna.storages.InMemoryStorage(), host="127.0.0.1", port=port)


@pytest.mark.slow
def test_two_workers_through_a_proxy():
    pytest.importorskip("grpc", reason="grpcio is not installed (nassuite[distributed])")
    port = postgres.free_port()
    server = SPAWN.Process(target=proxy, args=(port,), daemon=True)
    server.start()
    try:
        where = f"grpc://127.0.0.1:{port}"
        optuna.storages.GrpcStorageProxy(host="127.0.0.1", port=port).wait_server_ready(timeout=300)
        study = begin_study(open_storage(where), where, "toy", FACTS)
        begun = SPAWN.Event()
        victim = SPAWN.Process(target=work_in_storage, args=(where, CONFIG, begun), daemon=True)
        worker = SPAWN.Process(target=work_in_storage, args=(where, CONFIG), daemon=True)
        victim.start()
        worker.start()
        assert begun.wait(300)
        os.kill(victim.pid, signal.SIGKILL)
        worker.join(300)
        assert worker.exitcode == 0
        assert accounted_for(study)["FAIL"] == 1
    finally:
        server.kill()
        server.join()


def test_a_study_of_something_else_is_refused(url):
    storage = open_storage(url)
    begin_study(storage, url, "toy", FACTS)
    begin_study(storage, url, "toy", FACTS)
    for key in FACTS:
        with pytest.raises(
            InputError, match=rf"study toy in {url} is of another {key} .* there, other here$"
        ):
            join_study(storage, url, "toy", FACTS | {key: "other"})
        with pytest.raises(InputError, match=rf"another {key}"):
            begin_study(storage, url, "toy", FACTS | {key: "other"})
    with pytest.raises(InputError, match="has no study nothing"):
        join_study(storage, url, "nothing", FACTS)
    optuna.create_study(storage=storage, study_name="theirs").add_trial(optuna.create_trial(value=1.0))
    with pytest.raises(InputError, match=r"study theirs in .* is of another nassuite none there"):
        begin_study(storage, url, "theirs", FACTS)


def test_a_wrong_password_is_one_line_without_it(url, monkeypatch):
    wrong = url.replace("nas@", "nas:wrongly@")
    with pytest.raises(InputError, match=f"password.*{STORAGE_VARIABLE}") as refused:
        open_storage(wrong)
    assert "wrongly" not in str(refused.value)
    assert "\n" not in str(refused.value)
    monkeypatch.delenv(STORAGE_VARIABLE)
    with pytest.raises(InputError, match=STORAGE_VARIABLE):
        open_storage(url)


@pytest.mark.parametrize(("scheme", "seconds"), [("postgresql://nas@", 1), ("grpc://", 0.2)])
def test_a_storage_that_does_not_answer_is_one_line(scheme, seconds, monkeypatch):
    pytest.importorskip("grpc" if scheme == "grpc://" else "psycopg")
    monkeypatch.setattr(storage_module, "CONNECT_SECONDS", seconds)
    suffix = "" if scheme == "grpc://" else "/nas"
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes the call and says nothing
        for port in (silent.getsockname()[1], postgres.free_port()):
            with pytest.raises(
                InputError, match=rf"--storage {scheme}127.0.0.1:{port}{suffix} cannot be used: "
            ) as told:
                open_storage(f"{scheme}127.0.0.1:{port}{suffix}")
            assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("url", "driver"), [("mysql://nas@h/nas", "pymysql"), ("postgresql://nas@h/nas", "psycopg")]
)
def test_a_driver_that_is_not_installed_is_named(url, driver, monkeypatch):
    monkeypatch.setitem(sys.modules, driver, None)
    with pytest.raises(InputError, match=rf"needs {driver}: pip install 'nassuite\[distributed\]'"):
        open_storage(url)
