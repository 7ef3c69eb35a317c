"""The names in the code that papers' authors (or those whose training of them is known best) released."""

from __future__ import annotations

from nassuite.zoo.converters import Blocks, Source, paired
from nassuite.zoo.sources.ours import HALF, HEAD, PLAIN, PLAIN_UNEXPANDED, STEM

GATED_FIRST = (
    "d-li14's MobileNetV3 applies squeeze-and-excitation before the activation, the paper and this network "
    "behind it: it cannot give their outputs"
)


def _xception_block(skipped: int) -> dict[str, str]:
    """Their separable convolutions, batch norms and ReLUs stand in one row, which may begin with a ReLU."""
    table = paired("skip skipbn", "shortcut.conv shortcut.bn")
    for place in (0, 3, 6):
        convs, theirs = f"convs.{place}", f"rep.{place + skipped}"
        table |= paired(f"{theirs}.conv1 {theirs}.bn", f"{convs}.depthwise {convs}.norm")
        table |= {f"{theirs}.pointwise": f"{convs}.pointwise"}
        table |= {f"rep.{place + skipped + 1}": f"convs.{place + 1}"}
    return table


def _exit_flow(first: str, convs: dict[int, int]) -> dict[str, str]:
    """The last separable convolutions: their numbers to the places in the stage ``first``."""
    table: dict[str, str] = {}
    for number, place in convs.items():
        table |= paired(
            f"conv{number}.conv1 conv{number}.bn conv{number}.pointwise bn{number}",
            f"{first}.{place}.depthwise {first}.{place}.norm {first}.{place}.pointwise {first}.{place + 1}",
        )
    return table


XCEPTION_STEM = paired(
    "conv1 bn1 conv2 bn2", "stages.stem.0.conv stages.stem.0.bn stages.stem.1.conv stages.stem.1.bn"
)
XCEPTION_BLOCKS = (_xception_block(0), _xception_block(1))

RESNET_BASIC = paired(
    "conv1 bn1 conv2 bn2 shortcut.0 shortcut.1",
    "conv1.conv conv1.bn conv2.conv conv2.bn shortcut.conv shortcut.bn",
)
ADDER_BASIC = paired(
    "conv1.adder bn1 conv2.adder bn2 downsample.0.adder downsample.1",
    "conv1.conv.weight conv1.bn conv2.conv.weight conv2.bn shortcut.conv.weight shortcut.bn",
)
ADDER_BOTTLENECK = paired(
    "conv1.adder bn1 conv2.adder bn2 conv3.adder bn3 downsample.0.adder downsample.1",
    "reduce.conv.weight reduce.bn spatial.conv.weight spatial.bn expand.conv.weight expand.bn "
    "shortcut.conv.weight shortcut.bn",
)

ESP_UNIT = paired(
    "c1.conv d1.conv d2.conv d4.conv d8.conv d16.conv bn.bn bn.act bn act",
    "reduce branches.0 branches.1 branches.2 branches.3 branches.4 norm.0 norm.1 norm.0 norm.1",
)
ESPNET_ENCODER = paired(
    "level1.conv level1.bn level1.act b1.bn b1.act b2.bn b2.act b3.bn b3.act classifier.conv",
    "stem.0.conv stem.0.bn stem.1 stem_norm.0 stem_norm.1 level2_norm.0 level2_norm.1 "
    "level3_norm.0 level3_norm.1 classifier",
)
ESPNET_DECODER = paired(
    "level3_C.conv br conv.conv conv.bn conv.act up_l3.0 combine_l2_l3.0.bn combine_l2_l3.0.act "
    "up_l2.0 up_l2.1.bn up_l2.1.act classifier",
    "project norm merge_half.0.conv merge_half.0.bn merge_half.1 up_eighth merge_quarter.0.0 merge_quarter.0.1 "
    "up_quarter.0 up_quarter.1.0 up_quarter.1.1 classifier",
)
EESP = paired(
    "proj_1x1.conv proj_1x1.bn proj_1x1.act conv_1x1_exp br_after_cat.bn br_after_cat.act module_act",
    "project.0.conv project.0.bn project.1 expand norm.0 norm.1 act",
) | {f"spp_dw.{branch}.conv": f"branches.{branch}" for branch in range(4)}
EESP_DOWN = {f"eesp.{theirs}": f"eesp.{ours}" for theirs, ours in EESP.items()} | paired(
    "inp_reinf.0.conv inp_reinf.0.bn inp_reinf.0.act inp_reinf.1 act",
    "reinforce.0.0.conv reinforce.0.0.bn reinforce.0.1 reinforce.1 act",
)
PYRAMID = paired(
    "stages projection_layer.cbr.0 projection_layer.cbr.1 projection_layer.cbr.2 merge_layer.0.br "
    "merge_layer.2.cbr.0 merge_layer.2.cbr.1 merge_layer.2.cbr.2 merge_layer.3 br.br",
    "branches project.0.conv project.0.bn project.1 norm merge.0.conv merge.0.bn merge.1 expand out_norm",
)
GATED = paired(
    "wt_layer.1 expansion_layer.cbr.0 expansion_layer.cbr.1 expansion_layer.cbr.2",
    "gate.1 conv.0.conv conv.0.bn conv.1",
)

HENET_BLOCK = paired(
    "dwconv.0 dwconv.1 pwconv1 pwconv2 layer_scale", "depthwise.conv depthwise.bn expand project scale"
)
# AltDWCB has its depthwise convolution in one more list, and the activation beside its first pointwise one.
HENET_ALT_BLOCK = paired(
    "dwconv.0.0 dwconv.0.1 pwconv1.0 pwconv2 layer_scale", "depthwise.conv depthwise.bn expand project scale"
)

PAPERS: tuple[Source, ...] = (
    Source(
        "Horizon Robotics' HENet",
        (r"patch_embed\.1\.0", r"stages\.0\.block\.0\.dwconv"),
        paired(
            "patch_embed.0.0 patch_embed.0.1 patch_embed.1.0 patch_embed.1.1 norm feature_mix_layer.0 "
            "feature_mix_layer.1 head",
            "stages.stem.conv stages.stem.bn stages.stage1.0.conv stages.stage1.0.bn head.norm head.mix.conv "
            "head.mix.bn head.classifier",
        ),
        (
            Blocks(r"stages\.\d+\.block\.\d+", (HENET_BLOCK, HENET_ALT_BLOCK), r"stages\.stage\d+\.[1-9]\d*"),
            Blocks(r"downsample_block\.\d+", (paired("proj.0 proj.1", "conv bn"),), r"stages\.stage[2-4]\.0"),
        ),
        prefix="backbone.",
    ),
    Source(
        "akamaster's or kuangliu's CIFAR ResNet",
        (r"conv1\.weight", r"layer1\.0\.conv1", r"linear\."),
        paired("conv1 bn1 linear", f"{STEM} head.classifier"),
        (Blocks(r"layer\d\.\d+", (RESNET_BASIC,)),),
    ),
    Source(
        "the AdderNet authors' ResNet",
        (r"layer1\.0\.conv1\.adder",),
        paired("conv1 bn1 fc bn2", f"{STEM} head.classifier.conv head.classifier.bn"),
        (Blocks(r"layer\d\.\d+", (ADDER_BASIC, ADDER_BOTTLENECK)),),
    ),
    Source(
        "d-li14's MobileNetV2, or that with its authors' coordinate attention",
        (r"features\.1\.conv\.0\.weight", r"conv\.0"),
        paired("features.0.0 features.0.1 conv.0 conv.1 classifier.1", f"{STEM} {HEAD} head.1.classifier")
        | {"classifier": "head.1.classifier"},
        (
            Blocks(
                r"features\.(?!0\b)\d+\.conv",
                (
                    paired("0 1 3 4", PLAIN_UNEXPANDED),
                    paired("0 1 3 4 6 7", PLAIN),
                    paired("0 1 3 4 7 8", PLAIN)
                    | paired(
                        "6.conv1 6.bn1 6.conv2 6.conv3", "se.reduce se.bn se.expand_rows se.expand_columns"
                    ),
                ),
            ),
        ),
    ),
    Source(
        "d-li14's MobileNetV3",
        (r"features\.1\.conv\.0\.weight", r"classifier\.3"),
        paired(
            "features.0.0 features.0.1 conv.0 conv.1 classifier.0 classifier.3",
            f"{STEM} {HEAD} head.3 head.6",
        ),
        (
            Blocks(
                r"features\.(?!0\b)\d+\.conv",
                (
                    paired("0 1 4 5", PLAIN_UNEXPANDED) | paired("3.fc.0 3.fc.2", "se.reduce se.expand"),
                    paired("0 1 3 4 7 8", PLAIN) | paired("5.fc.0 5.fc.2", "se.reduce se.expand"),
                ),
            ),
        ),
        eps=1e-5,
        refusal=GATED_FIRST,
    ),
    Source(
        "the MobileNeXt authors' own",
        (r"features\.1\.conv\.0\.weight", r"classifier\.1"),
        paired("features.0.0 features.0.1 classifier.1", f"{STEM} head.classifier"),
        (
            Blocks(
                r"features\.(?!0\b)\d+\.conv",
                tuple(
                    paired(theirs, ours)
                    for theirs, ours in (
                        (
                            "0 1 3 4 5 6 8 9",
                            "first.conv first.bn reduce.conv reduce.bn expand.conv expand.bn last.conv last.bn",
                        ),
                        ("0 1 2 3 5 6", "reduce.conv reduce.bn expand.conv expand.bn last.conv last.bn"),
                    )
                ),
            ),
        ),
    ),
    Source(
        "the ShuffleNet authors' own",
        (r"first_conv\.0", r"features\.0\.branch_main_1"),
        paired("first_conv.0 first_conv.1 classifier.0", f"{STEM} head.classifier"),
        (
            Blocks(
                r"features\.\d+",
                (
                    paired(
                        "branch_main_1.0 branch_main_1.1 branch_main_1.3 branch_main_1.4 "
                        "branch_main_2.0 branch_main_2.1",
                        "reduce.conv reduce.bn depthwise.conv depthwise.bn project.conv project.bn",
                    ),
                ),
            ),
        ),
    ),
    Source(
        "the ShuffleNetV2 authors' own",
        (r"first_conv\.0", r"features\.0\.branch_proj"),
        paired(
            "first_conv.0 first_conv.1 conv_last.0 conv_last.1 classifier.0",
            f"{STEM} {HEAD} head.1.classifier",
        ),
        (
            Blocks(
                r"features\.\d+",
                (
                    paired(
                        "branch_main.0 branch_main.1 branch_main.3 branch_main.4 branch_main.5 branch_main.6 "
                        "branch_proj.0 branch_proj.1 branch_proj.2 branch_proj.3",
                        f"{PLAIN} other.0.conv other.0.bn other.1.conv other.1.bn",
                    ),
                ),
            ),
        ),
    ),
    Source(
        "the Xception of timm and of Cadene",
        (r"block12\.skip", r"conv4\.pointwise"),
        XCEPTION_STEM
        | _exit_flow("stages.stage5", {3: 1, 4: 4})
        | {"fc": "head.classifier", "last_linear": "head.classifier"},
        (Blocks(r"block\d+", XCEPTION_BLOCKS, r"stages\.stage(?:2|3|4\.\d+|5\.0)"),),
        note=HALF,
    ),
    Source(
        "jfzhang95's aligned Xception",
        (r"block20\.skip", r"conv5\.pointwise"),
        XCEPTION_STEM | _exit_flow("stages.stage4", {3: 19, 4: 22, 5: 25}),
        (Blocks(r"block\d+", XCEPTION_BLOCKS, r"stages\.stage(?:2\.0|3|4\.(?:\d|1[0-7]))"),),
        extras=r"(?:aspp|decoder)\.",
        prefix="backbone.",
    ),
    Source(
        "the ESPNet authors' own",
        (r"(?:encoder\.)?level2_0\.c1\.conv",),
        ESPNET_ENCODER
        | {f"encoder.{theirs}": f"encoder.{ours}" for theirs, ours in ESPNET_ENCODER.items()}
        | ESPNET_DECODER,
        (
            Blocks(r"(?:encoder\.)?level[23]_0", (ESP_UNIT,), r"(?:encoder\.)?down[23]"),
            Blocks(r"(?:encoder\.)?level[23]\.\d+", (ESP_UNIT,), r"(?:encoder\.)?level[23]\.\d+"),
            Blocks(r"combine_l2_l3\.1", (ESP_UNIT,), r"merge_quarter\.1"),
        ),
    ),
    Source(
        "the ESPNetv2 authors' own",
        (r"level5_0\.eesp",),
        paired(
            "level1.conv level1.bn level1.act level5.3.conv level5.3.bn level5.3.act "
            "level5.4.conv level5.4.bn level5.4.act classifier",
            "stages.stem.conv.0.conv stages.stem.conv.0.bn stages.stem.conv.1 head.0.0.conv head.0.0.bn head.0.1 "
            "head.1.0.conv head.1.0.bn head.1.1 head.2.classifier",
        ),
        (
            Blocks(r"level[2-5]_0", (EESP_DOWN,), r"stages\.stage\d\.level\.down"),
            Blocks(r"level[345]\.\d+", (EESP,), r"stages\.stage\d\.level\.units\.\d+"),
        ),
    ),
    Source(
        "EdgeNets' ESPNetv2 for segmentation",
        (r"base_net\.level4_0\.eesp", r"bu_dec_l1"),
        paired("base_net.level1.conv base_net.level1.bn base_net.level1.act", "stem.0.conv stem.0.bn stem.1"),
        (
            Blocks(r"base_net\.level[234]_0", (EESP_DOWN,), r"levels\.\d\.down"),
            Blocks(r"base_net\.level[34]\.\d+", (EESP,), r"levels\.\d\.units\.\d+"),
            Blocks(r"bu_dec_l\d", (PYRAMID,), r"pyramids\.\d"),
            Blocks(r"merge_enc_dec_l\d", (GATED,), r"projections\.\d"),
            Blocks(r"bu_br_l\d", ({"": ""},), r"norms\.\d"),
        ),
    ),
    Source(
        "the CondenseNet authors' converted form",
        (r"features\.init_conv", r"features\.denseblock_1\.denselayer_1\.conv_1\.index"),
        {"features.init_conv": "stages.stem", "classifier": "head.classifier"},
        (
            Blocks(
                r"features\.denseblock_\d+\.denselayer_\d+",
                (paired("conv_1 conv_2.norm conv_2.conv", "pointwise spatial.0 spatial.2"),),
                r"stages\.stage\d+\.\d+(?=\.(?:pointwise|spatial)\b)",
            ),
            Blocks(
                r"features\.norm_last",
                ({"": ""},),
                r"stages\.stage\d+\.\d+(?=\.(?:weight|bias|running_mean|running_var)$)",
            ),
        ),
    ),
)
