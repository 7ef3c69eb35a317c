"""Kernels worked out from a description, against the network that is built and the graph that a runtime makes of it."""

import random

import pytest
import torch
from test_features import arch_of, random_arch

from nassuite.latency.cost import cost
from nassuite.latency.kernels import BLOCK, BUCKETS, Tensor, filled, layers, part_layers
from nassuite.nn.network import Interface, Network, build
from nassuite.onnx_export import export_onnx
from nassuite.records import cpu_info
from nassuite.spec import Arch, BlockSpec, HeadSpec, StemSpec

CLASSES = 7
PLAIN = Interface(3, CLASSES, (0.5,) * 3, (0.2,) * 3)


def kinds(block, *, blocked=True):
    """Buckets of a block's kernels, in order, and its output."""
    found, y = part_layers(block, Tensor(block.in_channels, 32, blocked))
    return [layer.bucket for layer in found], y


@pytest.mark.parametrize("seed", range(12))
def test_macs_and_weights_are_those_of_the_network_that_is_built(seed):
    arch = random_arch(random.Random(seed))
    with torch.device("meta"):
        network = Network(arch, PLAIN)
    counted = cost(network, (3, arch.resolution, arch.resolution))
    classifier = arch.head.width * CLASSES
    kernels = list(layers(arch, 3))
    assert sum(kernel.macs for kernel in kernels) == counted.macs - classifier
    weights = sum(p.numel() for p in network.parameters() if p.ndim > 1) - classifier
    assert sum(kernel.weights for kernel in kernels) == weights
    assert all(kernel.work >= kernel.macs and kernel.bucket in BUCKETS for kernel in kernels)


def graph_of(arch, folder):
    """How many nodes of each kind ONNX Runtime's optimiser leaves."""
    import onnx
    import onnxruntime

    export_onnx(build(arch, PLAIN), folder / "m.onnx", input_shape=(3, 32, 32), check=False)
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    options.log_severity_level = 4
    onnxruntime.InferenceSession(str(folder / "m.onnx"), options, providers=["CPUExecutionProvider"])
    nodes = [node.op_type for node in onnx.load(folder / "optimised.onnx").graph.node]
    return {kind: nodes.count(kind) for kind in set(nodes)}


@pytest.mark.skipif("avx512f" not in cpu_info()["flags"], reason="this CPU's blocks are not of 16 channels")
@pytest.mark.parametrize("op", ["inverted_residual", "ghost", "shuffle", "dwcb", "group_dwcb"])
def test_copies_between_layouts_are_those_of_the_runtime(op, tmp_path):
    def block(inputs, outputs, *, layer):
        extra = {"se": True} if op in ("inverted_residual", "ghost") and outputs == 64 else {}
        shortcut = "pool" if layer == 0 else "identity"
        expand = 1.0 if op == "shuffle" else 2.0
        return BlockSpec(
            op, inputs, outputs, stride=2 - (layer > 0), expand=expand, shortcut=shortcut, layer=layer, **extra
        )  # fmt: skip

    stages = [tuple(block(i if n == 0 else o, o, layer=n) for n in (0, 1)) for i, o in ((16, 24), (24, 64))]
    arch = Arch(32, StemSpec(16), tuple(stages), HeadSpec(64))
    found, kernels = graph_of(arch, tmp_path), [kernel.bucket for kernel in layers(arch, 3)]
    # Gates of squeeze-and-excitation and the pooled head are brought back too: small, and not counted.
    unblocked = kernels.count("unblock") + kernels.count("gate") + 1
    assert abs(found.get("ReorderInput", 0) - kernels.count("block")) <= 1
    assert abs(found.get("ReorderOutput", 0) - unblocked) <= 1
    assert found.get("FusedConv", 0) == kernels.count("grouped_plain")
    pools = [name for name in kernels if name.startswith("pool")]
    assert found.get("AveragePool", 0) == len(pools)
    if op == "ghost":
        concats = [name for name in kernels if name.startswith("concat")]
        assert found["Concat"] == len(concats)


def test_channels_are_filled_up_to_whole_blocks():
    assert [filled(n) for n in (1, BLOCK, BLOCK + 1, 40)] == [BLOCK, BLOCK, 2 * BLOCK, 48]
    full, _ = part_layers(BlockSpec("inverted_residual", 48, 48, expand=2.0), Tensor(48, 8, blocked=True))
    narrow, _ = part_layers(BlockSpec("inverted_residual", 40, 40, expand=2.4), Tensor(40, 8, blocked=True))
    assert [kernel.work for kernel in narrow] == [kernel.work for kernel in full]
    assert sum(kernel.macs for kernel in narrow) < sum(kernel.macs for kernel in full)


def test_a_sum_is_free_behind_a_convolution_and_costs_copies_where_layouts_differ():
    block = BlockSpec("inverted_residual", 32, 32, expand=2.0, shortcut="identity")
    blocked, y = kinds(block)
    assert blocked == ["pointwise", "depthwise_3", "pointwise", "add_fused"]
    assert y == Tensor(32, 32, blocked=True)
    plain, y = kinds(block, blocked=False)
    assert plain == ["block", "pointwise", "depthwise_3", "pointwise", "unblock", "add_plain"]
    assert y == Tensor(32, 32, blocked=False)


def test_kernel_sizes_strides_and_options_are_told_apart():
    def block(op="inverted_residual", width=32, **options):
        return kinds(BlockSpec(op, width, width, **{"expand": 2.0, **options}))[0]

    assert "depthwise_5" in block(kernel=(5, 5))
    assert "depthwise_stride" in block(stride=2)
    assert "depthwise_flat" in block("alt_dwcb", kernel=(1, 5), shortcut="identity")
    with_se = block(se=True)
    assert with_se[2:] == ["squeeze_excite", "unblock", "gate", "block", "pointwise"]
    assert block(act="hard_swish") == block()  # it is part of the convolution
    assert block(act="gelu").count("activation") == 2
    assert "grouped" in block("group_dwcb")
    narrow = block("group_dwcb", width=16)
    assert narrow[1:4] == ["unblock", "grouped_plain", "block"]


def test_halves_that_fill_no_block_are_put_together_plain():
    def ghost(width):
        return kinds(BlockSpec("ghost", width, width, expand=2.0, shortcut="identity"))

    buckets, y = ghost(32)
    assert y.blocked
    assert "unblock" not in buckets
    buckets, y = ghost(40)
    assert not y.blocked
    assert buckets.count("concat_plain") == 2


def test_a_shuffle_unit_cuts_and_copies():
    buckets, y = kinds(BlockSpec("shuffle", 32, 32, shortcut="identity", layer=1))
    assert buckets == [
        "unblock", "slice", "block", "pointwise", "depthwise_3", "pointwise", "unblock", "slice"
    ]  # fmt: skip
    assert not y.blocked


def test_a_pool_keeps_the_blocks_where_they_are_full():
    def pooled(width):
        return kinds(BlockSpec("dwcb", width, 32, stride=2, expand=2.0, shortcut="pool"))[0]

    assert "pool" in pooled(32)
    assert "pool_plain" in pooled(40)


def test_a_larger_image_costs_more_of_everything_but_weights():
    def totals(size):
        kernels = list(layers(arch_of(BlockSpec("ghost", 32, 32, expand=2.0), size), 3))
        return [sum(getattr(k, name) for k in kernels) for name in ("macs", "work", "traffic", "weights")]

    small, large = totals(32), totals(64)
    assert all(a < b for a, b in zip(small[:3], large[:3], strict=True))
    assert small[3] == large[3]
