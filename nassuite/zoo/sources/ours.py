"""Names of modules here that several tables of sources use."""

STEM = "stages.stem.conv stages.stem.bn"
HEAD = "head.0.conv head.0.bn"

# An inverted residual: whole, without squeeze-and-excitation, without expansion, without both.
EXPANDED = "expand.conv expand.bn depthwise.conv depthwise.bn se.reduce se.expand project.conv project.bn"
PLAIN = "expand.conv expand.bn depthwise.conv depthwise.bn project.conv project.bn"
UNEXPANDED = "depthwise.conv depthwise.bn se.reduce se.expand project.conv project.bn"
PLAIN_UNEXPANDED = "depthwise.conv depthwise.bn project.conv project.bn"

# Inception's parallel branches, the first of one layer.
BRANCHES = "branches.0.0 branches.1 branches.2 branches.3"

HALF = (
    "published weights of this network, but for GluonCV's, want images normalised with a mean and a standard "
    "deviation of 0.5, not with ImageNet's"
)
