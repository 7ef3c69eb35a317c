"""The study of the supernet's step: what is compared is the same work."""

import pytest
import torch
import training_speed as study
from small_spaces import SIX

from nassuite.nn.network import Interface
from nassuite.nn.supernet import Supernet
from nassuite.records import read_json
from nassuite.train.optimiser import MaskedSGD


def test_a_step_of_one_architecture_moves_the_supernet_as_it_moves_the_module():
    supernet = Supernet(SIX, Interface(1, 4, (0.5,), (0.25,)))
    arch = SIX.extreme("largest")
    network = supernet.extract(arch).train()
    images, labels = torch.rand(4, 1, arch.resolution, arch.resolution), torch.tensor([0, 1, 2, 3])
    study.sandwich_step(supernet, MaskedSGD(supernet.parameters()), images, labels, [arch])
    study.separate_steps([(network, MaskedSGD(network.parameters()))], images, labels, [arch])
    moved = dict(supernet.extract(arch).named_parameters())
    for name, parameter in network.named_parameters():
        assert torch.equal(moved[name], parameter), name


def test_ratios_are_paired_by_rounds():
    seconds = {study.SUPERNET: [1.0, 2.0, 4.0], study.SEPARATE: [0.5, 1.0, 2.0], "other": [2.0, 4.0, 8.0]}
    own, separate, other = study.rows_of(seconds, batch_size=64, seed=0)
    assert own["images_per_second"] == 32
    assert separate["ratio"] == 2.0
    assert separate["interval"] == [2.0, 2.0]
    assert other["ratio"] == 0.5


@pytest.mark.slow
def test_the_study_writes_what_it_timed(tmp_path):
    sizes = ["--size", "16", "--sizes", "32", "512"]
    few = ["--batch-size", "2", "--rounds", "1", "--part-rounds", "1"]
    study.main(["--space", "micro", *sizes, *few, "--out", str(tmp_path)])
    in_parts = read_json(tmp_path / "records.json")["parts"]
    assert [(row["size"], row["what"], row["at_once"]) for row in in_parts] == [
        (size, what, 2) for size in (32, 512) for what in ("training", "evaluation")
    ]
    rows = {row["name"]: row for row in read_json(tmp_path / "records.json")["rows"]}
    assert rows[study.SUPERNET]["ratio"] == pytest.approx(1)
    assert f"{rows[study.SEPARATE]['ratio']:.3f} times" in (tmp_path / "report.md").read_text()
