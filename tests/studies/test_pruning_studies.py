"""The studies of pruning on a meter that knows no time."""

import shutil

import numpy as np
import pruning_accuracy as accuracy
import pruning_speed as speed
import pytest
import torch
from deterministic_meter import deterministic_meter
from small_networks import plain
from torch_pruning_baseline import torch_pruned

from nassuite.errors import InputError
from nassuite.latency.cost import cost
from nassuite.records import read_json
from nassuite.zoo import create_model

SHAPE = (1, 32, 32)


def test_torch_pruning_rounds_widths_and_leaves_the_dense_network_alone():
    dense = plain().eval()
    before = {name: value.clone() for name, value in dense.state_dict().items()}
    cut = torch_pruned(dense, torch.rand(2, *SHAPE), 0.5, round_to=16)
    widths = [m.out_channels for m in cut.modules() if isinstance(m, torch.nn.Conv2d)]
    assert all(width % 16 == 0 for width in widths)
    assert cost(cut, SHAPE).macs < cost(dense, SHAPE).macs
    assert cut.classifier.out_features == dense.classifier.out_features
    assert all(torch.equal(value, before[name]) for name, value in dense.state_dict().items())


def test_what_torch_pruning_cannot_follow_is_told():
    network = create_model("shufflenet_v2", num_classes=4, width_mult=0.5)
    with pytest.raises(InputError, match="torch-pruning cannot follow it"):
        torch_pruned(network, torch.rand(2, 3, 64, 64), 0.5, round_to=None)


def test_the_smallest_cut_is_the_first_that_is_enough():
    assert speed.smallest_cut(lambda ratio: ratio, lambda ratio: ratio in (0.37, 0.5)) == 0.37
    with pytest.raises(InputError, match="whatever the ratio"):
        speed.smallest_cut(lambda ratio: ratio, lambda ratio: False)


@pytest.mark.parametrize(
    ("points", "least", "found"),
    [
        ([(1, 0.9), (2, 0.8)], 0.85, 1.5),
        ([(1, 0.9), (2, 0.8), (3, 0.87)], 0.85, 3),
        ([(1, 0.9), (2, 0.92)], 0.85, 2),
        ([(1, 0.9), (2, 0.7)], 0.9, 1),
    ],
)
def test_the_speed_up_at_an_accuracy_is_read_off_the_line(points, least, found):
    assert accuracy.speedup_at(points, least) == pytest.approx(found)


def test_gains_compare_at_the_same_loss():
    right = np.zeros(1000, bool)
    right[:900] = True
    fewer = right.copy()
    fewer[:20] = False
    rows = [
        {"name": "a", "strategy": accuracy.OURS, "speedup": 2.0},
        *({"name": f"b{i}", "strategy": s, "speedup": 2.0} for i, s in enumerate(accuracy.THEIRS)),
    ]
    correct = {"dense-tuned": right, "dense": fewer, "a": right, "b0": fewer, "b1": fewer}
    found = accuracy.gains(rows, correct, seed=0)
    assert found[accuracy.OURS]["speedup"] == 2.0
    assert found[accuracy.OURS]["at_end"]
    other = found[next(iter(accuracy.THEIRS))]
    assert other["speedup"] == pytest.approx(1.25)
    assert other["ours_over_it"] == pytest.approx(1.6)
    assert other["interval"][0] < 1.25 < other["interval"][1]
    untuned = accuracy.gains(rows, correct, seed=0, under="dense")
    assert all(of["speedup"] == 2.0 and of["at_end"] for of in untuned.values())


@pytest.mark.slow
def test_a_network_is_trained_pruned_three_ways_and_judged(tmp_path, monkeypatch):
    arguments = [
        "--data", "digits", "--models", "small_networks:plain", "--train-images", "256", "--epochs", "1",
        "--finetune-epochs", "1", "--speedups", "1.3", "--steps", "1", "--work", str(tmp_path / "work"),
        "--out", str(tmp_path / "out"),
    ]  # fmt: skip
    accuracy.main(arguments, meter=deterministic_meter)
    (part,) = read_json(tmp_path / "out" / "records.json")["models"]
    strategies = {row["strategy"] for row in part["rows"]}
    assert strategies == {"dense", "dense, fine-tuned", accuracy.OURS, *accuracy.THEIRS}
    for row in part["rows"]:
        assert row["wanted"] is None or row["speedup"] >= 1.3
    report = (tmp_path / "out" / "report.md").read_text()
    assert all(strategy in report for strategy in strategies)
    # Found again as it was left: nothing is trained twice.
    monkeypatch.setattr(accuracy, "judged", lambda work: pytest.fail("judged again"))
    accuracy.main(arguments, meter=deterministic_meter)
    # So is what stands in a report, of which the work is gone; not with other settings.
    shutil.rmtree(tmp_path / "work")
    accuracy.main(arguments, meter=deterministic_meter)
    assert (tmp_path / "out" / "report.md").read_text() == report
    with pytest.raises(pytest.fail.Exception, match="judged again"):
        accuracy.main([*arguments, "--seed", "1"], meter=deterministic_meter)


def test_strategies_keep_to_their_share_of_the_macs(tmp_path, monkeypatch):
    monkeypatch.setattr(speed, "create_model", lambda name: plain(in_chans=3))
    speed.main(["--size", "32", "--seeds", "1", "--out", str(tmp_path)], meter=deterministic_meter)
    rows = read_json(tmp_path / "records.json")["rows"]
    assert [row["name"] for row in rows] == ["dense", *speed.OURS, *speed.THEIRS]
    assert all(row["macs_left"] <= 0.5 for row in rows[1:])
    assert "torch-pruning, global, rounded to 16" in (tmp_path / "report.md").read_text()
