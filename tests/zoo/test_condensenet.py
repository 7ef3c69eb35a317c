import pytest
import torch

from nassuite.blocks.learned_group_conv import condense, convert
from nassuite.errors import InputError
from nassuite.zoo.condensenet import condensenet74, condensenet86_cifar
from nassuite.zoo.create import create_model


def _count(build, classes: int, **config) -> int:
    with torch.device("meta"):
        network = build(num_classes=classes, in_chans=3, **config)
    return sum(parameter.numel() for parameter in network.parameters())


def test_training_form_has_the_published_parameters():
    assert _count(condensenet74, 1000, converted=False) == 11922680
    assert _count(condensenet74, 1000, converted=False, groups=8) == 11103608
    assert _count(condensenet86_cifar, 10, converted=False) == 1451594


def test_conversion_gives_the_other_form_with_equal_outputs():
    network = create_model("condensenet86_cifar", converted=False).eval()
    condense(network, 0.5)
    converted = convert(network)
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = network(x)
        torch.testing.assert_close(converted(x), expected, rtol=1e-4, atol=1e-5)
    built = create_model("condensenet86_cifar")
    assert {k: v.shape for k, v in built.state_dict().items()} == {
        k: v.shape for k, v in converted.state_dict().items()
    }


def test_feature_channels_are_all_features_so_far():
    with torch.device("meta"):
        network = condensenet74(num_classes=1000, in_chans=3)
        shapes = []
        x = torch.empty(1, 3, 64, 64)
        for stage in network.stages.values():
            x = stage(x)
            shapes.append(tuple(x.shape[1:]))
    assert shapes == [
        (16, 32, 32), (48, 32, 32), (144, 16, 16), (400, 8, 8), (1040, 4, 4), (2064, 2, 2)
    ]  # fmt: skip


def test_bad_groups():
    with pytest.raises(InputError, match="groups 3"):
        condensenet74(num_classes=10, in_chans=3, groups=3)
