"""The commands around the zoo, as a user types them."""

import json

import pytest
import torch
from safetensors.torch import save_file

from nassuite.cli import main
from nassuite.zoo import create_model, list_models


def test_the_list_has_every_network_as_its_paper_gives_it(capsys):
    assert main(["zoo", "list", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert sorted(rows) == list_models()
    assert rows["mobilenet_v2"]["params"] == 3504872
    assert rows["mobilenet_v2"]["top1"] == 72.0
    assert "mbv2" in rows["mobilenet_v2"]["aliases"]
    assert main(["zoo", "list"]) == 0
    assert "MobileNetV2" in capsys.readouterr().out


def test_show_adds_up(capsys):
    assert main(["zoo", "show", "mbv2(width_mult=0.5)", "--size", "96"]) == 0
    out = capsys.readouterr().out
    assert "1,968,680" in out
    assert "width_mult=1.0" in out
    rows = out.split("MACs M\n")[1].split("options")[0]
    lines = [line.split() for line in rows.splitlines()]
    assert sum(int(words[-2].replace(",", "")) for words in lines[:-1]) == 1968680
    assert sum(float(words[-1]) for words in lines[:-1]) == pytest.approx(float(lines[-1][-1]), abs=0.1)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("zoo show mobilenet_v22", "did you mean"),
        ("zoo show alexnet --size 16", "cannot take images of 16 pixels"),
        ("zoo bench mobilenet_v2(width=2)", "no option 'width'"),
        ("zoo bench lenet5 mobilenet_v2", "measure them apart"),
        ("zoo bench mobilenet_v2 --size 0", "--size 0"),
        ("zoo bench mobilenet_v2 --threads 999", "--threads 999"),
        ("zoo compare lenet5 lenet5 --out x", "each once"),
        ("zoo compare espnet --data masks:x --out x", "takes classifiers"),
        ("search-dilations ic_resnet50 --out p.json", "needs trained weights"),
        ("search-dilations resnet20_cifar --weights nowhere.pt --out p.json", "no such file"),
    ],
)
def test_refused_in_one_line(command, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(command.split()) == 2
    err = capsys.readouterr().err.strip()
    assert message in err
    assert len(err.splitlines()) == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_dilations_from_weights_to_a_network(tmp_path, capsys):
    trained = create_model("ic_resnet50", num_classes=3, large_kernel=5)
    save_file(trained.state_dict(), tmp_path / "weights.safetensors")
    pattern = tmp_path / "pattern.json"
    command = ["search-dilations", "ic_resnet50(large_kernel=5)", "--out", str(pattern)]
    assert main([*command, "--weights", str(tmp_path / "weights.safetensors")]) == 0
    assert "16 layers" in capsys.readouterr().out
    network = create_model("ic_resnet50", num_classes=3, pattern=str(pattern)).eval()
    assert network(torch.zeros(1, 3, 32, 32)).shape == (1, 3)
    assert main(["search-dilations", "ic_resnet50", "--weights", str(tmp_path / "none"), "--out", "p"]) == 2
