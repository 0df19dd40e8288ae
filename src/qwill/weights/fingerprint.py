"""A short name for what a model computes, without reading all of it."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from qwill.weights.checkpoint import Checkpoint

SAMPLE_BYTES = 4096  # of the beginning and of the end of each tensor's parts


def fingerprint(checkpoint: Checkpoint, options: Mapping[str, Any]) -> str:
    """32 hexadecimal digits of a checkpoint's configuration, of samples of all its tensors, and of `options`.

    Two checkpoints that were trained apart differ in it. It does not say that nobody changed a few values in the middle
    of a tensor.
    """
    digest = hashlib.blake2b(digest_size=16)
    digest.update(json.dumps([checkpoint.config, dict(options)], sort_keys=True, default=str).encode())
    for tensor in sorted(checkpoint.tensors, key=lambda tensor: tensor.name):
        digest.update(repr((tensor.name, tensor.shape, tensor.type.name)).encode())
        for part in tensor.stored:
            digest.update(part[:SAMPLE_BYTES].tobytes())
            digest.update(part[-SAMPLE_BYTES:].tobytes())
    return digest.hexdigest()
