"""``--refine netadapt``: the winner's channel counts, cut by the accuracy that is left."""

import json

import deterministic_meter as meters
import pytest
import torch
from test_limits import flow_of
from tiny_runs import LOOSE_MS, ListeningProgress

from nassuite import refining
from nassuite.compress.prune import replay
from nassuite.hand_over import deploy_budget
from nassuite.latency.cost import cost
from nassuite.refining import refined
from nassuite.train.recalibrate import recalibrated

SHAPE = (3, 16, 16)


@pytest.fixture
def flow(tiny_run, tmp_path, monkeypatch):
    """Of a run on a machine whose time is multiply-accumulates alone."""
    monkeypatch.setattr(meters, "NODE_MS", 0.0)
    monkeypatch.setattr(refining, "STEPS", 2)
    return flow_of(tiny_run, tmp_path / "run", LOOSE_MS, refine="netadapt")


@pytest.fixture
def winner(flow):
    arch = flow.space.extreme("largest", "inverted_residual")
    return arch, recalibrated(flow.supernet, arch, flow.recalibration_batches).to(
        memory_format=torch.contiguous_format
    )


def test_it_is_as_fast_as_asked_and_made_again_without_a_measurement(flow, winner):
    arch, dense = winner
    network, record = refined(flow, arch, dense)
    before, after = (cost(model, SHAPE) for model in (dense, network))
    assert after.macs <= before.macs / refining.SPEEDUP
    assert all(layer.after % 16 == 0 for layer in record.pruned)
    shapes = {name: tensor.shape for name, tensor in network.state_dict().items()}
    assert {n: t.shape for n, t in replay(dense, record).state_dict().items()} == shapes
    # Every layer of the last step was tried: several accuracies beside the one that was kept.
    names = [
        json.loads(line)["name"] for line in flow.run.tried(f"{arch.digest}-refined").read_text().splitlines()
    ]
    assert sum(" to " in name for name in names) > names.count("step 0") + names.count("step 1")
    flow.meter = lambda *_, **__: pytest.fail("measured")
    again, same = refined(flow, arch, dense)
    assert same == record
    assert all(torch.equal(t, again.state_dict()[n]) for n, t in network.state_dict().items())


def test_what_cannot_be_refined_is_said_and_left(flow, winner, monkeypatch):
    monkeypatch.setattr(refining, "SPEEDUP", 50.0)
    flow.progress = ListeningProgress()
    assert refined(flow, *winner) is None
    assert any(
        line.startswith("the winner is not refined: no pruning reaches speedup 50")
        for line in flow.progress.said
    )


@pytest.mark.slow
def test_it_is_a_variant_like_the_others(flow, winner):
    arch, _ = winner
    entry = {"arch": arch.to_json()}
    flow.run.finalists.write_text(json.dumps({f"{LOOSE_MS:g}": {"winner": entry, "finalists": [entry]}}))
    result = deploy_budget(flow, LOOSE_MS)
    names = [variant["name"] for variant in result.variants]
    assert names == ["fp32", "int8", "pruned", "pruned-int8", "refined", "refined-int8"]
    by_name = {variant["name"]: variant for variant in result.variants}
    assert by_name["refined"]["macs"] < by_name["fp32"]["macs"]
    assert result.chosen["val_accuracy"] == max(v["val_accuracy"] for v in result.variants)
    card = json.loads((result.folder / "card.json").read_text())
    assert card["refine"]["pruned"] != []
    cuts = json.loads((result.folder / "model.json").read_text())["cuts"]
    expected = {"pruned": card["prune"], "refined": card["refine"]}
    assert cuts == expected.get(result.chosen["name"].removesuffix("-int8"))
