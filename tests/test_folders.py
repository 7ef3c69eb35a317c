"""What is said of a folder that was given for something else than it is, by the commands that take one."""

import shlex
from pathlib import Path

import pytest

from nassuite.folders import DISTILLATION, TRAINING, kind_of, models_in

MODEL = ("model.json", "model.onnx", "card.json", "certificate.json")
FOLDERS = {
    "photos": ("study.toml",),
    **{f"photos/deploy/{budget}": MODEL for budget in ("10ms", "0.5ms", "2ms")},
    "begun": ("study.toml",),
    "pruning": ("prune.toml",),
    "pruned": ("prune.toml", "pruning.json", *MODEL),
    "curves": ("sensitivity.toml", "sensitivity.png"),
    "int8": ("quantize.toml", "quantize.json", "model.onnx", "card.json"),
    "exported": ("model.onnx", "card.json"),
    "training": ("train.toml",),
    "distilling": ("train.toml",),
    "empty": (),
}
CONTENTS = {
    "int8/quantize.toml": 'settings = {model = "runs/mbv2"}',
    "distilling/train.toml": "compare = false",
}
OF_PHOTOS = "photos is a search: give one of photos/deploy/0.5ms, photos/deploy/2ms, photos/deploy/10ms"


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for folder, files in FOLDERS.items():
        Path(folder).mkdir(parents=True, exist_ok=True)
        for file in files:
            Path(folder, file).write_text(CONTENTS.get(f"{folder}/{file}", ""))
    Path("weights.pt").touch()
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        *(
            (arguments, OF_PHOTOS)
            for arguments in (
                "predict photos a.jpg", "prune photos --speedup 2", "prune photos --sensitivity", "quantize photos",
                "export photos --out new", "distill photos --teacher pruned", "distill lenet5 --teacher photos",
                "train photos", "certify photos --budget-ms 1", "certify --check photos", "cost photos",
                "latency measure photos", "search-dilations photos --out new",
            )
        ),
        ("prune photos/deploy --ratio 0.5", "photos/deploy holds models: give one of photos/deploy/0.5ms, "),
        ("predict begun a.jpg", "begun is a search that is not finished: go on with nassuite search --resume begun"),
        ("quantize pruning", "pruning is a pruning that is not finished: go on with nassuite prune --resume pruning"),
        ("export distilling --out new", "distilling is a distillation that is not finished: go on with nassuite distill"),
        ("prune int8 --ratio 0.5", "int8 is a quantisation, which has no weights: give what it was made of, runs/mbv2"),
        ("predict curves a.jpg", "curves is a sensitivity analysis without a model (no card.json)"),
        ("export exported --out new", "exported has files that are exported already and no weights"),
        ("cost empty", "empty holds no model (no model.onnx)"),
        ("predict weights.pt a.jpg", "weights.pt is a file: give the folder of a model"),
        ("predict nowhere a.jpg", "nowhere holds no model: there is no such folder"),
        ("prune weights.pt --ratio 0.5", "weights.pt: weights without a network; give the network's name, and the file with --weights"),
        ("train weights.pt", "weights.pt: weights without a network"),
        ("quantize weights.pt", "weights.pt: weights without a network; give an .onnx file or the folder of a model"),
        ("certify weights.pt --budget-ms 1", "(nassuite export NAME --weights weights.pt --out DIR writes one)"),
        ("prune mobilenet-v2 --ratio 0.5", "no name of a network: did you mean mobilenet_v2 "),
        ("prune pruned --ratio 0.5 --out photos", "--out photos is a search: go on with nassuite search --resume photos, or give another folder"),
        ("search --budget-ms 1 --out pruning", "--out pruning is a pruning: go on with nassuite prune --resume pruning, or"),
        ("train lenet5 --out pruned", "--out pruned is a finished pruning: give another folder"),
        ("search --resume pruning", "pruning is a pruning, no search: nassuite prune --resume pruning goes on with it"),
        ("search --budget-ms 1 --from training", "training is a training, no search: nassuite train --resume training"),
        ("audit pruned", "pruned is a finished pruning, no search"),
        ("prune --resume photos", "photos is a search, no pruning: nassuite search --resume photos goes on with it"),
        ("quantize --resume curves", "curves is a finished sensitivity analysis, no quantisation"),
        ("report pruned", "pruned is a finished pruning, no search"),
        ("report begun", "begun is a search that is not finished: go on with nassuite search --resume begun"),
        ("compare distilling pruned", "distilling is a distillation that is not finished: go on with nassuite distill"),
    ],
)  # fmt: skip
def test_who_gives_the_wrong_folder_is_told_what_it_is(nassuite, here, arguments, message):
    before = sorted(here.rglob("*"))
    code, out, err = nassuite(*shlex.split(arguments))
    assert (code, out) == (2, "")
    assert message in err
    assert err.startswith("nassuite: ")
    assert err.count("\n") == 1
    assert sorted(here.rglob("*")) == before


def test_kinds_are_told_by_their_files(here):
    assert kind_of(Path("training")) == TRAINING
    assert kind_of(Path("distilling")) == DISTILLATION
    assert kind_of(Path("exported")) is None
    assert kind_of(Path("x" * 300)) is None


def test_budgets_are_listed_as_they_are_counted(here):
    found = models_in(Path("photos"), "model.onnx")
    assert [path.name for path in found] == ["0.5ms", "2ms", "10ms"]
    for number in range(3, 6):
        Path(f"photos/deploy/{number}ms").mkdir()
        Path(f"photos/deploy/{number}ms/model.onnx").touch()
    assert len(models_in(Path("photos"), "model.onnx")) == 6
