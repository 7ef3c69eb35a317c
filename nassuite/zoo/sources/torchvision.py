"""torchvision's names. timm has some of its networks under the same ones."""

from __future__ import annotations

from nassuite.zoo.converters import Blocks, Source, Table, paired
from nassuite.zoo.sources.ours import (
    BRANCHES,
    EXPANDED,
    HALF,
    HEAD,
    PLAIN,
    PLAIN_UNEXPANDED,
    STEM,
    UNEXPANDED,
)

# Residual blocks: torchvision's, and what timm has in the place of some convolutions.
DOWN = paired("downsample.0 downsample.1", "shortcut.conv shortcut.bn")
BASIC = paired("conv1 bn1 conv2 bn2", "conv1.conv conv1.bn conv2.conv conv2.bn")
BOTTLENECK = paired(
    "conv1 bn1 conv2 bn2 conv3 bn3 se_module.fc1 se_module.fc2",
    "reduce.conv reduce.bn spatial.conv spatial.bn expand.conv expand.bn attention.reduce attention.expand",
)
SELECTIVE = paired(
    "conv1 conv2.paths conv2.attn.fc_reduce conv2.attn.bn conv2.attn.fc_select conv3",
    "reduce spatial.paths spatial.reduce.conv spatial.reduce.bn spatial.select expand",
)
RESNET_BLOCKS = (Blocks(r"layer[1-4]\.\d+", (BASIC | DOWN, BOTTLENECK | DOWN, SELECTIVE | DOWN)),)

V3_STEM = paired(
    "Conv2d_1a_3x3 Conv2d_2a_3x3 Conv2d_2b_3x3 Conv2d_3b_1x1 Conv2d_4a_3x3",
    "stages.stem.0 stages.stem.1 stages.stem.2 stages.stage2.1 stages.stage2.2",
)


def _v3_module(branches: str, layers: str) -> Table:
    """``layers`` as "branch.layer" in the module here."""
    return {theirs: "branches." + ours for theirs, ours in zip(branches.split(), layers.split(), strict=True)}


V3_MODULES = (
    _v3_module(
        "branch1x1 branch5x5_1 branch5x5_2 branch3x3dbl_1 branch3x3dbl_2 branch3x3dbl_3 branch_pool",
        "0.0 1.0 1.1 2.0 2.1 2.2 3.1",
    ),
    _v3_module("branch3x3 branch3x3dbl_1 branch3x3dbl_2 branch3x3dbl_3", "0.0 1.0 1.1 1.2"),
    _v3_module(
        "branch1x1 branch7x7_1 branch7x7_2 branch7x7_3 branch7x7dbl_1 branch7x7dbl_2 branch7x7dbl_3 "
        "branch7x7dbl_4 branch7x7dbl_5 branch_pool",
        "0.0 1.0 1.1 1.2 2.0 2.1 2.2 2.3 2.4 3.1",
    ),
    _v3_module(
        "branch3x3_1 branch3x3_2 branch7x7x3_1 branch7x7x3_2 branch7x7x3_3 branch7x7x3_4",
        "0.0 0.1 1.0 1.1 1.2 1.3",
    ),
    _v3_module(
        "branch1x1 branch3x3_1 branch3x3_2a branch3x3_2b branch3x3dbl_1 branch3x3dbl_2 branch3x3dbl_3a "
        "branch3x3dbl_3b branch_pool",
        "0.0 1.0 1.1.branches.0.0 1.1.branches.1.0 2.0 2.1 2.2.branches.0.0 2.2.branches.1.0 3.1",
    ),
)

TORCHVISION = (
    Source(
        "torchvision's MobileNetV2 (ECA-Net and triplet attention have its names too)",
        (r"features\.18\.0", r"features\.1\.conv\.0\.0"),
        paired(
            "features.0.0 features.0.1 features.18.0 features.18.1 classifier.1",
            f"{STEM} {HEAD} head.1.classifier",
        ),
        (
            Blocks(
                r"features\.\d+\.conv",
                tuple(
                    paired(convs, ours)
                    | {
                        f"{gate}.conv": "output_attention.conv",
                        f"{gate}.ChannelGateH.spatial": "output_attention.channels_width",
                        f"{gate}.ChannelGateW.spatial": "output_attention.height_channels",
                        f"{gate}.SpatialGate.spatial": "output_attention.height_width",
                    }
                    for convs, gate, ours in (
                        ("0.0 0.1 1 2", 3, PLAIN_UNEXPANDED),
                        ("0.0 0.1 1.0 1.1 2 3", 4, PLAIN),
                    )
                ),
            ),
        ),
    ),
    Source(
        "torchvision's MobileNetV3 or EfficientNet",
        (r"features\.0\.0", r"features\.1\.(?:0\.)?block\.0\.0"),
        paired("features.0.0 features.0.1 classifier.0 classifier.3", f"{STEM} head.3 head.6")
        | {"classifier.1": "head.1.classifier"}
        | {
            f"features.{n}.{i}": f"head.0.{part}"
            for n in (8, 12, 16)
            for i, part in enumerate(("conv", "bn"))
        },
        (
            Blocks(
                r"features\.\d+(?:\.\d+)?\.block",
                (
                    paired("0.0 0.1 1.fc1 1.fc2 2.0 2.1", UNEXPANDED),
                    paired("0.0 0.1 1.0 1.1", PLAIN_UNEXPANDED),
                    paired("0.0 0.1 1.0 1.1 2.fc1 2.fc2 3.0 3.1", EXPANDED),
                    paired("0.0 0.1 1.0 1.1 2.0 2.1", PLAIN),
                ),
            ),
        ),
    ),
    Source(
        "torchvision's MnasNet",
        (r"layers\.14", r"layers\.8\.0\.layers\.0"),
        paired("layers.0 layers.1 layers.14 layers.15 classifier.1", f"{STEM} {HEAD} head.1.classifier")
        | {
            f"layers.{n}": f"stages.stage1.0.{ours}"
            for n, ours in zip((3, 4, 6, 7), PLAIN_UNEXPANDED.split(), strict=True)
        },
        (Blocks(r"layers\.\d+\.\d+\.layers", (paired("0 1 3 4 6 7", PLAIN),), r"stages\.stage[2-7]\.\d+"),),
    ),
    Source(
        "torchvision's ShuffleNetV2",
        (r"conv5\.0", r"stage2\.0\.branch1"),
        paired("conv1.0 conv1.1 conv5.0 conv5.1 fc", f"{STEM} {HEAD} head.1.classifier"),
        (
            Blocks(
                r"stage\d\.\d+",
                (
                    paired(
                        "branch1.0 branch1.1 branch1.2 branch1.3 "
                        "branch2.0 branch2.1 branch2.3 branch2.4 branch2.5 branch2.6",
                        f"other.0.conv other.0.bn other.1.conv other.1.bn {PLAIN}",
                    ),
                ),
            ),
        ),
    ),
    Source(
        "torchvision's SqueezeNet",
        (r"features\.3\.", r"features\.12\.squeeze"),
        {"features.0": "stages.stem.0", "classifier.1": "head.1"},
        (Blocks(r"features\.(?!0\b)\d+", ({"": ""},)),),
    ),
    Source(
        "torchvision's or timm's VGG, or torchvision's AlexNet",
        (r"features\.0\.weight", r"classifier\.6|head\.fc"),
        paired(
            "classifier.0 classifier.1 classifier.3 classifier.4 classifier.6",
            "head.2 head.3 head.5 head.6 head.8",
        )
        | paired("pre_logits.fc1 pre_logits.fc2 head.fc", "head.2 head.5 head.8"),
        (Blocks(r"features\.\d+", ({"": ""},), r"stages\.stage\d+\.\d+(?:\.(?:conv|bn))?"),),
    ),
    Source(
        "torchvision's GoogLeNet",
        (r"inception3a\.branch1\.conv",),
        paired("conv1 conv2 conv3 fc", "stages.stem.0 stages.stage2.1 stages.stage2.2 head.classifier")
        | {
            f"aux{n}.{theirs}": f"aux_heads.stage4{letter}.{ours}"
            for n, letter in ((1, "a"), (2, "d"))
            for theirs, ours in (("conv", "1.0"), ("fc1", "3"), ("fc2", "6"))
        },
        (
            Blocks(
                r"inception\d\w",
                (paired("branch1 branch2 branch3 branch4", BRANCHES),),
                r"stages\.stage[345]\w*\.\d+",
            ),
        ),
        note=HALF,
    ),
    Source(
        "torchvision's or timm's Inception v3",
        (r"Conv2d_1a_3x3\.conv", r"Mixed_7c\.branch1x1"),
        V3_STEM
        | paired(
            "AuxLogits.conv0 AuxLogits.conv1 AuxLogits.fc fc",
            "aux_heads.stage4.reduce aux_heads.stage4.conv aux_heads.stage4.classifier head.classifier",
        ),
        (Blocks(r"Mixed_\w+", V3_MODULES, r"stages\.stage[345]\.\d+"),),
        note=HALF,
    ),
    Source(
        "torchvision's or timm's ResNet",
        (r"(?:layer0\.)?conv1\.weight", r"layer1\.0\.conv1", r"fc\.|last_linear"),
        paired("conv1 bn1 fc", f"{STEM} head.classifier")
        | paired("layer0.conv1 layer0.bn1 last_linear", f"{STEM} head.classifier"),
        RESNET_BLOCKS,
    ),
)
