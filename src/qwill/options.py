"""What the options of `LLM` mean for a checkpoint and this machine. Each raises a UserError that names its option."""

from qwill.engine.engine import PAGE_SIZE
from qwill.engine.scheduler import MOST_LAID_BY
from qwill.engine.speculative import MOST_DRAFTS
from qwill.errors import InvalidArgument, NotEnoughMemory
from qwill.model.batch import KV_DTYPES, cache_bytes
from qwill.model.config import ModelConfig
from qwill.quant.types import TYPES, TensorType
from qwill.system.memory import available_memory
from qwill.weights.checkpoint import Checkpoint, memory_needed

DEFAULT_CONTEXT = 32_768
DEFAULT_SEQUENCES = 16
DISK_CACHE_BYTES = 10 * 10**9
MOST_SNAPSHOT_BYTES = 2 << 30


def context(asked: int | None, config: ModelConfig) -> int:
    limit = config.text.max_position_embeddings
    if asked is None:
        return min(limit, DEFAULT_CONTEXT) if config.text.rope.yarn_factor is None else limit
    if not 1 <= asked <= limit:
        raise InvalidArgument(f"a context of {asked} is outside 1 to {limit}; YaRN extends it (yarn=4)")
    return asked


def kv_type(kv: str, checkpoint: Checkpoint, config: ModelConfig) -> TensorType:
    if kv == "auto":
        kv = "f32" if checkpoint.tensors.peek("embed_tokens.weight").type.name == "F32" else "f16"
    if kv.upper() not in KV_DTYPES:
        raise InvalidArgument(f"kv {kv!r} is not one of auto, {', '.join(name.lower() for name in KV_DTYPES)}")
    kv_type = TYPES[kv.upper()]
    if config.text.head_dim % kv_type.block_elements:
        raise InvalidArgument(f"kv {kv} needs heads of whole blocks of {kv_type.block_elements}; take f16")
    return kv_type


def drafts(speculative: bool | int) -> int | None:
    """Drafts of a request in a step; None for as many as pay."""
    if isinstance(speculative, bool):
        return None if speculative else 0
    if not 0 <= speculative <= MOST_DRAFTS:
        raise InvalidArgument(f"speculative must be true, false or 0 to {MOST_DRAFTS} drafts, not {speculative}")
    return speculative


def snapshot_bytes(prefix_cache: bool | int) -> int:
    if isinstance(prefix_cache, bool):
        return min(available_memory() // 4, MOST_SNAPSHOT_BYTES) if prefix_cache else 0
    if prefix_cache < 0:
        raise InvalidArgument(f"prefix_cache must be true, false or a number of bytes, not {prefix_cache}")
    return prefix_cache


def check_memory(
    checkpoint: Checkpoint, config: ModelConfig, kv_type: TensorType,
    max_context: int, cache_tokens: int, max_sequences: int, adapters: int = 0,
) -> None:  # fmt: skip
    """Raises NotEnoughMemory when weights, so many bytes of adapters, and caches would not fit."""
    weights = memory_needed(checkpoint) + adapters
    cache = cache_bytes(config.text, cache_tokens // PAGE_SIZE + 1, PAGE_SIZE, max_sequences, kv_type, MOST_LAID_BY)
    available = available_memory()
    if weights + cache > available:
        held = f"a context of {max_context}"
        if cache_tokens >= 2 * max_context:
            held = f"{max_sequences} contexts of {cache_tokens // max_sequences}"
        from qwill.fit.instead import instead  # what it needs is read only here: a model that fits starts without it

        per_token = cache_bytes(config.text, 1, 1, 0, kv_type)
        left = available - weights - cache_bytes(config.text, 1, PAGE_SIZE, max_sequences, kv_type, MOST_LAID_BY)
        most_context = left // per_token // PAGE_SIZE * PAGE_SIZE
        other = instead(checkpoint.config, most_context, available, str(checkpoint.path))
        raise NotEnoughMemory(
            f"{checkpoint.path}: needs {weights / 1e9:.1f} GB for weights and {cache / 1e9:.1f} GB for {held},"
            f" {available / 1e9:.1f} GB are free; {other}"
        )
