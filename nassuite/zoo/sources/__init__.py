"""Whose names of weights we know: one small table for each family of networks of each source.

In a table of blocks stand the modules of one block; blocks that lack some of them (squeeze-and-excitation, a
shortcut) are covered too.
"""

from nassuite.zoo.converters import Source
from nassuite.zoo.sources.papers import PAPERS
from nassuite.zoo.sources.timm import TIMM
from nassuite.zoo.sources.torchvision import TORCHVISION

SOURCES: tuple[Source, ...] = (*TORCHVISION, *TIMM, *PAPERS)
