"""Weights of known sources give here what they give there: random weights and statistics, outputs compared."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import paper_networks as papers
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from nassuite.zoo.catalogue import NETWORKS
from nassuite.zoo.converters import Blocks, Source, natural_order, paired
from nassuite.zoo.create import create_model
from nassuite.zoo.sources import SOURCES
from nassuite.zoo.weights import load_weights, match_weights, read_weights

SHARED = Path(__file__).resolve().parents[3] / "shared" / "weights"
CLASSES = 10

TORCHVISION = [  # name there, name and options here, side of the image
    ("mobilenet_v2", "mobilenet_v2", {}, 64),
    ("mobilenet_v3_large", "mobilenet_v3_large", {}, 64),
    ("mobilenet_v3_small", "mobilenet_v3_small", {}, 64),
    ("mnasnet1_0", "mnasnet", {}, 64),
    ("shufflenet_v2_x1_0", "shufflenet_v2", {}, 64),
    ("squeezenet1_0", "squeezenet1_0", {}, 64),
    ("squeezenet1_1", "squeezenet1_1", {}, 64),
    ("googlenet", "googlenet", {"batch_norm": True, "five_by_five": False}, 64),
    ("inception_v3", "inception_v3", {}, 107),
    ("resnet18", "resnet18", {}, 64),
    ("resnet34", "resnet34", {}, 64),
    ("resnet50", "resnet50_v1b", {}, 64),
    ("resnet101", "resnet101", {}, 64),
    ("resnext50_32x4d", "resnext50_32x4d", {}, 64),
    ("efficientnet_b0", "efficientnet_b0", {}, 64),
    ("efficientnet_b5", "efficientnet_b5", {}, 64),
    ("alexnet", "alexnet", {}, 64),
    ("vgg16", "vgg16", {}, 32),
    ("vgg16_bn", "vgg16_bn", {}, 32),
]
TIMM = [
    ("mobilenetv1_100", "mobilenet_v1", {}, 64),
    ("mobilenetv2_100", "mobilenet_v2", {}, 64),
    ("mobilenetv2_140", "mobilenet_v2", {"width_mult": 1.4}, 64),
    ("mobilenetv3_large_100", "mobilenet_v3_large", {}, 64),
    ("mobilenetv3_small_100", "mobilenet_v3_small", {}, 64),
    ("mobilenetv3_small_075", "mobilenet_v3_small", {"width_mult": 0.75}, 64),
    ("mnasnet_100", "mnasnet", {}, 64),
    ("ghostnet_100", "ghostnet", {}, 64),
    ("lcnet_100", "pp_lcnet", {"head_bias": True}, 64),
    ("lcnet_050", "pp_lcnet", {"head_bias": True, "width_mult": 0.5}, 64),
    ("mobilevit_xxs", "mobilevit_xxs", {}, 64),
    ("mobilevit_xs", "mobilevit_xs", {}, 64),
    ("mobilevit_s", "mobilevit_s", {}, 64),
    ("inception_v3", "inception_v3", {}, 107),
    ("inception_v4", "inception_v4", {}, 107),
    ("inception_resnet_v2", "inception_resnet_v2", {}, 107),
    ("legacy_xception", "xception", {}, 75),
    ("resnet18", "resnet18", {}, 64),
    ("resnet50", "resnet50_v1b", {}, 64),
    ("resnet50d", "resnet50_v1d", {}, 64),
    ("resnest50d", "resnest50", {}, 64),
    ("legacy_seresnet50", "se_resnet50", {}, 64),
    ("skresnext50_32x4d", "sknet50", {}, 64),
    ("darknet53", "darknet53", {}, 64),
    ("vovnet39a", "vovnet39", {}, 64),
    ("vovnet57a", "vovnet57", {}, 64),
    ("efficientnet_b0", "efficientnet_b0", {}, 64),
    ("efficientnet_b5", "efficientnet_b5", {}, 64),
    ("vgg16_bn", "vgg16_bn", {}, 224),
]
PAPERS = [
    (papers.MobileNetV2, "mobilenet_v2", {}, 64),
    (lambda: papers.MobileNetV2(gate=papers.CoordAtt), "mobilenet_v2_ca", {}, 64),
    (lambda: papers.MobileNetV2(gate=papers.ECA, nested=True), "mobilenet_v2_eca", {}, 64),
    (lambda: papers.MobileNetV2(gate=papers.TripletAttention, nested=True), "mobilenet_v2_triplet", {}, 64),
    (papers.MobileNeXt, "mobilenext", {}, 64),
    (lambda: papers.ShuffleNet((116, 232, 464), stem=24), "shufflenet_v2", {"form": "megvii"}, 64),
    (lambda: papers.ShuffleNet((240, 480, 960), stem=24, groups=3), "shufflenet_v1", {"form": "megvii"}, 64),
    (papers.AdderResNet20, "adder_resnet20", {}, 16),
    (papers.CondenseNet86, "condensenet86_cifar", {}, 16),
    (papers.HENetTinyE, "henet_tinye", {}, 64),
]


def library(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except (ImportError, RuntimeError) as error:  # of another torch they fail as they register operators
        pytest.skip(f"{name} is not installed for this torch ({str(error).splitlines()[0]})")


@torch.no_grad()
def fill(network: nn.Module) -> nn.Module:
    """Random weights and statistics, such that nothing vanishes and an epsilon of 1e-3 for 1e-5 is seen."""
    generator = torch.Generator().manual_seed(1)
    for name, tensor in network.state_dict().items():
        noise = torch.randn(tensor.shape, generator=generator)
        if name.endswith("running_var"):
            tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
        elif tensor.dim() > 1:
            tensor.copy_(noise * (1.5 / tensor[0].numel()) ** 0.5)
        elif tensor.is_floating_point():
            tensor.add_(noise * 0.1)
    return network


def images(side: int) -> Tensor:
    return torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@torch.no_grad()
def assert_same_outputs(reference: nn.Module, ours: nn.Module, side: int) -> None:
    expected, found = (network.double().eval()(images(side)) for network in (reference, ours))
    pairs = [(expected, found)] if isinstance(expected, Tensor) else zip(expected, found, strict=True)
    for there, here in pairs:
        assert 1e-6 < float(there.std()) < 1e6
        assert float((there - here).abs().max() / there.abs().max()) < 1e-5


def assert_loads(reference: nn.Module, name: str, config: dict, side: int, path: Path) -> list[str]:
    """Through a safetensors file, whose tensors are not in the order of the layers."""
    fill(reference)
    save_file({key: tensor.contiguous() for key, tensor in reference.state_dict().items()}, path)
    classes = {} if NETWORKS[name].kind == "features" else {"num_classes": CLASSES}
    network = create_model(name, **classes, **config)
    notes = load_weights(network, path)
    assert any(note.startswith("the weights are named as") for note in notes)
    assert_same_outputs(reference, network, side)
    return notes


@pytest.mark.slow
@pytest.mark.parametrize(("there", "here", "config", "side"), TORCHVISION, ids=str)
def test_torchvision(there, here, config, side, tmp_path):
    models = library("torchvision.models")
    options = {"init_weights": False} if there in ("googlenet", "inception_v3") else {}
    reference = getattr(models, there)(num_classes=CLASSES, **options)
    notes = assert_loads(reference, here, config, side, tmp_path / "weights.safetensors")
    assert any("0.5" in note for note in notes) == (there in ("googlenet", "inception_v3"))


@pytest.mark.slow
@pytest.mark.parametrize(("there", "here", "config", "side"), TIMM, ids=str)
def test_timm(there, here, config, side, tmp_path):
    reference = library("timm").create_model(there, num_classes=CLASSES)
    assert_loads(reference, here, config, side, tmp_path / "weights.safetensors")


@pytest.mark.slow
def test_auxiliary_heads_of_torchvision(tmp_path):
    models = library("torchvision.models")
    path = tmp_path / "weights.pth"
    for there, here, config, heads in (
        (
            "googlenet",
            "googlenet",
            {"batch_norm": True, "five_by_five": False},
            ("aux_logits1", "aux_logits2"),
        ),
        ("inception_v3", "inception_v3", {}, ("aux_logits",)),
    ):
        reference = fill(getattr(models, there)(num_classes=CLASSES, aux_logits=True, init_weights=False))
        torch.save(reference.state_dict(), path)
        ours = create_model(here, num_classes=CLASSES, aux_logits=True, **config)
        load_weights(ours, path)
        reference.double().eval().training = True  # of all modules the outermost alone: it gives all logits
        with torch.no_grad():
            expected = reference(images(299))
            _, found = ours.double().eval().forward_with_aux(images(299))
        for name, other in zip(heads, found, strict=True):
            one = getattr(expected, name)
            assert float((one - other).abs().max() / one.abs().max()) < 1e-5


@pytest.mark.parametrize(("make", "here", "config", "side"), PAPERS, ids=[row[1] for row in PAPERS])
def test_authors_own(make, here, config, side, tmp_path):
    assert_loads(make(), here, config, side, tmp_path / "weights.safetensors")


@pytest.mark.slow
def test_aligned_xception_in_a_whole_deeplab(tmp_path):
    reference = fill(papers.AlignedXception())
    path = tmp_path / "weights.pth"
    state = {f"backbone.{name}": tensor for name, tensor in reference.state_dict().items()}
    torch.save({"state_dict": state | {"decoder.last_conv.0.weight": torch.zeros(1)}}, path)
    network = create_model("aligned_xception")
    notes = load_weights(network, path)
    assert any("decoder.last_conv.0.weight" in note for note in notes)
    assert_same_outputs(reference, network, 65)


@pytest.mark.parametrize(
    ("file", "name", "config", "source"),
    [
        ("resnet20-12fca82f.th", "resnet20_cifar", {}, "akamaster's or kuangliu's CIFAR ResNet"),
        ("espnet_p_2_q_3.pth", "espnet", {}, "the ESPNet authors' own"),
        (
            "espnetv2_s_0.5_city_512x256.pth",
            "espnetv2_seg",
            {"scale": 0.5},
            "EdgeNets' ESPNetv2 for segmentation",
        ),
    ],
)
def test_real_files(file, name, config, source):
    path = SHARED / file
    if not path.is_file():
        pytest.skip(f"{path.name} is not beside the repository")
    network = create_model(name, **config)
    match = match_weights(network, path)
    assert match.source == source
    # The authors' code and ours register layers in one order, in which outputs were compared.
    names = [name for name in read_weights(path) if not name.endswith("num_batches_tracked")]
    assert list(match.mapping.values()) == names
    load_weights(network, path)
    assert all(torch.equal(network.state_dict()[here], tensor) for here, tensor in match.tensors.items())


def espnetv2_names() -> list[str]:
    """As in the authors' code, in its order."""
    bn = ("weight", "bias", "running_mean", "running_var")

    def cbr(name: str, *, act: bool = True) -> list[str]:
        found = [f"{name}.conv.weight", *(f"{name}.bn.{leaf}" for leaf in bn)]
        return [*found, f"{name}.act.weight"] if act else found

    def eesp(name: str) -> list[str]:
        branches = [f"{name}.spp_dw.{i}.conv.weight" for i in range(4)]
        norm = [*(f"{name}.br_after_cat.bn.{leaf}" for leaf in bn), f"{name}.br_after_cat.act.weight"]
        ends = [*cbr(f"{name}.conv_1x1_exp", act=False), *norm, f"{name}.module_act.weight"]
        return [*cbr(f"{name}.proj_1x1"), *branches, *ends]

    def down(name: str) -> list[str]:
        reinforced = [*cbr(f"{name}.inp_reinf.0"), *cbr(f"{name}.inp_reinf.1", act=False)]
        return [*eesp(f"{name}.eesp"), *reinforced, f"{name}.act.weight"]

    names = [*cbr("level1"), *down("level2_0")]
    for level, count in ((3, 3), (4, 7), (5, 3)):
        names += down(f"level{level}_0")
        for unit in range(count):
            names += eesp(f"level{level}.{unit}")
    return [*names, *cbr("level5.3"), *cbr("level5.4"), "classifier.weight", "classifier.bias"]


def test_names_of_the_espnetv2_classifier(tmp_path):
    network = create_model("espnetv2", scale=0.5)
    ours = {k: v for k, v in network.state_dict().items() if not k.endswith("num_batches_tracked")}
    names = espnetv2_names()
    torch.save(dict(zip(names, ours.values(), strict=True)), tmp_path / "weights.pth")
    match = match_weights(network, tmp_path / "weights.pth")
    assert match.source == "the ESPNetv2 authors' own"
    assert match.mapping == dict(zip(ours, names, strict=True))


def test_blocks_are_paired_in_the_order_of_their_numbers():
    names = [f"layer.{n}.conv.weight" for n in (10, 2, 0)]
    wanted = [f"stages.stage{n}.0.conv.weight" for n in (1, 2, 3)]
    source = Source("x", (), {}, (Blocks(r"layer\.\d+", ({"": ""},)),))
    assert source.translated(names, wanted) == dict(zip(reversed(names), wanted, strict=True))
    assert sorted(["a10", "a9", "a"], key=natural_order) == ["a", "a9", "a10"]


def test_the_longest_name_in_a_table_applies():
    source = Source("x", (), paired("a a.b a.b.c.weight", "one two three.scale"))
    found = source.translated(["a.x.weight", "a.b.weight", "a.b.c.weight", "ab.weight"], [])
    assert found == {"a.x.weight": "one.x.weight", "a.b.weight": "two.weight", "a.b.c.weight": "three.scale"}


def test_the_table_is_taken_that_meets_the_network():
    tables = (paired("0 1", "first second"), paired("0 1", "only -"))
    source = Source("x", (), {}, (Blocks(r"b\d", tables),))
    found = source.translated(["b1.0.weight", "b1.1.weight"], ["stages.stage1.0.only.weight"])
    assert found["b1.0.weight"] == "stages.stage1.0.only.weight"


def test_sources_have_names_of_their_own():
    names = [source.name for source in SOURCES]
    assert len(set(names)) == len(names)
