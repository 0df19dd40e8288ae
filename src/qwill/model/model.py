"""A whole Qwen 3.5: text model, vision tower and MTP head, built from a checkpoint."""

from collections.abc import Callable

from qwill.model.config import ModelConfig
from qwill.model.loader import Loader
from qwill.model.mtp import MtpHead
from qwill.model.text import TextModel
from qwill.model.vision import VisionTower
from qwill.ops import Operations
from qwill.weights.tensor import TensorSet


class Model:
    """`vision` and `mtp` are None when the checkpoint has none."""

    def __init__(
        self,
        config: ModelConfig,
        tensors: TensorSet,
        operations: Operations,
        v_heads_tiled: bool = False,
        progress: Callable[[int], None] | None = None,
    ) -> None:
        """Takes every tensor once. Raises CheckpointError for one that is missing, misshapen, left over or not finite.

        `progress` is called with the bytes of each tensor as it is loaded.
        """
        loader = Loader(tensors, operations, v_heads_tiled, progress)
        self.config = config
        self.operations = operations
        self.text = TextModel(loader, config.text)
        self.vision = None
        if config.vision is not None and loader.has("visual.patch_embed.proj.weight"):
            self.vision = VisionTower(loader.scope("visual"), config.vision)
        self.mtp = MtpHead(loader.scope("mtp"), self.text) if loader.has("mtp.fc.weight") else None
        loader.finish()
