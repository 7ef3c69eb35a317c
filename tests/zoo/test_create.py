"""Networks by name: the interface, and what it refuses."""

import pytest
import torch

from nassuite.errors import InputError
from nassuite.zoo import create_model, list_models
from nassuite.zoo.catalogue import ALIASES, NETWORKS
from nassuite.zoo.create import check_size, find, parse_model


def test_same_seed_same_weights_and_the_global_generator_is_left_alone():
    before = torch.get_rng_state()
    first, second, other = (create_model("resnet20_cifar", seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True))


def test_aliases_lead_to_networks():
    assert set(ALIASES.values()) <= set(NETWORKS)
    assert not set(ALIASES) & set(NETWORKS)
    assert find("mbv2")[0] == "mobilenet_v2"


def test_without_numbers_a_network_is_its_papers():
    assert create_model("resnet20_cifar").head.classifier.out_features == 10


def test_features():
    network = create_model("mobilenet_v2", features_only=True, out_indices=(1, -1), width_mult=0.25).eval()
    maps = network(torch.zeros(1, 3, 64, 64))
    assert [tuple(m.shape[1:]) for m in maps] == [(8, 16, 16), (80, 2, 2)]
    assert [(info.channels, info.reduction) for info in network.feature_info] == [(8, 4), (80, 32)]


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("mobilenet_v9", {}, "mobilenet_v"),
        ("qqqqqq", {}, "zoo list"),
        ("mobilenet_v2", {"num_classes": 0}, "num_classes 0"),
        ("mobilenet_v2", {"num_classes": -3}, "num_classes -3"),
        ("mobilenet_v2", {"in_chans": 2.5}, "in_chans 2.5"),
        ("mobilenet_v2", {"width": 0.5}, "no option 'width'.*width_mult"),
        ("mobilenet_v2", {"stem_stride": 3}, "stem_stride 3"),
        ("mobilenet_v2", {"out_indices": (1,)}, "features_only"),
        ("mobilenet_v2", {"features_only": True, "out_indices": (9,)}, "out_indices"),
        ("espnet", {"features_only": True}, "segmentation"),
        ("efficientnet_b3", {"compound": 2}, "no option 'compound'"),
    ],
)
def test_what_is_refused_says_why(name, arguments, message):
    with pytest.raises(InputError, match=message):
        create_model(name, **arguments)


def test_images_that_are_too_small():
    network = create_model("alexnet", num_classes=2)
    with pytest.raises(InputError, match="alexnet cannot take images of 16 pixels"):
        check_size(network, 3, (16, 16), "alexnet")
    check_size(network, 3, (64, 64), "alexnet")


def test_models_as_a_user_types_them():
    assert parse_model("mbv2(width_mult=0.5)") == ("mobilenet_v2", {"width_mult": 0.5})
    with pytest.raises(InputError, match="no option 'size'"):
        parse_model("mbv2(size=3)")
    with pytest.raises(InputError, match="expected NAME"):
        parse_model("mbv2(1)")


def test_the_list_is_sorted_and_needs_no_torch():
    assert list_models() == sorted(list_models())
