"""How each operation is computed: one folder per operation, with its NumPy reference beside its native kernel.

`Operations` is what the model is given: the same functions, computed by the reference or by the processor's kernels.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from qwill.errors import InvalidArgument

Array = np.ndarray


@dataclass(frozen=True)
class Operations:
    """One function per operation; `ops/<name>/reference.py` documents shapes and meaning of each."""

    name: str
    threads: int
    plan: Callable[..., Any]
    pack_planned: Callable[..., None]
    linear: Callable[..., Array]
    linear_add: Callable[..., None]
    norm_linear: Callable[..., list[Array]]
    swiglu_add: Callable[..., None]
    silu_product: Callable[..., None]
    low_rank_add: Callable[..., None]
    moe_add: Callable[..., None]
    embedding: Callable[..., Array]
    rms_norm: Callable[..., Array]
    layer_norm: Callable[..., Array]
    gated_delta: Callable[..., Array]
    attention: Callable[..., Array]
    vision_attention: Callable[..., Array]


def reference_operations() -> Operations:
    """Everything in NumPy: slow, and the specification."""
    from qwill.ops.attention.reference import attention
    from qwill.ops.embedding.reference import embedding
    from qwill.ops.gated_delta.reference import gated_delta
    from qwill.ops.linear import reference as linear
    from qwill.ops.moe.reference import moe_add
    from qwill.ops.norm.reference import layer_norm, rms_norm
    from qwill.ops.vision.reference import vision_attention

    return Operations(
        name="reference",
        threads=1,
        plan=linear.pack,
        pack_planned=linear.pack_planned,
        linear=linear.linear,
        linear_add=linear.linear_add,
        norm_linear=linear.norm_linear,
        swiglu_add=linear.swiglu_add,
        silu_product=linear.silu_product,
        low_rank_add=linear.low_rank_add,
        moe_add=moe_add,
        embedding=embedding,
        rms_norm=rms_norm,
        layer_norm=layer_norm,
        gated_delta=gated_delta,
        attention=attention,
        vision_attention=vision_attention,
    )


def native_operations(threads: int, isa: str = "") -> Operations:
    """The C++ kernels on `threads` threads.

    isa: "scalar", "avx2", "avx512", "avx512_bf16", "neon" or "neon_i8mm"; empty for the one that QWILL_ISA
    names, or the best that the processor has.
    Raises InvalidArgument for one that it cannot run.
    """
    from qwill._native import Cpu, available_isas
    from qwill.ops.attention import native as attention
    from qwill.ops.embedding import native as embedding
    from qwill.ops.gated_delta import native as gated_delta
    from qwill.ops.linear import native as linear
    from qwill.ops.moe import native as moe
    from qwill.ops.norm import native as norm
    from qwill.ops.vision import native as vision

    runnable = available_isas()
    chosen = isa or os.environ.get("QWILL_ISA") or runnable[-1]
    if chosen not in runnable:
        raise InvalidArgument(f"instruction set {chosen!r} is none that this processor runs: {', '.join(runnable)}")
    if threads < 1:
        raise InvalidArgument(f"threads must be at least 1, not {threads}")
    cpu = Cpu(chosen, threads)
    return Operations(
        name=cpu.isa,
        threads=cpu.threads,
        plan=linear.plan,
        pack_planned=partial(linear.pack_planned, cpu),
        linear=partial(linear.linear, cpu),
        linear_add=partial(linear.linear_add, cpu),
        norm_linear=partial(linear.norm_linear, cpu),
        swiglu_add=partial(linear.swiglu_add, cpu),
        silu_product=partial(linear.silu_product, cpu),
        low_rank_add=partial(linear.low_rank_add, cpu),
        moe_add=partial(moe.moe_add, cpu),
        embedding=partial(embedding.embedding, cpu),
        rms_norm=partial(norm.rms_norm, cpu),
        layer_norm=partial(norm.layer_norm, cpu),
        gated_delta=partial(gated_delta.gated_delta, cpu),
        attention=partial(attention.attention, cpu),
        vision_attention=partial(vision.vision_attention, cpu),
    )
