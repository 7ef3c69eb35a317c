"""One whole run with a deterministic meter, and what it hands over."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from deterministic_meter import deterministic_meter
from PIL import Image, ImageOps
from tiny_runs import (
    CLASSES,
    IMPOSSIBLE_MS,
    LOOSE_MS,
    TIGHT_MS,
    ListeningProgress,
    lines,
    result,
    settings,
    stages_done,
)  # fmt: skip

import nassuite
from nassuite.compress.prune import PruneRecord
from nassuite.errors import InputError
from nassuite.flow import budget_notes
from nassuite.latency.certificate import check
from nassuite.latency.meter import CALIBRATION, CERTIFICATE, Sampling
from nassuite.onnx_export import run_onnx
from nassuite.progress import SILENT
from nassuite.prune_settings import PruneSettings
from nassuite.pruning import prune_model
from nassuite.report import read_report
from nassuite.run_directory import STAGES, RunDirectory
from nassuite.settings import Settings
from nassuite.spec import Arch
from nassuite.study import search

BUDGETS = ("0.5ms", "0.08ms")


@pytest.fixture(scope="session", params=BUDGETS)
def deployed(tiny_run, request):
    return tiny_run.run / "deploy" / request.param


@pytest.fixture
def card(deployed):
    return json.loads((deployed / "card.json").read_text())


def classified(model: Path, file: Path, card: dict) -> int:
    """As the rule on the card says, with Pillow, numpy and onnxruntime alone."""
    size = card["preprocess"]["size"]
    image = ImageOps.exif_transpose(Image.open(file))
    if image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    image = image.convert("RGB" if card["preprocess"]["in_chans"] == 3 else "L")
    image = image.resize(
        [max(size, round(side * size / min(image.size))) for side in image.size], Image.BILINEAR
    )
    left, top = (image.width - size) // 2, (image.height - size) // 2
    pixels = np.asarray(image.crop((left, top, left + size, top + size)), np.float32) / 255
    pixels = pixels.reshape(size, size, -1).transpose(2, 0, 1)[None]
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return int(session.run(["logits"], {"image": pixels})[0][0].argmax())


def test_every_stage_is_done_once_and_in_order(tiny_run):
    assert stages_done(tiny_run.run) == list(STAGES)


def test_budgets_that_can_be_kept_have_a_model_and_the_impossible_one_has_none(tiny_run):
    loose, tight, impossible = tiny_run.outcome.results
    assert [r.budget_ms for r in tiny_run.outcome.results] == [LOOSE_MS, TIGHT_MS, IMPOSSIBLE_MS]
    for kept in (loose, tight):
        assert kept.chosen["verdict"] == "pass"
        assert kept.chosen["p50_ms"] <= kept.budget_ms
        assert kept.message == ""
    assert (impossible.chosen, impossible.folder, impossible.variants) == (None, None, ())
    assert not tiny_run.outcome.ok


def test_a_miss_names_the_fastest_and_by_how_much_it_misses(tiny_run):
    message = tiny_run.outcome.results[2].message
    finalists = json.loads((tiny_run.run / "finalists.json").read_text())["0.01"]["finalists"]
    measured = [(f["latency_ms"], f["arch"]) for f in finalists]
    samples = lines(tiny_run.run / "latency" / "samples.jsonl")
    measured += [(s["ratio"] * s["reference_ms"], s["arch"]) for s in samples]
    fastest, arch = min(measured, key=lambda pair: pair[0])
    assert f"takes {fastest:.3g} ms, {100 * (fastest / IMPOSSIBLE_MS - 1):.0f} % over" in message
    assert str(Arch.from_json(arch)) in message
    assert any("nothing will keep 0.01 ms" in said for said in tiny_run.said)


def test_budgets_that_are_no_milliseconds_are_refused_before_any_training(tiny_run, tmp_path):
    def tried(*budgets):
        search(
            settings(tiny_run.folder, *budgets),
            out=tmp_path / "run",
            meter=deterministic_meter,
            progress=SILENT,
        )

    with pytest.raises(
        InputError, match=r"^--budget-ms 1e-06 2e-06: budgets are in milliseconds, .* more than that"
    ):
        tried(1e-6, 2e-6)
    assert stages_done(tmp_path / "run") == []
    with pytest.raises(InputError, match="budgets are in milliseconds"):
        search(out=tmp_path / "run", resume=True, meter=deterministic_meter, progress=SILENT)


def test_a_budget_that_does_not_bind_is_told_with_the_latency_where_it_would(tiny_run):
    samples = lines(tiny_run.run / "latency" / "samples.jsonl")
    slowest = max(s["ratio"] * s["reference_ms"] for s in samples)
    (note,) = tiny_run.outcome.notes
    assert note.startswith("the budget of 0.5 ms does not bind")
    assert f"{slowest:.3g} ms" in note
    assert budget_notes([0.1, 0.3], [0.1, 0.2]) == budget_notes([0.3], [0.1, 0.2]) != []


def test_the_hand_over_is_complete(deployed, card):
    assert sorted(path.name for path in deployed.iterdir()) == [
        "card.json", "card.md", "certificate.json", "labels.txt", "model.fp32.onnx", "model.int8.onnx", "model.json",
        "model.onnx", "model.pruned.int8.onnx", "model.pruned.onnx", "model.pt2", "model.safetensors", "predict.py",
    ]  # fmt: skip
    assert (
        tuple((deployed / "labels.txt").read_text().splitlines())
        == tuple(card["labels"])
        == tuple(sorted(CLASSES))
    )
    (chosen,) = [v for v in card["variants"] if v["chosen"]]
    assert (deployed / "model.onnx").read_bytes() == (deployed / chosen["file"]).read_bytes()


def test_the_card_says_what_the_model_is_and_how_far_to_trust_it(deployed, card):
    text = (deployed / "card.md").read_text()
    titles = [line.removeprefix("## ") for line in text.splitlines() if line.startswith("## ")]
    assert titles == [
        "Latency certificate",
        "Test images, class by class",
        "Confusions on test",
        "Limits",
        "Files",
    ]
    certificate = json.loads((deployed / "certificate.json").read_text())
    told = card["certificate"]
    assert (told["verdict"], told["over"]) == (certificate["verdict"], certificate["over"][-1])
    assert told["samples"] == sum(map(len, certificate["measurement"]["samples_ms"]))
    assert (
        f"**{told['verdict']}**: p50 {told['percentile_ms']:.3g} ms against {card['budget_ms']:g} ms" in text
    )


def test_the_model_keeps_the_deploy_contract(deployed, card):
    model = onnx.load(deployed / "model.onnx", load_external_data=False)
    assert not any(t.data_location == onnx.TensorProto.EXTERNAL for t in model.graph.initializer)
    (image,), (logits,) = model.graph.input, model.graph.output
    assert (image.name, logits.name) == ("image", "logits")
    for value, shape in ((image, [3, 16, 16]), (logits, [4])):
        assert value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
        batch, *rest = value.type.tensor_type.shape.dim
        assert batch.dim_param == "N"
        assert [dim.dim_value for dim in rest] == shape
    assert card["input"]["shape"] == ["N", 3, 16, 16]
    session = onnxruntime.InferenceSession(deployed / "model.onnx", providers=["CPUExecutionProvider"])
    for count in (1, 5):
        images = np.random.default_rng(0).random((count, 3, 16, 16), dtype=np.float32)
        assert session.run(None, {"image": images})[0].shape == (count, 4)


def test_the_deployed_network_is_loaded_again(deployed, card):
    """In float32, also where the chosen file is int8."""
    shown = next((v for v in card["variants"] if v["chosen"]), None)
    cuts = json.loads((deployed / "model.json").read_text())["cuts"]
    if shown is not None:
        assert (cuts is not None) == shown["name"].startswith("pruned")
    images = np.random.default_rng(0).random((4, 3, 16, 16), dtype=np.float32)
    with torch.no_grad():
        logits = nassuite.load(deployed)(torch.from_numpy(images)).numpy()
    expected = run_onnx(deployed / ("model.fp32.onnx" if cuts is None else "model.pruned.onnx"), images)
    assert abs(logits - expected).max() < 1e-3 * max(1.0, abs(expected).max())


@pytest.mark.slow
def test_a_deployed_model_is_pruned_further(deployed, tmp_path):
    wanted = PruneSettings(model=str(deployed), target_macs=0.7, align="8", finetune_epochs=0)
    found = prune_model(wanted, out=tmp_path / "out", meter=deterministic_meter)
    assert found.rows[1].macs <= 0.7 * found.rows[0].macs
    images = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        logits = nassuite.load(tmp_path / "out")(images).numpy()
    assert abs(run_onnx(tmp_path / "out" / "model.onnx", images.numpy()) - logits).max() < 1e-3


def test_test_accuracy_on_the_card_is_that_of_the_image_files(tiny_run, deployed, card):
    files = sorted((tiny_run.folder / "photos" / "test").glob("*/*"))
    assert {file.suffix for file in files} == {".png", ".jpg"}
    for variant in card["variants"]:
        found = [card["labels"][classified(deployed / variant["file"], file, card)] for file in files]
        correct = sum(label == file.parent.name for label, file in zip(found, files, strict=True))
        assert (variant["test"]["correct"], variant["test"]["n"]) == (correct, len(files))
        assert variant["test"]["accuracy"] == correct / len(files)
        low, high = variant["test"]["interval"]
        assert low < correct / len(files) < high


def test_it_learned_something(card):
    chosen = next(v for v in card["variants"] if v["chosen"])
    assert chosen["test"]["interval"][0] > 0.25


def test_the_certificate_is_that_of_the_file_and_says_what_its_samples_say(deployed, card):
    certificate = json.loads((deployed / "certificate.json").read_text())
    assert check(certificate, deployed / "model.onnx") == "pass"
    assert certificate["budget_ms"] == card["budget_ms"]
    certificate["verdict"] = "fail"
    with pytest.raises(InputError, match="its samples say 'pass'"):
        check(certificate, deployed / "model.onnx")


def test_the_choice_is_the_best_of_those_that_pass_on_validation(card):
    passing = [v for v in card["variants"] if v["verdict"] == "pass"]
    chosen = next(v for v in card["variants"] if v["chosen"])
    assert chosen["val_accuracy"] == max(v["val_accuracy"] for v in passing)


def test_float_variants_agree_with_pytorch(card):
    for variant in card["variants"]:
        if "int8" not in variant["name"]:
            assert variant["parity"]["max_abs_diff"] < 1e-3
            assert variant["parity"]["top1_agreement"] == 1.0


def test_the_cuts_are_kept_beside_the_training(tiny_run, card):
    (path,) = (tiny_run.run / "training").glob("*-cuts.json")
    record = PruneRecord.from_json(json.loads(path.read_text()))
    assert json.loads(json.dumps(record.to_json())) == card["prune"]


def test_the_report_is_valid_and_tells_misses_first(tiny_run):
    content = read_report(tiny_run.run / "report")
    assert content.run.misses == (tiny_run.outcome.results[2].message,)
    assert content.run.notes == tiny_run.outcome.notes
    assert [d.budget_ms for d in content.deployed] == [LOOSE_MS, TIGHT_MS]
    assert len(content.evaluations) == 14
    assert list(content.run.seconds) == [stage for stage in STAGES if stage != "report"]
    page = (tiny_run.run / "report" / "index.html").read_text()
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_the_report_tells_where_the_time_goes_and_what_was_pruned(tiny_run, card):
    deployment = read_report(tiny_run.run / "report").deployed[0]
    times = deployment.times
    assert [name for name, _ in times.parts] == [cost.name for cost in deployment.costs]
    assert all(ms > 0 for _, ms in times.parts)
    assert sum(ms for _, ms in times.parts) <= times.total_ms
    assert times.variant == next(row["name"] for row in card["variants"] if row["chosen"])
    cut = {layer["layer"]: (layer["before"], layer["after"]) for layer in card["prune"]["pruned"]}
    assert {c.layer: (c.before, c.after) for c in deployment.cuts if not c.reason} == cut
    assert {c.layer for c in deployment.cuts if c.reason} == {c["layer"] for c in card["prune"]["kept"]}


def test_status_and_settings_of_the_run_are_in_its_study_file(tiny_run):
    found, facts = RunDirectory(tiny_run.run).read_settings()
    assert found.budget_ms == (LOOSE_MS, TIGHT_MS, IMPOSSIBLE_MS)
    assert (found.size, found.device, found.finetune_epochs) == (16, "cpu", 3)
    assert facts["command"] == "nassuite search"


class CountingMeter:
    def __init__(self) -> None:
        self.files: Counter[Sampling] = Counter()

    def __call__(self, paths, target, *, sampling=CERTIFICATE, progress=SILENT, seed=0):
        self.files[sampling] += len(paths)
        return deterministic_meter(paths, target, sampling=sampling)


def test_another_budget_reuses_the_supernet_and_the_samples(tiny_run, tmp_path, monkeypatch):
    """And a budget that nothing keeps leaves a valid report, even where nothing was worth evaluating."""
    monkeypatch.setattr(
        "nassuite.train.sandwich.draw_sandwich", lambda *_, **__: pytest.fail("a supernet step")
    )
    meter, progress = CountingMeter(), ListeningProgress()
    again = settings(tiny_run.folder, IMPOSSIBLE_MS)
    outcome = search(again, out=tmp_path / "run", reuse=tiny_run.run, meter=meter, progress=progress)
    assert meter.files[CALIBRATION] == 0
    assert result(tmp_path / "run").samples == result(tiny_run.run).samples
    for name in ("checkpoint.safetensors", "log.json"):
        theirs, ours = (run / "supernet" / name for run in (tiny_run.run, tmp_path / "run"))
        assert theirs.read_bytes() == ours.read_bytes()
    assert not outcome.ok
    assert outcome.results[0].message.startswith("no architecture keeps 0.01 ms: the fastest")
    content = read_report(tmp_path / "run" / "report")
    assert content.evaluations == content.deployed == ()
    assert stages_done(tmp_path / "run") == list(STAGES)


@pytest.mark.parametrize("what", ["data", "space", "classes"])
def test_a_supernet_is_not_reused_for_anything_else(tiny_run, tmp_path, what):
    folder = tmp_path / "other"
    folder.mkdir()
    changes = {}
    if what == "data":
        changes = {"data": "digits", "train_images": 100}
    elif what == "space":
        text = (tiny_run.folder / "space.toml").read_text()
        (folder / "space.toml").write_text(text.replace("width = [32]", "width = [40]"))
        changes = {"space": str(folder / "space.toml")}
    else:
        for name in CLASSES[:3]:
            (folder / "train").mkdir(exist_ok=True)
            (folder / "train" / name).symlink_to(tiny_run.folder / "photos" / "train" / name)
        changes = {"data": f"folder:{folder}"}
    with pytest.raises(InputError, match=r"--from .*: its (data|space) is not this run's"):
        search(
            settings(tiny_run.folder, TIGHT_MS, **changes), out=tmp_path / "run", reuse=tiny_run.run,
            meter=deterministic_meter, progress=SILENT,
        )  # fmt: skip
    assert not (tmp_path / "run").exists()


def test_a_run_without_a_trained_supernet_serves_no_other(tiny_run, tmp_path):
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "study.toml").write_bytes((tiny_run.run / "study.toml").read_bytes())
    with pytest.raises(InputError, match="its supernet is not trained yet"):
        search(
            settings(tiny_run.folder, TIGHT_MS), out=tmp_path / "run", reuse=tmp_path / "begun",
            meter=deterministic_meter, progress=SILENT,
        )  # fmt: skip
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": "nonsense"}, "unknown data 'nonsense'"),
        ({"space": "nonsense"}, "no search space 'nonsense'"),
        ({"device": "cuda"}, "no CUDA device"),
        ({"threads": 1000}, "--threads 1000"),
        ({"size": 24}, "--size 24: the space space is for 16 pixels"),
        ({"train_images": 3}, "3 training images for 4 classes"),
    ],
)
def test_what_is_refused_leaves_nothing_behind(tiny_run, tmp_path, monkeypatch, changes, message):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(InputError, match=message):
        search(
            settings(tiny_run.folder, TIGHT_MS, **changes), out=tmp_path / "runs" / "new",
            meter=deterministic_meter, progress=SILENT,
        )  # fmt: skip
    assert list(tmp_path.iterdir()) == []


def test_no_budget_is_refused(tmp_path):
    with pytest.raises(InputError, match="no latency budget"):
        search(Settings(), out=tmp_path / "run", meter=deterministic_meter)
    assert list(tmp_path.iterdir()) == []
