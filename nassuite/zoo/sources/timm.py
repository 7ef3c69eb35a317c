"""timm's names, where they are not torchvision's."""

from __future__ import annotations

from nassuite.zoo.converters import Blocks, Source, paired
from nassuite.zoo.sources.ours import BRANCHES, EXPANDED, HALF, HEAD, STEM, UNEXPANDED
from nassuite.zoo.sources.torchvision import BOTTLENECK

TF = (
    "timm's tf_ networks pad as TensorFlow does, more at the end than at the beginning: "
    "no network here gives their outputs"
)
LIKE_TF = "timm's tf_ networks have the same names, but pad otherwise: their weights give other outputs here"

DOWN_D = paired("downsample.1 downsample.2", "shortcut.conv shortcut.bn")
DOWN_D_POOLED = paired("downsample.1 downsample.2", "shortcut.1.conv shortcut.1.bn")


def _split(place: str) -> dict[str, str]:
    """A ResNeSt's block; where it has a stride, its attention is one deeper."""
    return BOTTLENECK | {
        f"conv2.{theirs}": f"{place}.{ours}"
        for theirs, ours in paired(
            "conv bn0 fc1 bn1 fc2", "conv.conv conv.bn reduce.conv reduce.bn select"
        ).items()
    }


RESNET_D_TABLES = (
    BOTTLENECK | DOWN_D,
    BOTTLENECK | DOWN_D_POOLED,
    _split("spatial") | DOWN_D,
    _split("spatial.0") | DOWN_D_POOLED,
)
RESNET_D_STEM = (
    "stages.stem.0.conv stages.stem.0.bn stages.stem.1.conv stages.stem.1.bn "
    "stages.stem.2.conv stages.stem.2.bn"
)

FOUR_BRANCHES = paired("branch0 branch1 branch2 branch3", BRANCHES)
LONG_BRANCHES = FOUR_BRANCHES | {"branch0": "branches.0"}
V4_EXPANDED = FOUR_BRANCHES | paired(
    "branch1_0 branch1_1a branch1_1b branch2_0 branch2_1 branch2_2 branch2_3a branch2_3b",
    "branches.1.0 branches.1.1.branches.0.0 branches.1.1.branches.1.0 branches.2.0 branches.2.1 "
    "branches.2.2 branches.2.3.branches.0.0 branches.2.3.branches.1.0",
)
RESIDUAL_BRANCHES = {name: f"branches.{ours}" for name, ours in FOUR_BRANCHES.items()} | {"conv2d": "conv"}


TIMM = (
    Source(
        "timm's ResNet-D or ResNeSt",
        (r"conv1\.6", r"layer1\.0\.conv1", r"fc\."),
        paired("conv1.0 conv1.1 conv1.3 conv1.4 conv1.6 bn1 fc", f"{RESNET_D_STEM} head.classifier"),
        (Blocks(r"layer\d\.\d+", RESNET_D_TABLES),),
    ),
    *(
        Source(
            f"timm's {family}",
            (r"conv_stem", r"blocks\.0\.0\.conv_dw"),
            paired(f"conv_stem bn1 {theirs}", f"{STEM} {ours}"),
            (
                Blocks(
                    r"blocks\.\d+\.\d+",
                    (
                        paired("conv_dw bn1 se.conv_reduce se.conv_expand conv_pw bn2", unexpanded),
                        paired(
                            "conv_pw bn1 conv_dw bn2 se.conv_reduce se.conv_expand conv_pwl bn3", EXPANDED
                        ),
                    ),
                ),
            ),
            eps=1e-5,
            note=LIKE_TF if family.startswith(("MobileNetV2", "MobileNetV3")) else "",
            refusal=TF,
            refused_files="tf_",
        )
        for family, theirs, ours, unexpanded in (
            ("MobileNetV1", "classifier", "head.classifier", "0.conv 0.bn - - 1.conv 1.bn"),
            (
                "MobileNetV2, MnasNet or EfficientNet",
                "conv_head bn2 classifier",
                f"{HEAD} head.1.classifier",
                UNEXPANDED,
            ),
            (
                "MobileNetV3",  # the last convolution stands as a block of its own, at another place in each
                "blocks.6.0.conv blocks.6.0.bn1 blocks.5.0.conv blocks.5.0.bn1 conv_head classifier",
                f"{HEAD} {HEAD} head.3 head.6",
                UNEXPANDED,
            ),
            (
                "PP-LCNet",
                "conv_head classifier",
                "head.mix head.classifier",
                UNEXPANDED.replace("project", "pointwise"),
            ),
        )
    ),
    Source(
        "timm's GhostNet, or its authors'",
        (r"conv_stem", r"blocks\.0\.0\.ghost1"),
        paired(
            "conv_stem bn1 blocks.9.0.conv blocks.9.0.bn1 conv_head classifier",
            f"{STEM} head.conv.conv head.conv.bn head.mix head.classifier",
        ),
        (
            Blocks(
                r"blocks\.\d+\.\d+",
                (
                    {
                        f"ghost{n}.{theirs}": f"{ours}.{inner}"
                        for n, ours in ((1, "expand"), (2, "project"))
                        for theirs, inner in paired(
                            "primary_conv.0 primary_conv.1 cheap_operation.0 cheap_operation.1",
                            "primary.conv primary.bn cheap.conv cheap.bn",
                        ).items()
                    }
                    | paired(
                        "conv_dw bn_dw se.conv_reduce se.conv_expand shortcut.0 shortcut.1 shortcut.2 shortcut.3",
                        "depthwise.conv depthwise.bn se.reduce se.expand "
                        "shortcut.0.conv shortcut.0.bn shortcut.1.conv shortcut.1.bn",
                    ),
                ),
            ),
        ),
    ),
    Source(
        "timm's MobileViT",
        (r"stages\.2\.1\.transformer", r"final_conv"),
        paired("stem final_conv head.fc", "stages.stem head.0 head.1.classifier"),
        (
            Blocks(
                r"stages\.\d+\.\d+",
                (
                    paired("conv1_1x1 conv2_kxk conv3_1x1", "expand depthwise project"),
                    *(
                        paired("conv_kxk conv_1x1 conv_proj conv_fusion", "local to_tokens from_tokens fuse")
                        | {"norm": f"transformer.{depth}"}
                        | {
                            f"transformer.{layer}.{theirs}": f"transformer.{layer}.{ours}"
                            for layer in range(depth)
                            for theirs, ours in paired(
                                "norm1 attn.qkv attn.proj norm2 mlp.fc1 mlp.fc2",
                                "attention_norm qkv out perceptron_norm expand project",
                            ).items()
                        }
                        for depth in (2, 4, 3)
                    ),
                ),
            ),
        ),
    ),
    Source(
        "timm's Inception v4",
        (r"features\.21\.branch0", r"last_linear"),
        {f"features.{n}": f"stages.stem.{n}" for n in range(3)} | {"last_linear": "head.classifier"},
        (
            Blocks(
                r"features\.(?![012]\b)\d+",
                (
                    {"conv": "branches.0.0"},
                    {"conv": "branches.1.0"},
                    FOUR_BRANCHES,
                    LONG_BRANCHES,
                    V4_EXPANDED,
                ),
            ),
        ),
        note=HALF,
    ),
    Source(
        "timm's Inception-ResNet v2",
        (r"conv2d_7b", r"repeat_2\.0\.branch0"),
        paired(
            "conv2d_1a conv2d_2a conv2d_2b conv2d_3b conv2d_4a conv2d_7b classif",
            "stages.stem.0 stages.stem.1 stages.stem.2 stages.stage2.1 stages.stage2.2 stages.stage5.11 head.classifier",
        ),
        (
            Blocks(r"mixed_\w+", (FOUR_BRANCHES, LONG_BRANCHES), r"stages\.stage(?:3\.1|4\.0|5\.0)"),
            Blocks(r"repeat\.\d+", (RESIDUAL_BRANCHES,), r"stages\.stage3\.(?![01]\b)\d+"),
            Blocks(r"repeat_1\.\d+", (RESIDUAL_BRANCHES,), r"stages\.stage4\.(?!0\b)\d+"),
            Blocks(r"repeat_2\.\d+", (RESIDUAL_BRANCHES,), r"stages\.stage5\.[1-9]"),
            Blocks(r"block8", (RESIDUAL_BRANCHES,), r"stages\.stage5\.10"),
        ),
        note=HALF,
    ),
    Source(
        "timm's DarkNet-53",
        (r"stages\.0\.conv_down", r"stem\.conv1"),
        {"stem.conv1": "stages.stem.0", "head.fc": "head.classifier"},
        (
            Blocks(r"stages\.\d+\.conv_down", ({"": "0"},), r"stages\.stage\d+\.0"),
            Blocks(
                r"stages\.\d+\.blocks\.\d+",
                (paired("conv1 conv2", "reduce.0 expand.0"),),
                r"stages\.stage\d+\.(?!0\b)\d+",
            ),
        ),
    ),
    Source(
        "timm's VoVNet",
        (r"stem\.2\.conv", r"stages\.0\.blocks\.0\.conv_mid"),
        paired("stem.0 stem.1 stem.2 head.fc", "stages.stem.0 stages.stem.1 stages.stage2.0 head.classifier"),
        (
            Blocks(
                r"stages\.\d+\.blocks\.\d+",
                (paired("conv_mid conv_concat", "layers aggregate"),),
                r"stages\.stage\d+\.\d+(?=\.(?:layers|aggregate)\b)",
            ),
        ),
    ),
)
