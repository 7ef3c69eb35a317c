"""Images: from files, arrays and official archives to three splits of tensors, at any size."""

from nassuite.data.augment import Augment
from nassuite.data.dataset import Data, DataConfig, default_augment, load_data
from nassuite.data.split import Split

__all__ = ["Augment", "Data", "DataConfig", "Split", "default_augment", "load_data"]
