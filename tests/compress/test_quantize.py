import logging

import numpy as np
import onnx
import pytest
import torch

from nassuite.compress.quantize import QuantizeConfig, int8_bytes, quantize_best, quantize_int8
from nassuite.errors import InputError
from nassuite.onnx_export import export_onnx, run_onnx

SHAPE = (1, 16, 16)
KINDS = {
    "plain": ("inverted_residual", {"act": "relu6"}),
    "attention": ("inverted_residual", {"act": "hard_swish", "se": True}),
}


@pytest.fixture(scope="module", params=sorted(KINDS))
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def float_file(kind, trained, tmp_path_factory):
    op, settings = KINDS[kind]
    path = tmp_path_factory.mktemp(kind) / "model.onnx"
    export_onnx(trained(op, **settings), path, input_shape=SHAPE)
    return path


def agreement(a, b):
    return float((a.argmax(1) == b.argmax(1)).mean())


@pytest.mark.parametrize("method", ["minmax", "percentile", "entropy"])
def test_int8_agrees_with_float_on_digits(method, float_file, digits, tmp_path):
    train_images, _, images, labels = digits
    out = quantize_int8(float_file, tmp_path / "int8.onnx", train_images[:100].numpy(), method=method)
    expected, found = run_onnx(float_file, images.numpy()), run_onnx(out, images.numpy())
    assert agreement(expected, found) >= 0.97
    right = float((found.argmax(1) == labels.numpy()).mean())
    assert right >= float((expected.argmax(1) == labels.numpy()).mean()) - 0.02
    assert [path.name for path in tmp_path.iterdir()] == ["int8.onnx"]


def test_the_format_is_unsigned_activations_and_signed_weights_per_channel(float_file, digits):
    model = onnx.load_from_string(int8_bytes(float_file, digits[0][:32].numpy(), QuantizeConfig()))
    onnx.checker.check_model(model)
    (image,), (logits,) = model.graph.input, model.graph.output
    assert (image.name, logits.name) == ("image", "logits")
    assert [d.dim_value or "free" for d in image.type.tensor_type.shape.dim] == ["free", *SHAPE]
    tensors = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    producers = {output: node for node in model.graph.node for output in node.output}
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    assert convolutions
    for node in convolutions:
        activation, weight = (producers[name] for name in node.input[:2])
        assert {activation.op_type, weight.op_type} == {"DequantizeLinear"}
        assert tensors[activation.input[2]].dtype == np.uint8
        assert tensors[weight.input[0]].dtype == np.int8
        assert tensors[weight.input[1]].shape == (len(tensors[weight.input[0]]),)
    # The normalisation of the image is not quantised.
    assert all(node.input[0] == "image" for node in model.graph.node if node.op_type == "Sub")


def test_excluded_nodes_stay_in_float(trained, digits, tmp_path):
    op, settings = KINDS["attention"]
    path = tmp_path / "model.onnx"
    export_onnx(trained(op, **settings), path, input_shape=SHAPE)
    calibration = digits[0][:32].numpy()

    def float_weights(*exclude):
        model = onnx.load_from_string(int8_bytes(path, calibration, QuantizeConfig(exclude=exclude)))
        producers = {output for node in model.graph.node for output in node.output}
        weights = [node.input[1] for node in model.graph.node if node.op_type in ("Conv", "Gemm")]
        return sorted(name for name in weights if name not in producers)

    assert float_weights() == []
    assert len(float_weights("squeeze-excite")) == 6  # two convolutions in each of three blocks
    assert all(".se." in name for name in float_weights("squeeze-excite"))
    assert len(float_weights("Gemm")) == 1


def test_the_best_settings_are_written(float_file, kind, digits, tmp_path):
    images = digits[2][:200].numpy()
    expected = run_onnx(float_file, images)

    def score(file):
        return agreement(expected, run_onnx(file, images))

    best, scores = quantize_best(float_file, tmp_path / "int8.onnx", digits[0][:50].numpy(), score=score)
    assert scores[best] == max(scores.values())
    assert score((tmp_path / "int8.onnx").read_bytes()) == scores[best]
    # Without attention there is nothing to exclude, so half of the candidates are the other half again.
    assert len(scores) == {"plain": 2, "attention": 4}[kind]


def test_calibration_sees_every_image_also_in_an_incomplete_batch(trained, digits, tmp_path):
    op, settings = KINDS["plain"]
    path = tmp_path / "model.onnx"
    export_onnx(trained(op, **settings), path, input_shape=SHAPE)
    dark = np.zeros((17, *SHAPE), dtype=np.float32)
    lit = dark.copy()
    lit[16] = digits[0][0].numpy()

    def first_scale(calibration):
        model = onnx.load_from_string(int8_bytes(path, calibration, QuantizeConfig()))
        tensors = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
        quantize = next(node for node in model.graph.node if node.op_type == "QuantizeLinear")
        return float(tensors[quantize.input[1]])

    assert first_scale(lit) > 1.5 * first_scale(dark)


def test_quiet_and_logging_is_left_as_it_was(float_file, digits, capfd):
    before = logging.root.manager.disable
    int8_bytes(float_file, digits[0][:20].numpy(), QuantizeConfig("percentile"))
    assert logging.root.manager.disable == before
    assert capfd.readouterr() == ("", "")


def test_bad_input(float_file, tmp_path):
    good = torch.rand(2, *SHAPE).numpy()
    with pytest.raises(InputError, match="'kl' is none of minmax"):
        QuantizeConfig("kl")
    with pytest.raises(InputError, match="no such file"):
        quantize_int8(tmp_path / "absent.onnx", tmp_path / "out.onnx", good)
    for images in (good[:0], good[:, :, :8], good[0]):
        with pytest.raises(InputError, match="calibration images of shape"):
            quantize_int8(float_file, tmp_path / "out.onnx", images)
    assert not list(tmp_path.iterdir())
