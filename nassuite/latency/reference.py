"""The reference network that every measurement is interleaved with and divided by."""

from __future__ import annotations

import math
import random
from functools import cache
from typing import Any

IMAGE_SIZE = 32
WIDTHS = (24, 48, 96)
EXPAND = 4
CLASSES = 10


@cache
def reference_model() -> bytes:
    """A fixed ONNX model of some 0.2 ms a core, the same bytes everywhere.

    A 3x3 stem and six blocks of pointwise, depthwise, pointwise convolution: what slows candidates
    down (a lower clock, a busy neighbour) should slow it down as much, and a network of dense 3x3
    convolutions was slowed down by a sixth less. Its weights come from the generator whose numbers
    Python promises never to change.
    """
    import numpy as np
    from onnx import TensorProto, checker, helper, numpy_helper

    rng = random.Random(0)
    weights: list[Any] = []
    nodes: list[Any] = []

    def conv(x: str, shape: tuple[int, int, int, int], stride: int = 1, groups: int = 1) -> str:
        name = f"conv{len(nodes)}"
        fan_in = shape[1] * shape[2] * shape[3]
        bound = (6.0 / fan_in) ** 0.5  # keeps the size of activations (He et al. 2015, section 2.2)
        values = np.array([bound * (2 * rng.random() - 1) for _ in range(math.prod(shape))])
        weights.append(numpy_helper.from_array(values.astype(np.float32).reshape(shape), f"{name}.weight"))
        nodes.append(
            helper.make_node(
                "Conv", [x, f"{name}.weight"], [name], name=name, group=groups,
                strides=[stride] * 2, pads=[shape[2] // 2] * 4,
            )
        )  # fmt: skip
        nodes.append(helper.make_node("Relu", [name], [f"{name}.relu"], name=f"{name}.relu"))
        return f"{name}.relu"

    x = conv("image", (WIDTHS[0], 3, 3, 3))
    before = WIDTHS[0]
    for width in WIDTHS:
        for stride in (2, 1):
            hidden = EXPAND * before
            x = conv(x, (hidden, before, 1, 1))
            x = conv(x, (hidden, 1, 3, 3), stride=stride, groups=hidden)
            x = conv(x, (width, hidden, 1, 1))
            before = width
    nodes.append(helper.make_node("GlobalAveragePool", [x], ["pool"], name="pool"))
    logits = conv("pool", (CLASSES, WIDTHS[-1], 1, 1))

    image: list[str | int] = ["batch", 3, IMAGE_SIZE, IMAGE_SIZE]
    graph = helper.make_graph(
        nodes,
        "nassuite_reference",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, image)],
        [helper.make_tensor_value_info(logits, TensorProto.FLOAT, ["batch", CLASSES, 1, 1])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    checker.check_model(model)
    return model.SerializeToString(deterministic=True)
