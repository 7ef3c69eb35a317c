import pytest
import torch
from torch.nn import functional as F

from nassuite.blocks.mobilevit_block import MobileViTBlock, TransformerLayer


def noise(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def block(**options) -> MobileViTBlock:
    """With weights large enough that a mistake shows."""
    module = MobileViTBlock(6, 8, depth=2, hidden=12, heads=2, **options)
    with torch.no_grad():
        for number, parameter in enumerate(module.parameters()):
            if parameter.dim() > 1:
                parameter.copy_(noise(*parameter.shape, seed=number) * 0.3)
    return module.eval()


def test_attention_equals_that_of_pytorch():
    layer = TransformerLayer(8, 16, heads=2).eval()
    theirs = torch.nn.MultiheadAttention(8, 2, batch_first=True)
    theirs.load_state_dict(
        {
            "in_proj_weight": layer.qkv.weight,
            "in_proj_bias": layer.qkv.bias,
            "out_proj.weight": layer.out.weight,
            "out_proj.bias": layer.out.bias,
        }
    )
    x = noise(3, 5, 8)
    normed = layer.attention_norm(x)
    y = x + theirs(normed, normed, normed)[0]
    expected = y + layer.project(F.silu(layer.expand(layer.perceptron_norm(y))))
    assert torch.allclose(layer(x), expected, atol=1e-6)


@pytest.mark.parametrize("patch", [2, 3])
def test_pixels_attend_to_those_at_the_same_place_of_other_patches(patch):
    module = block(patch=patch)
    x = noise(2, 8, 6, 12)
    expected = torch.empty_like(x)
    for row in range(patch):
        for column in range(patch):
            place = x[:, :, row::patch, column::patch]
            sequence = module.transformer(place.flatten(2).transpose(1, 2))
            expected[:, :, row::patch, column::patch] = sequence.transpose(1, 2).reshape(place.shape)
    assert torch.allclose(module.transform(x), expected, atol=1e-5)


@pytest.mark.parametrize(("height", "width", "tiled"), [(7, 7, (8, 8)), (3, 4, (4, 4)), (1, 1, (2, 2))])
def test_a_map_that_patches_do_not_tile_is_resized_and_resized_back(height, width, tiled):
    module = block()
    x = noise(2, 8, height, width)
    larger = F.interpolate(x, size=tiled, mode="bilinear", align_corners=False)
    expected = F.interpolate(
        module.transform(larger), size=(height, width), mode="bilinear", align_corners=False
    )
    assert torch.allclose(module.transform(x), expected, atol=1e-6)
    assert module(noise(2, 6, height, width)).shape == (2, 6, height, width)


def test_fusion_sees_input_and_representation():
    module = block()
    x = noise(1, 6, 4, 4)
    before = x.clone()
    y = module.from_tokens(module.transform(module.to_tokens(module.local(x))))
    assert torch.equal(module(x), module.fuse(torch.cat((x, y), 1)))
    assert torch.equal(x, before)


def test_gradients():
    module = block().double()
    x = noise(1, 6, 3, 4, dtype=torch.float64)
    assert torch.autograd.gradcheck(module, x.requires_grad_(), fast_mode=True)


def test_dropout_is_in_both_branches_and_in_training_only():
    layer = TransformerLayer(8, 16, heads=2, dropout=0.999999)
    x = noise(2, 4, 8)
    assert torch.equal(layer(x), x)
    assert not torch.allclose(layer.eval()(x), x)
