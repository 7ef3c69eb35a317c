"""Limits beside the latency, and a third objective: from the search to its finalists."""

import json
import shutil

import pytest
from deterministic_meter import deterministic_meter
from tiny_runs import LOOSE_MS, TIGHT_MS, settings

from nassuite.errors import InputError
from nassuite.exploring import explore
from nassuite.flow import Flow, prepare
from nassuite.hand_over import deploy_budget
from nassuite.latency.footprint import predicted
from nassuite.nominating import measure_finalists
from nassuite.progress import SILENT
from nassuite.run_directory import RunDirectory
from nassuite.spec import Arch
from nassuite.study import search


def flow_of(tiny_run, folder, *budgets, **changes) -> Flow:
    """Of a run that has its supernet and its latencies."""
    for name in ("supernet", "latency"):
        shutil.copytree(tiny_run.run / name, folder / name)
    wanted = settings(tiny_run.folder, *budgets, **changes)
    return prepare(RunDirectory(folder), wanted, progress=SILENT, meter=deterministic_meter)


def test_all_that_is_evaluated_and_wins_keeps_the_limits(tiny_run, tmp_path):
    free = flow_of(tiny_run, tmp_path / "free", LOOSE_MS)
    ends = [free.space.extreme(which) for which in ("smallest", "largest")]
    params, memory = (
        sum(predicted(q, end, free.interface) for end in ends) / 2 for q in ("params", "memory")
    )
    flow = flow_of(
        tiny_run, tmp_path / "run", LOOSE_MS,
        max_params=int(params), max_memory_mb=memory / 1e6, minimise="macs",
    )  # fmt: skip
    flow.check_limits()
    explore(flow)
    measure_finalists(flow)
    assert len(flow.evaluated) == 14
    for evaluated in flow.evaluated:
        assert predicted("params", evaluated.arch, flow.interface) <= params
        assert predicted("memory", evaluated.arch, flow.interface) <= memory
        assert evaluated.cost == predicted("macs", evaluated.arch, flow.interface)
    entry = json.loads(flow.run.finalists.read_text())[f"{LOOSE_MS:g}"]
    assert all(f["exceeds"] == [] and f["cost"] == f["macs"] for f in entry["finalists"])
    assert Arch.from_json(entry["winner"]["arch"]) in [e.arch for e in flow.evaluated]


def test_what_turns_out_to_be_over_a_limit_does_not_win(tiny_run, tmp_path, monkeypatch):
    """Files may be larger than predicted."""
    flow = flow_of(tiny_run, tmp_path / "run", TIGHT_MS, max_size_mb=100.0)
    monkeypatch.setattr("nassuite.latency.footprint.measured", lambda *_: 2e8)
    explore(flow)
    measure_finalists(flow)
    entry = json.loads(flow.run.finalists.read_text())[f"{TIGHT_MS:g}"]
    assert entry["winner"] is None
    assert all(f["exceeds"] == ["over --max-size-mb 100: 200 MB"] for f in entry["finalists"])
    assert any(f["latency_ms"] <= TIGHT_MS for f in entry["finalists"])
    message = deploy_budget(flow, TIGHT_MS).message
    assert message.startswith("no architecture keeps 0.08 ms with --max-size-mb 100: the fastest")


@pytest.mark.parametrize(
    ("limit", "message"),
    [
        ({"max_params": 500}, r"--max-params 500: no architecture of the space space keeps it, the smallest has [\d,]+ "),
        ({"max_size_mb": 0.001}, r"--max-size-mb 0.001: no architecture .* the smallest has 0.0\d+ MB for 4 classes"),
        ({"max_memory_mb": 0.001}, r"--max-memory-mb 0.001: no architecture .* the smallest has 0.0\d+ MB"),
    ],
)  # fmt: skip
def test_a_limit_that_nothing_keeps_is_refused_with_what_the_smallest_has(tiny_run, tmp_path, limit, message):
    with pytest.raises(InputError, match=message) as caught:
        search(
            settings(tiny_run.folder, TIGHT_MS, **limit), out=tmp_path / "run",
            meter=deterministic_meter, progress=SILENT,
        )  # fmt: skip
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()
