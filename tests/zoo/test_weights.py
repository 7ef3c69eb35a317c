"""Files of weights: what is read, what is refused, and that nothing is loaded by halves."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from nassuite.errors import InputError
from nassuite.zoo import weights
from nassuite.zoo.converters import Source
from nassuite.zoo.create import create_model
from nassuite.zoo.weights import load_weights, match_weights, read_weights

State = dict[str, Tensor]


def lenet(seed: int = 0, num_classes: int = 10) -> nn.Module:
    return create_model("lenet5", num_classes=num_classes, seed=seed)


def saved(path: Path, state: object) -> Path:
    torch.save(state, path)
    return path


def equal(network: nn.Module, state: State) -> bool:
    return all(torch.equal(tensor, state[name]) for name, tensor in network.state_dict().items())


def prefixed(prefix: str) -> Callable[[State], State]:
    return lambda state: {prefix + name: tensor for name, tensor in state.items()}


@pytest.mark.parametrize(
    "wrap",
    [
        dict,
        lambda state: {"state_dict": state, "epoch": 3, "best_prec1": torch.tensor(0.9)},
        lambda state: {"model": state, "optimizer": {"param_groups": [{"lr": 0.1}]}},
        lambda state: {"model": {"state_dict": state}},
        lambda state: {"state_dict_ema": prefixed("module.")(state)},
        prefixed("module."),
        prefixed("_orig_mod.module."),
        prefixed("model."),
        prefixed("network."),
    ],
    ids=["plain", "state_dict", "model", "nested", "ema", "module", "compiled", "lightning", "nassuite"],
)
def test_wrappers_are_peeled_off(wrap, tmp_path):
    theirs, ours = lenet(1), lenet(2)
    path = saved(tmp_path / "w.pth", wrap(theirs.state_dict()))
    assert load_weights(ours, path) == []
    assert equal(ours, theirs.state_dict())


def test_safetensors(tmp_path):
    theirs, ours = lenet(1), lenet(2)
    save_file(theirs.state_dict(), tmp_path / "w.safetensors")
    assert load_weights(ours, tmp_path / "w.safetensors") == []
    assert equal(ours, theirs.state_dict())


class Code:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("dump", [torch.save, lambda value, path: path.write_bytes(pickle.dumps(value))])
def test_code_in_a_pickle_is_refused_and_does_not_run(dump, tmp_path):
    trace = tmp_path / "trace"
    dump({"state_dict": lenet().state_dict(), "more": Code(trace)}, tmp_path / "w.pth")
    with pytest.raises(InputError, match="can be read safely"):
        load_weights(lenet(), tmp_path / "w.pth")
    assert not trace.exists()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("w.pth", b"", "can be read safely"),
        ("w.pth", b"<html>not found</html>", "can be read safely"),
        ("w.safetensors", b"", "damaged"),
        ("w.safetensors", b"\xff" * 64, "damaged"),
    ],
)
def test_damaged_files(name, content, message, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_weights(tmp_path / name)


@pytest.mark.parametrize("content", [{}, {"epoch": 3}, [torch.zeros(2)], {"state_dict": {}}, torch.zeros(2)])
def test_files_without_weights(content, tmp_path):
    with pytest.raises(InputError, match="no weights by name"):
        read_weights(saved(tmp_path / "w.pth", content))


def test_no_such_file(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_weights(tmp_path / "w.pth")


def renamed(state: State) -> State:
    """As no source names them, in their order."""
    return {
        f"x{place}.{name.rpartition('.')[2]}": tensor for place, (name, tensor) in enumerate(state.items())
    }


def test_unknown_names_are_matched_by_order_with_a_warning(tmp_path):
    theirs, ours = create_model("resnet20_cifar", seed=1), create_model("resnet20_cifar", seed=2)
    state = {name: tensor for name, tensor in theirs.state_dict().items() if "num_batches" not in name}
    path = saved(tmp_path / "w.pth", renamed(state))
    match = match_weights(ours, path)
    assert match.source is None
    assert match.mapping == dict(zip(state, renamed(state), strict=True))
    assert [note for note in load_weights(ours, path) if "check the outputs" in note]
    assert all(torch.equal(tensor, ours.state_dict()[name]) for name, tensor in state.items())


def test_the_order_in_a_safetensors_file_is_warned_of(tmp_path):
    save_file(renamed(lenet().state_dict()), tmp_path / "w.safetensors")
    assert any(
        "does not keep the order" in note for note in load_weights(lenet(), tmp_path / "w.safetensors")
    )


def assert_refused(network: nn.Module, path: Path, *parts: str, **options: bool) -> None:
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with pytest.raises(InputError) as caught:
        load_weights(network, path, **options)
    assert "\n" not in str(caught.value)
    for part in parts:
        assert part in str(caught.value)
    assert equal(network, before)


@pytest.mark.parametrize("rename", [dict, renamed])
def test_a_wrong_shape_is_named_on_both_sides(rename, tmp_path):
    state = lenet().state_dict()
    state["stages.stage2.0.weight"] = torch.zeros(16, 6, 3, 3)
    name = list(rename(state))[list(state).index("stages.stage2.0.weight")]
    path = saved(tmp_path / "w.pth", rename(state))
    assert_refused(
        lenet(), path, f"{name} has (16, 6, 3, 3) there", "stages.stage2.0.weight has (16, 6, 5, 5) here"
    )


@pytest.mark.parametrize("rename", [dict, renamed])
def test_a_tensor_too_many_or_too_few_is_refused(rename, tmp_path):
    state = rename(lenet().state_dict())
    path = saved(tmp_path / "more.pth", state | {"more.weight": torch.zeros(3, 3)})
    assert_refused(lenet(), path, "more.weight (3, 3) there")
    path = saved(tmp_path / "fewer.pth", dict(list(state.items())[:-2]))
    assert_refused(lenet(), path, "without a partner: head.6.weight (10, 84) here")


def test_a_deeper_network_is_refused(tmp_path):
    path = saved(tmp_path / "w.pth", create_model("espnet", q=4).state_dict())
    assert_refused(create_model("espnet", q=3), path, "does not fit")


@pytest.mark.parametrize("rename", [dict, renamed])
def test_another_number_of_classes(rename, tmp_path):
    path = saved(tmp_path / "w.pth", rename(lenet(1, num_classes=100).state_dict()))
    assert_refused(lenet(2), path, "(100, 84) there", "head.6.weight has (10, 84) here")
    ours, fresh = lenet(2), lenet(2)
    notes = load_weights(ours, path, other_classes=True)
    assert any("head.6.weight, head.6.bias start fresh" in note for note in notes)
    assert torch.equal(ours.head[6].weight, fresh.head[6].weight)
    assert not torch.equal(ours.head[4].weight, fresh.head[4].weight)


def test_only_a_classifier_may_differ(tmp_path):
    state = lenet().state_dict()
    state["head.4.weight"] = torch.zeros(80, 120)
    assert_refused(lenet(), saved(tmp_path / "w.pth", state), "head.4.weight", other_classes=True)


def test_auxiliary_heads_of_the_file_may_be_left_out_but_not_missing(tmp_path):
    config = {"num_classes": 10, "batch_norm": True}
    with_heads = create_model("googlenet", **config, aux_logits=True)
    path = saved(tmp_path / "w.pth", with_heads.state_dict())
    notes = load_weights(create_model("googlenet", **config), path)
    assert any("have no place" in note and "aux_heads.stage4a" in note for note in notes)
    path = saved(tmp_path / "w.pth", create_model("googlenet", **config).state_dict())
    assert_refused(with_heads, path, "aux_heads.stage4a")


def timm_names(state: State) -> State:
    """A MobileNetV1's, by timm."""
    found = {}
    for name, tensor in state.items():
        parts = name.split(".")
        if parts[1] == "stem":
            new = f"{'conv_stem' if parts[2] == 'conv' else 'bn1'}.{parts[3]}"
        elif parts[0] == "head":
            new = f"classifier.{parts[2]}"
        else:
            second = parts[3] == "1"
            kind = (
                ("conv_pw" if second else "conv_dw") if parts[4] == "conv" else ("bn2" if second else "bn1")
            )
            new = f"blocks.{int(parts[1][-1]) - 1}.{parts[2]}.{kind}.{parts[5]}"
        found[new] = tensor
    return found


def small_mobilenet(**options: object) -> nn.Module:
    return create_model("mobilenet_v1", width_mult=0.25, **{"num_classes": 10} | options)


def test_a_known_source_is_recognised_in_any_order(tmp_path):
    theirs, ours = small_mobilenet(seed=1), small_mobilenet(seed=2)
    save_file(timm_names(theirs.state_dict()), tmp_path / "w.safetensors")
    assert load_weights(ours, tmp_path / "w.safetensors") == ["the weights are named as timm's MobileNetV1"]
    assert equal(ours, theirs.state_dict())


def test_a_backbone_takes_a_classifiers_weights(tmp_path):
    theirs = small_mobilenet()
    path = saved(tmp_path / "w.pth", timm_names(theirs.state_dict()))
    backbone = create_model("mobilenet_v1", width_mult=0.25, features_only=True, seed=2)
    assert any("classifier.weight" in note for note in load_weights(backbone, path))
    assert equal(backbone, theirs.state_dict())


def test_tensorflows_padding_is_refused(tmp_path):
    path = saved(tmp_path / "tf_mobilenet.pth", timm_names(small_mobilenet().state_dict()))
    assert_refused(small_mobilenet(), path, "TensorFlow")


class Layer(nn.Module):
    def __init__(self, eps: float) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)
        self.bn = nn.BatchNorm2d(4, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.conv(x))


@pytest.fixture
def source(monkeypatch):
    """Makes a source of ``Layer``'s weights the only one."""

    def make(**options: object) -> None:
        known = Source("theirs", (r"c\.",), {"c": "conv", "b": "bn"}, **options)
        monkeypatch.setattr(weights, "SOURCES", (known,))

    return make


def layers_names(state: State) -> State:
    return {name.replace("conv", "c").replace("bn", "b"): tensor for name, tensor in state.items()}


def test_another_epsilon_changes_no_output(source, tmp_path):
    source(eps=1e-5)
    theirs, ours = Layer(1e-5).eval(), Layer(1e-3).eval()
    generator = torch.Generator().manual_seed(0)
    theirs.bn.running_var.copy_(torch.rand(4, generator=generator) * 1e-3)
    path = saved(tmp_path / "w.pth", layers_names(theirs.state_dict()))
    x = torch.randn(2, 3, 5, 5, generator=generator)
    assert any("epsilon of 1e-05, this network's 0.001" in note for note in load_weights(ours, path))
    assert torch.allclose(ours(x), theirs(x), rtol=1e-5, atol=1e-6)
    assert ours.bn.eps == 1e-3


def test_a_linear_layer_is_a_pointwise_convolution(source, tmp_path):
    source(note="and more")
    state = layers_names(Layer(1e-5).state_dict())
    state["c.weight"] = state["c.weight"].flatten(1)
    ours = Layer(1e-5)
    notes = load_weights(ours, saved(tmp_path / "w.pth", state))
    assert notes == ["the weights are named as theirs", "and more"]
    assert torch.equal(ours.conv.weight.flatten(1), state["c.weight"])


def test_weights_that_cannot_give_their_outputs_are_refused(source, tmp_path):
    source(refusal="other padding")
    path = saved(tmp_path / "w.pth", layers_names(Layer(1e-5).state_dict()))
    assert_refused(Layer(1e-5), path, "other padding")
    source(refusal="other padding", refused_files="tf_")
    load_weights(Layer(1e-5), path)


def test_extras_may_be_left_out_and_nothing_else(source, tmp_path):
    source(extras=r"decoder\.")
    state = layers_names(Layer(1e-5).state_dict())
    notes = load_weights(Layer(1e-5), saved(tmp_path / "w.pth", state | {"decoder.x": torch.zeros(1)}))
    assert any("1 tensors" in note and "decoder.x" in note for note in notes)
    assert_refused(
        Layer(1e-5), saved(tmp_path / "w.pth", state | {"d.weight": torch.zeros(1)}), "d.weight (1,) there"
    )


def test_every_name_is_told_to_those_who_ask(tmp_path):
    network = create_model("lenet5", num_classes=3)
    torch.save({"module." + name: tensor for name, tensor in network.state_dict().items()}, tmp_path / "w.pt")
    quiet = load_weights(network, tmp_path / "w.pt")
    told = load_weights(network, tmp_path / "w.pt", verbose=True)
    assert told[: len(quiet)] == quiet
    assert len(told) - len(quiet) == len(network.state_dict())
