"""ONNX graphs as modules that learn: the same outputs, gradients through rounding, and back into the file."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from torch.nn import functional as F

from nassuite.compress.graph_module import GraphModule, _fake_quantise
from nassuite.compress.quantize import QuantizeConfig, int8_bytes
from nassuite.errors import InputError
from nassuite.onnx_export import onnx_bytes, run_onnx

SHAPE = (1, 16, 16)
KINDS = {
    "plain": ("inverted_residual", {"act": "relu6"}),
    "attention": ("inverted_residual", {"act": "hard_swish", "se": True}),
    "shuffle": ("shuffle", {"act": "relu"}),
    "ghost": ("ghost", {"act": "silu"}),
}


def literal(file, images):
    """ONNX Runtime as the standard says it, without integer kernels."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = ort.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    return session.run(None, {"image": images})[0]


@pytest.fixture(scope="module", params=sorted(KINDS))
def dense(request, make_network, tmp_path_factory):
    op, settings = KINDS[request.param]
    network = make_network(op, **settings)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
        network.train()
        for _ in range(5):
            network(torch.rand(16, *SHAPE, generator=generator))
    path = tmp_path_factory.mktemp(request.param) / "model.onnx"
    path.write_bytes(onnx_bytes(network, SHAPE))
    return path


@pytest.fixture(scope="module")
def images():
    return torch.rand(64, *SHAPE, generator=torch.Generator().manual_seed(1))


def module_of(content):
    return GraphModule(onnx.load_from_string(content)).eval()


def constants(content):
    graph = onnx.load_from_string(content).graph
    return {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}


def assert_alike(found, expected):
    """Equal but for values that lie on the edge between two integers, where the last bit of float32 decides."""
    difference = np.abs(found - expected).max(1)
    scale = np.abs(expected).max()
    assert np.median(difference) < 0.01 * scale
    assert difference.max() < 0.1 * scale
    assert (found.argmax(1) == expected.argmax(1)).mean() > 0.95


def test_a_float_graph_gives_the_outputs_of_the_runtime(dense, images):
    with torch.no_grad():
        found = module_of(dense.read_bytes())(images).numpy()
    np.testing.assert_allclose(found, run_onnx(dense, images.numpy()), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("activation", ["uint8", "int8"])
def test_a_quantised_graph_rounds_as_the_runtime_does(dense, images, activation):
    file = int8_bytes(dense, images[:32].numpy(), QuantizeConfig(activation=activation))
    module = module_of(file)
    with torch.no_grad():
        found = module(images).numpy()
    assert_alike(found, literal(file, images.numpy()))
    before, after = constants(file), constants(module.to_onnx())
    assert all(np.array_equal(before[name], after[name]) for name in before)  # nothing learned, nothing moved


def test_what_was_learned_is_what_the_file_computes(dense, images):
    file = int8_bytes(dense, images[:32].numpy(), QuantizeConfig())
    module, target = module_of(file), torch.arange(64) % 10
    optimiser = torch.optim.SGD(module.parameters(), 0.05, momentum=0.9)
    losses = []
    for _ in range(12):
        optimiser.zero_grad()
        loss = F.cross_entropy(module(images), target)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    learned = module.to_onnx()
    assert learned != file
    with torch.no_grad():
        found = module(images).numpy()
    assert_alike(found, literal(learned, images.numpy()))
    assert_alike(run_onnx(learned, images.numpy()), literal(learned, images.numpy()))
    before, after = constants(file), constants(learned)
    changed = {name for name in before if not np.array_equal(before[name], after[name])}
    assert changed <= set(module.learned)
    assert all(before[name].dtype == after[name].dtype for name in before)


def test_rounding_goes_to_even_clips_and_lets_gradients_through_inside():
    x = torch.tensor([-9.0, 0.25, 0.75, 1.2, 300.0], requires_grad=True)
    scale, zero = torch.tensor(0.5), torch.tensor(3, dtype=torch.uint8)
    found = _fake_quantise([x, scale, zero], {}, (0, 255))
    assert found.tolist() == [-1.5, 0.0, 1.0, 1.0, 126.0]
    found.sum().backward()
    assert x.grad.tolist() == [0, 1, 1, 1, 0]


def test_an_operator_without_a_training_form_is_named():
    node = onnx.helper.make_node("CumSum", ["image", "axis"], ["logits"])
    value = [
        onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, ["N", 4]) for n in ("image", "logits")
    ]
    axis = onnx.numpy_helper.from_array(np.array(1), "axis")
    graph = onnx.helper.make_graph([node], "g", value[:1], value[1:], [axis])
    with pytest.raises(InputError, match="operator CumSum"):
        GraphModule(onnx.helper.make_model(graph))
