import torch

from nassuite.blocks.fire import Fire


def test_fire_puts_1x1_in_front_of_3x3():
    generator = torch.Generator().manual_seed(0)
    fire = Fire(6, 3, 5)
    for parameter in fire.parameters():
        torch.nn.init.normal_(parameter, generator=generator)
    x = torch.randn(2, 6, 7, 5, generator=generator)

    y = fire(x)

    assert y.shape == (2, 10, 7, 5)
    squeezed = (
        torch.einsum("oi,nihw->nohw", fire.squeeze.weight[:, :, 0, 0], x) + fire.squeeze.bias[:, None, None]
    ).clamp(min=0)
    pointwise = (
        torch.einsum("oi,nihw->nohw", fire.expand1x1.weight[:, :, 0, 0], squeezed)
        + fire.expand1x1.bias[:, None, None]
    ).clamp(min=0)
    torch.testing.assert_close(y[:, :5], pointwise)
    centre = torch.einsum("oihw,nihw->no", fire.expand3x3.weight, squeezed[:, :, 2:5, 1:4])
    torch.testing.assert_close(
        y[:, 5:, 3, 2], (centre + fire.expand3x3.bias).clamp(min=0), rtol=1e-4, atol=1e-4
    )
