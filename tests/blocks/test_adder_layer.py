"""The adder layer against its definition in float64, one number at a time."""

import io

import pytest
import torch
from torch import nn

from nassuite.blocks import adder
from nassuite.blocks.adder import AdderBN, AdderConv2d, scale_adder_gradients
from nassuite.onnx_export import onnx_bytes, onnx_parity

SHAPES = [
    ((3, 1, 1), (5, 4)),
    ((3, 2, 1), (5, 6)),
    ((1, 2, 0), (5, 5)),
    ((3, 2, 0), (6, 7)),
    ((5, 1, 2), (4, 4)),
]
"""Kernel, stride and padding of the layer; height and width of the image."""


def made(kernel, stride, padding, *, inputs=3, outputs=4):
    layer = AdderConv2d(inputs, outputs, kernel, stride=stride, padding=padding)
    layer.draw_weights(torch.Generator().manual_seed(1))
    return layer


def image(height, width, *, seed=0, inputs=3, n=2):
    return 1.5 * torch.randn(n, inputs, height, width, generator=torch.Generator().manual_seed(seed))


def slow(x, weight, grad, stride, padding):
    """Outputs, weight gradient and input gradient (equations 2, 5, 6) by loops."""
    x, weight = x.detach().double(), weight.detach().double()
    padded = nn.functional.pad(x, (padding,) * 4)
    outputs, _, kernel, _ = weight.shape
    height = (padded.shape[2] - kernel) // stride + 1
    width = (padded.shape[3] - kernel) // stride + 1
    out = torch.zeros(len(x), outputs, height, width, dtype=torch.float64)
    grad_weight, grad_padded = torch.zeros_like(weight), torch.zeros_like(padded)
    for n in range(len(x)):
        for o in range(outputs):
            for i in range(height):
                for j in range(width):
                    rows = slice(i * stride, i * stride + kernel)
                    columns = slice(j * stride, j * stride + kernel)
                    difference = padded[n, :, rows, columns] - weight[o]
                    out[n, o, i, j] = -difference.abs().sum()
                    if grad is not None:
                        grad_weight[o] += grad[n, o, i, j] * difference
                        grad_padded[n, :, rows, columns] += grad[n, o, i, j] * (-difference).clamp(-1, 1)
    inner = grad_padded[:, :, padding : padding + x.shape[2], padding : padding + x.shape[3]]
    return out, grad_weight, inner


@pytest.mark.parametrize("blocks", ["one", "many"])
@pytest.mark.parametrize(("shape", "size"), SHAPES)
def test_outputs_and_gradients_are_the_definition(shape, size, blocks, monkeypatch):
    if blocks == "many":  # one image, and a few rows, at a time
        monkeypatch.setattr(adder, "PATCH_NUMBERS", 1)
        monkeypatch.setattr(adder, "DIFFERENCE_NUMBERS", {"cpu": 5 * 4 * 3 * shape[0] ** 2})
    layer = made(*shape).double()
    x = image(*size).double().requires_grad_()
    out = layer(x)
    grad = torch.randn(out.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    out.backward(grad)
    expected, grad_weight, grad_x = slow(x, layer.weight, grad, *shape[1:])
    torch.testing.assert_close(out.detach(), expected)
    torch.testing.assert_close(layer.weight.grad, grad_weight)
    torch.testing.assert_close(x.grad, grad_x)
    assert (grad_x.abs() > 0).any()


def test_float32_agrees_with_float64():
    layer = made(3, 1, 1)
    x = image(5, 5)
    expected, _, _ = slow(x, layer.weight, None, 1, 1)
    torch.testing.assert_close(layer(x).double(), expected, rtol=1e-5, atol=1e-4)


def test_only_the_gradients_that_are_asked_for():
    layer = made(3, 1, 1)
    layer(image(4, 4)).sum().backward()
    assert layer.weight.grad is not None
    frozen = made(3, 1, 1).requires_grad_(False)
    x = image(4, 4).requires_grad_()
    frozen(x).sum().backward()
    assert x.grad is not None
    assert frozen.weight.grad is None


def test_memory_of_a_training_step_is_bounded(monkeypatch):
    """The definition's differences of this batch would be 64 * 64 * 9 * 144 * 8 = 42 million numbers."""
    sizes = []

    class Recorder(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
            out = function(*arguments, **(keywords or {}))
            if isinstance(out, torch.Tensor):
                sizes.append(out.untyped_storage().nbytes() // out.element_size())
            return out

    monkeypatch.setattr(adder, "PATCH_NUMBERS", 2**17)
    layer = made(3, 1, 1, inputs=64, outputs=64)
    with Recorder():
        layer(image(12, 12, inputs=64, n=8).requires_grad_()).sum().backward()
    assert max(sizes) <= 2**18


@pytest.mark.parametrize(("shape", "size"), SHAPES)
def test_the_traced_graph_computes_the_same(shape, size, monkeypatch):
    monkeypatch.setattr(adder, "TRACED_NUMBERS", 2 * 4 * size[0] * size[1])  # blocks of two or more
    layer = made(*shape)
    with torch.no_grad():
        traced = torch.jit.trace(layer, image(*size), check_trace=False)
        for n in (1, 3):
            x = image(*size, n=n, seed=n)
            torch.testing.assert_close(traced(x), layer(x))


@pytest.mark.parametrize(
    "numbers", [2**22, 2 * 4 * 9]
)  # one block; blocks of 2 and of 4 numbers of 3 * 9 and 4
def test_onnx_takes_any_batch(numbers, monkeypatch):
    monkeypatch.setattr(adder, "TRACED_NUMBERS", numbers)
    model = nn.Sequential(AdderBN(3, 4, 3, stride=2), AdderBN(4, 2))
    parity = onnx_parity(model, onnx_bytes(model, (3, 6, 6)), input_shape=(3, 6, 6))
    assert parity.max_abs_diff < 1e-4
    assert parity.scale > 1


@pytest.mark.slow
def test_torch_export_takes_any_batch():
    layer = made(3, 1, 1).eval()
    shapes = ({0: torch.export.Dim("N", min=1)},)
    program = torch.export.export(layer, (image(5, 5),), dynamic_shapes=shapes)
    file = io.BytesIO()
    torch.export.save(program, file)
    x = image(5, 5, n=5)
    torch.testing.assert_close(program.module()(x), layer(x))


def test_local_learning_rate_gives_every_layer_the_same_norm_per_weight():
    network = nn.Sequential(made(3, 1, 1), made(3, 1, 1, inputs=4, outputs=6), nn.Conv2d(6, 2, 1))
    network(image(5, 5)).square().mean().backward()
    before = [p.grad.clone() for p in network.parameters()]
    scale_adder_gradients(network, eta=0.1)
    for parameter, old in list(zip(network.parameters(), before, strict=True))[:2]:
        torch.testing.assert_close(parameter.grad.norm(), torch.tensor(0.1 * parameter.numel() ** 0.5))
        torch.testing.assert_close(parameter.grad / parameter.grad.norm(), old / old.norm())
    torch.testing.assert_close(network[2].weight.grad, before[2])


def test_local_learning_rate_leaves_a_zero_gradient_zero():
    layer = made(3, 1, 1)
    layer.weight.grad = torch.zeros_like(layer.weight)
    scale_adder_gradients(layer)
    assert not layer.weight.grad.any()


def test_it_costs_no_multiplications_and_runs_on_meta():
    with torch.device("meta"):
        layer = AdderConv2d(3, 4, 3, stride=2, padding=1)
        assert layer(torch.empty(2, 3, 7, 8)).shape == (2, 4, 4, 4)
