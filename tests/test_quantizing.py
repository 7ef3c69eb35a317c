"""nassuite quantize: what is tried, what is chosen, from which inputs, and refusals."""

import dataclasses
import json
import shutil
from contextlib import contextmanager

import numpy as np
import onnx
import pytest
import torch
from deterministic_meter import deterministic_meter
from hypothesis import given
from hypothesis import strategies as st
from tiny_runs import InterruptingProgress, Interruption
from torch import nn

from nassuite import int8_candidates, quantizing
from nassuite.blocks.layers import ConvBN
from nassuite.cli import main
from nassuite.compress.quantize import QuantizeConfig, keep_sensitive, quantizer, sensitivities
from nassuite.errors import InputError
from nassuite.models import Description, save_model
from nassuite.nn.network import Normalised
from nassuite.onnx_export import export_onnx, run_onnx
from nassuite.quantizing import Variant, choose, quantize
from nassuite.train_settings import TrainSettings
from nassuite.training import train_model

TRAINING = TrainSettings(
    model="mobilenet_v2(width_mult=0.1, stem_stride=1)", data="digits", size=16, train_images=256, epochs=3,
    batch_size=32,
)  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return train_model(TRAINING, out=tmp_path_factory.mktemp("trained") / "run").folder


def int8_is_twice_as_fast(paths, target, **settings):
    """By the deterministic meter int8 files, which have more nodes, would be slower."""
    found = deterministic_meter(paths, target, **settings)
    dense = found[0].ratio
    faster = {True: 0.5 * dense, False: dense}
    return [
        dataclasses.replace(m, ratio=r, ratio_low=0.99 * r, ratio_high=1.01 * r)
        for m, r in ((m, faster["8" in m.file]) for m in found)
    ]


def test_the_fastest_that_keeps_the_accuracy_is_kept(trained, tmp_path, capsys):
    found = quantize(trained, out=tmp_path / "out", max_drop=5.0, meter=int8_is_twice_as_fast)
    names = [variant.name for variant in found.variants]
    assert names[:2] == ["fp32", "u8s8"]
    assert "s8s8" in names
    best = next(variant for variant in found.variants if variant.name == found.chosen)
    assert found.variants[0].val - best.val <= 0.05
    assert best.speedup == pytest.approx(2)
    model = tmp_path / "out" / "model.onnx"
    assert model.read_bytes() == (tmp_path / "out" / best.file).read_bytes()
    assert best.size_bytes < 0.7 * found.variants[0].size_bytes
    record = json.loads((tmp_path / "out" / "quantize.json").read_text())
    assert record["chosen"] == found.chosen
    card = json.loads((tmp_path / "out" / "card.json").read_text())
    assert sum(map(sum, card["test"]["confusion"])) == card["test"]["n"]
    assert card["test"]["accuracy"] == best.test
    text = (tmp_path / "out" / "card.md").read_text()
    assert "points lost" in text
    assert f"that of {card['test']['n']} test images, which were read once" in text

    # What was quantised is a deploy folder: its float file is found again, and it is slower here than it was.
    again = quantize(
        tmp_path / "out", out=tmp_path / "again", data="digits", max_drop=5.0, meter=deterministic_meter
    )
    assert again.chosen == "fp32"
    assert again.variants[0].val == pytest.approx(found.variants[0].val, abs=0.05)
    fp32 = (tmp_path / "out" / "model.fp32.onnx").read_bytes()
    assert (tmp_path / "again" / "model.onnx").read_bytes() == fp32


@pytest.mark.slow
def test_layers_are_kept_in_float_until_it_is_enough(trained, tmp_path):
    images = torch.rand(24, 1, 16, 16, generator=torch.Generator().manual_seed(0)).numpy()
    expected = run_onnx(trained / "model.onnx", images)
    config = QuantizeConfig()

    def error(file):
        return float(np.mean((run_onnx(file, images) - expected) ** 2))

    with quantizer(trained / "model.onnx", images) as made:
        layers = made.layers()[:4]
        whole = made.int8(config)
        errors = sensitivities(made, config, lambda file: run_onnx(file, images), expected)
        assert list(errors) == made.layers()
        assert min(errors.values()) < error(whole)
        for layer in layers[:2]:
            alone = made.int8(dataclasses.replace(config, exclude=(layer,)))
            assert error(alone) == pytest.approx(errors[layer])
        asked = []

        def enough(file):
            asked.append(file)
            return len(asked) == 2

        mixed, file = keep_sensitive(made, config, layers, enough)
        assert mixed.exclude == tuple(layers[:2])
        assert file == asked[-1]
        everything, file = keep_sensitive(made, config, made.layers(), lambda file: False)
        assert len(everything.exclude) == len(made.layers())
        assert error(file) < error(whole)
        # The ranges of a method are found once; the file is what a fresh calibration gives.
        with quantizer(trained / "model.onnx", images) as fresh:
            assert fresh.int8(mixed) == asked[-1]


@contextmanager
def losing():
    """Every variant loses too much, and two layers are in doubt."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            int8_candidates, "sensitivities", lambda made, *_: dict.fromkeys(made.layers()[:2], 0.0)
        )
        patch.setattr(int8_candidates, "FORMATS", {"u8s8": "uint8"})
        for module in (int8_candidates, quantizing):
            patch.setattr(module, "points_lost", lambda val, dense: 1.0)
        yield patch


FEW = {"finetune_epochs": 2, "batch_size": 32, "calibration_images": 32}


def few_layers(num_classes, in_chans):
    return nn.Sequential(
        ConvBN(in_chans, 8, 3, stride=2, act="relu"), ConvBN(8, 8, 3, groups=8, act="relu"), ConvBN(8, 16, 1),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, num_classes),
    )  # fmt: skip


@pytest.fixture(scope="module")
def untrained(tmp_path_factory):
    """The folder of a training, but for the training, of a network that is soon quantised."""
    folder, name = tmp_path_factory.mktemp("untrained"), f"{__name__}:few_layers"
    torch.manual_seed(0)
    model = Normalised(few_layers(10, 1), (0.3,), (0.3,))
    labels = tuple(map(str, range(10)))
    images = {"name": "digits", "seed": 0, "train_images": 256}
    save_model(folder, model, Description(name, 10, 1, 16, (0.3,), (0.3,), labels, trained_on=images))
    return folder


@pytest.fixture(scope="module")
def whole(untrained, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "run"
    with losing():
        return quantize(untrained, out=out, meter=int8_is_twice_as_fast, **FEW)


def test_too_great_a_loss_brings_a_mixed_variant(whole, untrained, tmp_path):
    found = whole
    assert [variant.name for variant in found.variants] == ["fp32", "u8s8", "u8s8-mixed", "u8s8-tuned"]
    static, tuned = (onnx.load(found.folder / f"model.u8s8{kind}.onnx") for kind in ("", "-tuned"))
    assert static.graph.node == tuned.graph.node
    assert static.graph.initializer != tuned.graph.initializer
    assert tuned.ByteSize() == pytest.approx(static.ByteSize(), rel=0.01)
    with losing():
        flags = {**FEW, "finetune_epochs": 0}
        untuned = quantize(untrained, out=tmp_path / "untuned", meter=int8_is_twice_as_fast, **flags)
    assert [variant.name for variant in untuned.variants] == ["fp32", "u8s8", "u8s8-mixed"]
    assert len(found.variants[2].kept) == 2
    assert found.chosen == "fp32"  # nothing keeps the accuracy


def test_an_interrupted_quantisation_goes_on_to_the_same_end(whole, untrained, tmp_path, capsys):
    """Stopped while layers are looked for, in the fine-tuning, and while the files are measured."""
    out, asked = tmp_path / "run", []
    original = int8_candidates.keep_sensitive

    def stopped_once(*arguments):
        asked.append(1)
        if len(asked) == 1:
            raise Interruption
        return original(*arguments)

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    with losing() as patch:
        patch.setattr(int8_candidates, "keep_sensitive", stopped_once)
        with pytest.raises(Interruption):
            quantize(untrained, out=out, meter=interrupted, **FEW)
        # In the second epoch: the first one's checkpoint is there.
        progress = InterruptingProgress({"fine-tuning in int8": 11})
        with pytest.raises(Interruption):
            quantize(out=out, resume=True, meter=interrupted, progress=progress)
        patch.setattr(
            int8_candidates, "sensitivities", lambda *_: pytest.fail("what was known is found again")
        )
        with patch.context() as in_the_end:
            in_the_end.setattr(quantizing, "_finish", interrupted)
            assert main(["quantize", "--resume", str(out)]) == 130
        assert f"go on with: nassuite quantize --resume {out}" in capsys.readouterr().err
        again = quantize(out=out, resume=True, meter=int8_is_twice_as_fast)
    assert len(asked) == 2
    assert again.variants == whole.variants
    assert again.chosen == whole.chosen
    names = {path.name for path in whole.folder.glob("model*")}
    assert {"model.onnx", "model.u8s8-tuned.onnx"} <= names
    for name in names:
        assert (out / name).read_bytes() == (whole.folder / name).read_bytes()
    # Finished, it is told again and not touched; it is not begun anew either.
    assert quantize(out=out, resume=True, meter=interrupted) == again
    with pytest.raises(InputError, match=f"--out {out} is a finished quantisation: give"):
        quantize(untrained, out=out, meter=interrupted)


def test_signed_activations_have_signed_zero_points(trained):
    images = torch.rand(8, 1, 16, 16).numpy()
    kinds = {}
    with quantizer(trained / "model.onnx", images) as made:
        for activation in ("uint8", "int8"):
            graph = onnx.load_from_string(made.int8(QuantizeConfig(activation=activation))).graph
            tensors = {t.name: onnx.numpy_helper.to_array(t).dtype.name for t in graph.initializer}
            kinds[activation] = {tensors[n.input[2]] for n in graph.node if n.op_type == "QuantizeLinear"}
    assert kinds == {"uint8": {"uint8"}, "int8": {"int8"}}
    with pytest.raises(InputError, match="'uint4' are none of uint8, int8"):
        QuantizeConfig(activation="uint4")


def variant(name, val, speedup):
    low, high = 0.98 * speedup, 1.02 * speedup
    return Variant(name, "", "", (), val, 0, (0, 1), 1, 1, speedup, low, high, 1)


@given(
    st.lists(st.tuples(st.integers(0, 100), st.floats(0.2, 4)), max_size=6),
    st.integers(0, 100),
    st.integers(0, 10),
)
def test_the_choice_is_never_slower_and_never_loses_more(others, val, drop):
    dense = variant("fp32", val / 100, 1.0)
    variants = [dense, *(variant(str(n), v / 100, s) for n, (v, s) in enumerate(others))]
    chosen = choose(variants, drop)
    assert chosen is dense or (chosen.speedup_low > 1 and round(100 * chosen.val) >= val - drop)
    for other in variants[1:]:
        if other.speedup_low > 1 and round(100 * other.val) >= val - drop:
            assert chosen.speedup >= other.speedup


def test_an_onnx_file_is_quantised_as_it_is(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(int8_candidates, "FORMATS", {"u8s8": "uint8"})
    shutil.copy(trained / "model.onnx", tmp_path / "some.onnx")
    found = quantize(
        tmp_path / "some.onnx",
        out=tmp_path / "out",
        data="digits",
        max_drop=50.0,
        meter=int8_is_twice_as_fast,
    )
    assert found.chosen == "u8s8"
    assert (tmp_path / "out" / "model.fp32.onnx").read_bytes() == (tmp_path / "some.onnx").read_bytes()


def test_refused_in_one_line(trained, tmp_path, capsys):
    wide = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(1, 4))
    export_onnx(wide, tmp_path / "wide.onnx", input_shape=(1, 16, 16))
    (tmp_path / "text.onnx").write_text("no model")
    with quantizer(trained / "model.onnx", np.zeros((1, 1, 16, 16), np.float32)) as made:
        (tmp_path / "int8.onnx").write_bytes(made.int8(QuantizeConfig()))
    cases = [
        ([str(trained), "--max-drop", "-1"], "--max-drop -1"),
        ([str(trained), "--data", "folder:/nowhere"], "/nowhere"),
        ([str(tmp_path / "absent.onnx"), "--data", "digits"], "expected the folder of a training"),
        ([str(tmp_path), "--data", "digits"], "holds no model"),
        ([str(tmp_path / "wide.onnx")], "give --data"),
        ([str(tmp_path / "wide.onnx"), "--data", "digits"], "knows 4 classes"),
        ([str(tmp_path / "text.onnx"), "--data", "digits"], "no ONNX model"),
        ([str(tmp_path / "int8.onnx"), "--data", "digits"], "quantised already"),
        ([], "no model: give a MODEL"),
    ]
    for words, message in cases:
        assert main(["quantize", *words, "--out", str(tmp_path / "out")]) == 2
        said = capsys.readouterr().err.strip()
        assert message in said
        assert len(said.splitlines()) == 1
        assert not (tmp_path / "out").exists()
    for words, message in (
        (["--resume", str(trained)], "is a finished training, no quantisation"),
        (["--resume", str(trained), "--max-drop", "2"], "leave out --max-drop"),
        ([str(trained), "--resume", str(tmp_path)], f"leave out {trained}"),
    ):
        assert main(["quantize", *words]) == 2
        assert message in capsys.readouterr().err
