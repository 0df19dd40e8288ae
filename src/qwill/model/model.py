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
    """Ready after `load`. `vision` and `mtp` are None when the checkpoint has none."""

    def __init__(
        self,
        config: ModelConfig,
        tensors: TensorSet,
        operations: Operations,
        v_heads_tiled: bool = False,
        progress: Callable[[int], None] | None = None,
    ) -> None:
        """Takes every tensor once; the big ones are read by `load`.

        Raises CheckpointError for a tensor that is missing, misshapen or left over. `progress` is called with the bytes
        that were loaded since the last time.
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
        self._loader = loader

    def load(self) -> None:
        """Lays the weights out for the kernels. Raises CheckpointError when a value is not finite."""
        self._loader.pack()
