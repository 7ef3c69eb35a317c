"""Every network of the zoo by name: where it is built, its paper, what it was made for. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["classification", "segmentation", "features"]


@dataclass(frozen=True)
class Entry:
    """``factory`` is module:function in this package, ``size`` (H, W) what the paper trains on.

    ``config`` are arguments that the name itself sets (``efficientnet_b3``), and a user cannot.
    """

    factory: str
    paper: str
    num_classes: int = 1000
    in_chans: int = 3
    size: tuple[int, int] = (224, 224)
    kind: Kind = "classification"
    config: dict[str, Any] = field(default_factory=dict)


def _small(factory: str, paper: str, in_chans: int = 3) -> Entry:
    """For the ten classes and 32 pixels of CIFAR-10."""
    return Entry(factory, paper, num_classes=10, in_chans=in_chans, size=(32, 32))


MOBILENET_V1 = "MobileNets (Howard et al. 2017, arXiv 1704.04861)"
MOBILENET_V2 = "MobileNetV2 (Sandler et al. 2018, arXiv 1801.04381)"
MOBILENET_V3 = "Searching for MobileNetV3 (Howard et al. 2019, arXiv 1905.02244)"
MOBILENEXT = "Rethinking Bottleneck Structure (Zhou et al. 2020, arXiv 2007.02269)"
MNASNET = "MnasNet (Tan et al. 2019, arXiv 1807.11626)"
EFFICIENTNET = "EfficientNet (Tan and Le 2019, arXiv 1905.11946)"
GHOSTNET = "GhostNet (Han et al. 2020, arXiv 1911.11907)"
PP_LCNET = "PP-LCNet (Cui et al. 2021, arXiv 2109.15099)"
MOBILEVIT = "MobileViT (Mehta and Rastegari 2022, arXiv 2110.02178)"
SHUFFLENET_V1 = "ShuffleNet (Zhang et al. 2018, arXiv 1707.01083)"
SHUFFLENET_V2 = "ShuffleNet V2 (Ma et al. 2018, arXiv 1807.11164)"
SQUEEZENET = "SqueezeNet (Iandola et al. 2016, arXiv 1602.07360)"
CONDENSENET = "CondenseNet (Huang et al. 2018, arXiv 1711.09224)"
RESNET = "Deep Residual Learning (He et al. 2016, arXiv 1512.03385)"
RESNET_D = "Bag of Tricks (He et al. 2019, arXiv 1812.01187)"
ADDERNET = "AdderNet (Chen et al. 2020, arXiv 1912.13200)"
ESPNET = "ESPNet (Mehta et al. 2018, arXiv 1803.06815)"
ESPNET_V2 = "ESPNetv2 (Mehta et al. 2019, arXiv 1811.11431)"
HENET = "HENet (Horizon Robotics, the article that names DWCB)"
INCEPTION_V3 = "Rethinking the Inception Architecture (Szegedy et al. 2016, arXiv 1512.00567)"
INCEPTION_V4 = "Inception-v4 (Szegedy et al. 2017, arXiv 1602.07261)"
DEEPLAB_V3_PLUS = "DeepLabv3+ (Chen et al. 2018, arXiv 1802.02611), section 3.3"

NETWORKS: dict[str, Entry] = {
    "adder_resnet20": _small("adder:adder_resnet20", ADDERNET),
    "adder_resnet50": Entry("adder:adder_resnet50", ADDERNET),
    "alexnet": Entry("classics:alexnet", "One weird trick (Krizhevsky 2014, arXiv 1404.5997)"),
    "aligned_xception": Entry("xception:aligned_xception", DEEPLAB_V3_PLUS, size=(512, 512), kind="features"),
    "condensenet74": Entry("condensenet:condensenet74", CONDENSENET),
    "condensenet86_cifar": _small("condensenet:condensenet86_cifar", CONDENSENET),
    "darknet53": Entry("darknet:darknet53", "YOLOv3 (Redmon and Farhadi 2018, arXiv 1804.02767)", size=(256, 256)),
    **{
        f"efficientnet_b{number}": Entry(
            "efficientnet:efficientnet", EFFICIENTNET, size=(size, size), config={"compound": number}
        )
        for number, size in enumerate((224, 240, 260, 300, 380, 456, 528, 600))
    },
    "espnet": Entry("espnet:espnet", ESPNET, num_classes=20, size=(512, 1024), kind="segmentation"),
    "espnet_c": Entry("espnet:espnet_c", ESPNET, num_classes=20, size=(512, 1024), kind="segmentation"),
    "espnetv2": Entry("espnetv2:espnetv2", ESPNET_V2),
    "espnetv2_seg": Entry("espnetv2:espnetv2_seg", ESPNET_V2, num_classes=20, size=(512, 1024), kind="segmentation"),
    "ghostnet": Entry("ghostnet:ghostnet", GHOSTNET),
    "googlenet": Entry("googlenet:googlenet", "Going Deeper with Convolutions (Szegedy et al. 2015, arXiv 1409.4842)"),
    "henet_tinye": Entry("henet:henet_tinye", HENET),
    "henet_tinym": Entry("henet:henet_tinym", HENET),
    "ic_resnet50": Entry("ic_resnet:ic_resnet50", "Inception Convolution (Liu et al. 2021, arXiv 2012.13587)"),
    "inception_resnet_v2": Entry("inception_v4:inception_resnet_v2", INCEPTION_V4, size=(299, 299)),
    "inception_v2": Entry("inception:inception_v2", "Batch Normalization (Ioffe and Szegedy 2015, arXiv 1502.03167)"),
    "inception_v3": Entry("inception:inception_v3", INCEPTION_V3, size=(299, 299)),
    "inception_v4": Entry("inception_v4:inception_v4", INCEPTION_V4, size=(299, 299)),
    "lenet5": _small("classics:lenet5", "Gradient-Based Learning (LeCun et al. 1998)", in_chans=1),
    "mnasnet": Entry("mnasnet:mnasnet", MNASNET),
    "mobilenet_v1": Entry("mobilenet_v1:mobilenet_v1", MOBILENET_V1),
    "mobilenet_v2": Entry("mobilenet_v2:mobilenet_v2", MOBILENET_V2),
    "mobilenet_v2_ca": Entry("mobilenet_v2:mobilenet_v2_ca", "Coordinate Attention (Hou et al. 2021, arXiv 2103.02907)"),
    "mobilenet_v2_eca": Entry("mobilenet_v2:mobilenet_v2_eca", "ECA-Net (Wang et al. 2020, arXiv 1910.03151)"),
    "mobilenet_v2_sa": Entry("mobilenet_v2:mobilenet_v2_sa", "SA-Net (Zhang and Yang 2021, arXiv 2102.00240)"),
    "mobilenet_v2_triplet": Entry("mobilenet_v2:mobilenet_v2_triplet", "Rotate to Attend (Misra et al. 2021, arXiv 2010.03045)"),
    "mobilenet_v3_large": Entry("mobilenet_v3:mobilenet_v3_large", MOBILENET_V3),
    "mobilenet_v3_small": Entry("mobilenet_v3:mobilenet_v3_small", MOBILENET_V3),
    "mobilenext": Entry("mobilenext:mobilenext", MOBILENEXT),
    "mobilevit_s": Entry("mobilevit:mobilevit_s", MOBILEVIT, size=(256, 256)),
    "mobilevit_xs": Entry("mobilevit:mobilevit_xs", MOBILEVIT, size=(256, 256)),
    "mobilevit_xxs": Entry("mobilevit:mobilevit_xxs", MOBILEVIT, size=(256, 256)),
    "pp_lcnet": Entry("pp_lcnet:pp_lcnet", PP_LCNET),
    "resnest50": Entry("resnest:resnest50", "ResNeSt (Zhang et al. 2020, arXiv 2004.08955)"),
    "resnet101": Entry("resnet:resnet101", RESNET),
    "resnet18": Entry("resnet:resnet18", RESNET),
    "resnet20_cifar": _small("resnet_cifar:resnet20_cifar", RESNET + ", section 4.2"),
    "resnet32_cifar": _small("resnet_cifar:resnet32_cifar", RESNET + ", section 4.2"),
    "resnet34": Entry("resnet:resnet34", RESNET),
    "resnet50_v1b": Entry("resnet:resnet50_v1b", RESNET),
    "resnet50_v1d": Entry("resnet:resnet50_v1d", RESNET_D),
    "resnet56_cifar": _small("resnet_cifar:resnet56_cifar", RESNET + ", section 4.2"),
    "resnext50_32x4d": Entry("resnet:resnext50_32x4d", "Aggregated Residual Transformations (Xie et al. 2017, arXiv 1611.05431)"),
    "se_resnet50": Entry("resnet:se_resnet50", "Squeeze-and-Excitation (Hu et al. 2018, arXiv 1709.01507)"),
    "shufflenet_v1": Entry("shufflenet:shufflenet_v1", SHUFFLENET_V1),
    "shufflenet_v1_cifar": _small("shufflenet:shufflenet_v1_cifar", SHUFFLENET_V1),
    "shufflenet_v2": Entry("shufflenet:shufflenet_v2", SHUFFLENET_V2),
    "sknet50": Entry("resnet:sknet50", "Selective Kernel Networks (Li et al. 2019, arXiv 1903.06586)"),
    "squeezenet1_0": Entry("squeezenet:squeezenet1_0", SQUEEZENET),
    "squeezenet1_1": Entry("squeezenet:squeezenet1_1", SQUEEZENET),
    "vgg16": Entry("classics:vgg16", "Very Deep Convolutional Networks (Simonyan and Zisserman 2015, arXiv 1409.1556)"),
    "vgg16_bn": Entry("classics:vgg16_bn", "Very Deep Convolutional Networks (Simonyan and Zisserman 2015, arXiv 1409.1556)"),
    "vovnet39": Entry("vovnet:vovnet39", "VoVNet (Lee et al. 2019, arXiv 1904.09730)"),
    "vovnet57": Entry("vovnet:vovnet57", "VoVNet (Lee et al. 2019, arXiv 1904.09730)"),
    "xception": Entry("xception:xception", "Xception (Chollet 2017, arXiv 1610.02357)", size=(299, 299)),
}  # fmt: skip

ALIASES: dict[str, str] = {
    "espnetv1": "espnet",
    "lcnet_baseline": "pp_lcnet",
    "mbv1": "mobilenet_v1",
    "mbv2": "mobilenet_v2",
    "mbv2_ca": "mobilenet_v2_ca",
    "mbv2_eca": "mobilenet_v2_eca",
    "mbv2_sa": "mobilenet_v2_sa",
    "mbv2_triplet": "mobilenet_v2_triplet",
    "mbv3_large": "mobilenet_v3_large",
    "mbv3_small": "mobilenet_v3_small",
    "resnest50_v1b": "resnest50",
    "resnet20": "resnet20_cifar",
    "resnet32": "resnet32_cifar",
    "resnet50": "resnet50_v1b",
    "resnet56": "resnet56_cifar",
    "shufflenetv1": "shufflenet_v1",
    "shufflenetv2": "shufflenet_v2",
}
"""Short names, those of the light_cnns package among them. They name the network, not that package's
defaults (its ``shufflenetv1`` is ours with groups=3, width_mult=2.0), nor its errors."""
