import numpy as np
import onnx
import pytest
import torch
from torch import nn

from nassuite.errors import InputError
from nassuite.nn.network import Interface, Network, build
from nassuite.onnx_export import (
    ParityError,
    export_onnx,
    export_torch,
    onnx_bytes,
    onnx_parity,
    run_onnx,
)
from nassuite.spec import DOWNSAMPLINGS, OPERATORS, Arch, BlockSpec, HeadSpec, StemSpec

SHAPE = (3, 32, 32)


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def network(op: str = "inverted_residual", **settings: object) -> Network:
    """A small network that has been trained enough for its batch norms to matter."""
    known = {name: value for name, value in settings.items() if name in OPERATORS[op]}
    if "expand" in OPERATORS[op]:
        known["expand"] = 2.0
    blocks = (
        BlockSpec(op, 16, 24, stride=2, **known),
        BlockSpec(op, 24, 24, shortcut="identity", **known),
    )
    arch = Arch(32, StemSpec(16, stride=2), (blocks,), HeadSpec(32))
    made = build(arch, Interface(3, 10, (0.4, 0.5, 0.6), (0.2, 0.3, 0.25)))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for tensor in made.parameters():
            tensor.add_(0.2 * torch.randn(tensor.shape, generator=generator))
        made.train()
        made(torch.rand(8, *SHAPE, generator=generator))
    return made


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.rand(7, *SHAPE, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("op", "act"),
    zip(
        sorted(set(OPERATORS) - set(DOWNSAMPLINGS)),
        ["relu", "silu", "gelu", "relu6", "hard_swish", "relu"],
        strict=True,
    ),
)
def test_every_operator_exports_and_agrees_with_pytorch(op, act, images, tmp_path):
    model = network(op, act=act, se=True)
    parity = export_onnx(model, tmp_path / "model.onnx", input_shape=SHAPE, images=images)
    assert parity.images == 7
    assert parity.max_abs_diff <= 1e-4 * max(1.0, parity.scale)
    assert parity.top1_agreement == 1.0
    assert parity.size_bytes == (tmp_path / "model.onnx").stat().st_size
    assert parity.scale > 0.01


def test_the_file_keeps_the_deploy_contract(tmp_path):
    export_onnx(network(), tmp_path / "model.onnx", input_shape=SHAPE)
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
    model = onnx.load(tmp_path / "model.onnx")
    onnx.checker.check_model(model, full_check=True)
    (image,), (logits,) = model.graph.input, model.graph.output
    assert (image.name, logits.name) == ("image", "logits")
    assert [d.dim_value or "free" for d in image.type.tensor_type.shape.dim] == ["free", 3, 32, 32]
    assert [d.dim_value or "free" for d in logits.type.tensor_type.shape.dim] == ["free", 10]
    assert model.opset_import[0].version >= 17
    assert "BatchNormalization" not in {node.op_type for node in model.graph.node}


def test_any_batch_size_runs_and_batches_do_not_matter(images, tmp_path):
    export_onnx(network("shuffle"), tmp_path / "model.onnx", input_shape=SHAPE)
    whole = run_onnx(tmp_path / "model.onnx", images.numpy())
    for batch in (1, 3):
        parts = run_onnx(tmp_path / "model.onnx", images.numpy(), batch=batch, threads=1)
        np.testing.assert_allclose(parts, whole, atol=1e-5)


def test_the_model_is_left_as_it_was(tmp_path):
    model = network().train()
    model.stem.eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    export_onnx(model, tmp_path / "model.onnx", input_shape=SHAPE)
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_unchecked_export_writes_the_same_file(tmp_path):
    model = network()
    export_onnx(model, tmp_path / "a.onnx", input_shape=SHAPE)
    assert export_onnx(model, tmp_path / "b.onnx", input_shape=SHAPE, check=False) is None
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


def test_a_file_of_another_model_has_no_parity(images):
    model, other = network(), network(act="hard_swish")
    with pytest.raises(ParityError, match="differs from PyTorch"):
        onnx_parity(model, onnx_bytes(other, SHAPE), input_shape=SHAPE, images=images)
    loose = onnx_parity(
        model, onnx_bytes(other, SHAPE), input_shape=SHAPE, images=images, tolerance=float("inf")
    )
    assert loose.max_abs_diff > 1e-3


class FixedBatch(nn.Module):
    """Takes the batch size as a number while it is traced."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1)[:, :10] + torch.zeros(int(x.shape[0]), 10)


def test_a_swallowed_batch_size_is_found_and_nothing_is_written(tmp_path):
    with pytest.raises(ParityError):
        export_onnx(FixedBatch(), tmp_path / "model.onnx", input_shape=SHAPE)
    assert not list(tmp_path.iterdir())


class Unwritable(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.linalg.eigvalsh(x.mean(1)).flatten(1)


def test_an_operator_without_onnx_form_is_named(tmp_path):
    with pytest.raises(InputError, match="eigvalsh"):
        export_onnx(Unwritable(), tmp_path / "model.onnx", input_shape=SHAPE)


def test_no_model_is_bad_input(tmp_path, images):
    (tmp_path / "text.onnx").write_text("no model")
    for file in (tmp_path / "absent.onnx", tmp_path / "text.onnx", b"nothing"):
        with pytest.raises(InputError, match="no ONNX model"):
            run_onnx(file, images.numpy())


def test_torch_export_gives_the_same_at_any_batch_size(images, tmp_path):
    model = network("ghost").train()
    export_torch(model, tmp_path / "model.pt2", input_shape=SHAPE)
    assert model.training
    loaded = torch.export.load(tmp_path / "model.pt2").module()
    model.eval()
    with torch.no_grad():
        for n in (1, 7):
            torch.testing.assert_close(loaded(images[:n]), model(images[:n]), atol=1e-6, rtol=1e-5)
