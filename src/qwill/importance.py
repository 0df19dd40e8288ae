"""Gathers how much each input of each matrix matters, by reading texts with the model.

The model's operations are coarse: a norm and the projections behind it are one call. So the model is given a table of
operations that takes them apart, looks at what each matrix is multiplied by, and goes on with the same kernels. Nothing
of it is there when a model is used otherwise.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from qwill.engine.request import Request
from qwill.errors import CheckpointError
from qwill.llm import LLM
from qwill.model.config import TextConfig
from qwill.ops import Operations, native_operations
from qwill.ops.activations import sigmoid
from qwill.ops.moe.reference import route
from qwill.quant.importance import Importance, Statistics
from qwill.system.processors import performance_cores
from qwill.weights.checkpoint import Checkpoint
from qwill.weights.names import gguf_name
from qwill.weights.tensor import Tensor

PATCH_EMBEDDING = "visual.patch_embed.proj.weight"  # two tensors in GGUF files, which nobody quantizes
V_HEADS_IN_COLUMNS = "linear_attn.out_proj.weight"


class Experts(list[Any]):
    """The packed matrices of a layer's experts, each by itself."""


class Observer:
    """Adds up the squares of what matrices are multiplied by. `operations` is what the model is to compute with."""

    def __init__(self, operations: Operations) -> None:
        self._plain = operations
        self._names: dict[int, tuple[Any, str]] = {}  # a planned weight's id; the weight, so that it keeps that id
        # Matrices with the same inputs share them: float64 [experts or 1, columns], and how many inputs it were.
        self._sums: dict[tuple[str, ...], np.ndarray] = {}
        self._counts: dict[tuple[str, ...], np.ndarray] = {}
        self.operations = replace(
            operations,
            plan=self._plan,
            pack_planned=self._pack_planned,
            linear=self._linear,
            linear_add=self._linear_add,
            norm_linear=self._norm_linear,
            swiglu_add=self._swiglu_add,
            moe_add=self._moe_add,
        )

    def add(self, names: tuple[str, ...], x: np.ndarray, expert: int = 0, experts: int = 1) -> None:
        """Rows x [tokens, columns] f32 are multiplied by these tensors (canonical names), or by one of the experts.

        Raises CheckpointError when one is not finite.
        """
        if names not in self._sums:
            self._sums[names] = np.zeros((experts, x.shape[1]))
            self._counts[names] = np.zeros(experts, np.int64)
        total = np.square(x, dtype=np.float64).sum(axis=0)
        if not np.isfinite(total).all():
            raise CheckpointError(f"the inputs of {names[0]} are not finite; the model's file is damaged")
        self._sums[names][expert] += total
        self._counts[names][expert] += len(x)

    def statistics(self) -> dict[str, Statistics]:
        """By canonical name."""
        return {
            name: Statistics(self._sums[names].astype(np.float32), self._counts[names].astype(np.float32))
            for names in self._sums
            for name in names
        }

    def _plan(self, tensor: Tensor) -> Any:
        if len(tensor.shape) == 2:
            weight = self._plain.plan(tensor)
            self._names[id(weight)] = weight, tensor.name
            return weight
        experts = Experts(self._plain.plan(expert) for expert in _experts(tensor))
        self._names[id(experts)] = experts, tensor.name
        return experts

    def _pack_planned(self, planned: Sequence[tuple[Any, Tensor]]) -> None:
        flat: list[tuple[Any, Tensor]] = []
        for weight, tensor in planned:
            flat += zip(weight, _experts(tensor), strict=True) if isinstance(weight, Experts) else [(weight, tensor)]
        self._plain.pack_planned(flat)

    def _seen(self, x: np.ndarray, *weights: Any) -> None:
        self.add(tuple(self._names[id(weight)][1] for weight in weights), x)

    def _linear(
        self, x: np.ndarray, weight: Any, bias: np.ndarray | None = None, activation: str = "none"
    ) -> np.ndarray:
        self._seen(x, weight)
        return self._plain.linear(x, weight, bias, activation)

    def _linear_add(self, x: np.ndarray, weight: Any, residual: np.ndarray, bias: np.ndarray | None = None) -> None:
        self._seen(x, weight)
        self._plain.linear_add(x, weight, residual, bias)

    def _norm_linear(self, x: np.ndarray, scale: np.ndarray, eps: float, weights: Sequence[Any]) -> list[np.ndarray]:
        normed = self._plain.rms_norm(x, scale, eps)
        self._seen(normed, *weights)
        return [self._plain.linear(normed, weight) for weight in weights]

    def _swiglu_add(self, residual: np.ndarray, scale: np.ndarray, eps: float, gate: Any, up: Any, down: Any) -> None:
        normed = self._plain.rms_norm(residual, scale, eps)
        self._seen(normed, gate, up)
        product = self._product(normed, gate, up)
        self._seen(product, down)
        self._plain.linear_add(product, down, residual)

    def _moe_add(
        self,
        residual: np.ndarray,
        scale: np.ndarray,
        eps: float,
        router: Any,
        top_k: int,
        gate: Experts,
        up: Experts,
        down: Experts,
        shared: tuple[Any, Any, Any] | None = None,
        shared_gate: np.ndarray | None = None,
    ) -> None:
        normed = self._plain.rms_norm(residual, scale, eps)
        self._seen(normed, router)
        chosen, weights = route(self._plain.linear(normed, router), top_k)
        inputs = tuple(self._names[id(each)][1] for each in (gate, up))
        outputs = (self._names[id(down)][1],)
        for expert in range(len(gate)):
            rows, ranks = np.nonzero(chosen == expert)
            if len(rows) == 0:
                continue
            own = np.ascontiguousarray(normed[rows])
            self.add(inputs, own, expert, len(gate))
            product = self._product(own, gate[expert], up[expert])
            self.add(outputs, product, expert, len(gate))
            residual[rows] += weights[rows, ranks, None] * self._plain.linear(product, down[expert])
        if shared is not None:
            assert shared_gate is not None
            shared_up, shared_down = shared[:2], shared[2]
            self._seen(normed, *shared_up)
            product = self._product(normed, *shared_up)
            self._seen(product, shared_down)
            residual += sigmoid(normed @ shared_gate)[:, None] * self._plain.linear(product, shared_down)

    def _product(self, x: np.ndarray, gate: Any, up: Any) -> np.ndarray:
        """silu(gate x) * up x."""
        product = self._plain.linear(x, gate, None, "silu")
        product *= self._plain.linear(x, up)
        return product


def observed(model: str | Checkpoint, threads: int | None = None, **options: Any) -> tuple[LLM, Observer]:
    """A model for `gather`; `options` are those of `LLM`. Raises UserError."""
    observer = Observer(native_operations(performance_cores() if threads is None else threads))
    return LLM(model, operations=observer.operations, prefix_cache=0, kv="f32", **options), observer


def gather(
    llm: LLM,
    observer: Observer,
    passages: Sequence[Request],
    context: int,
    datasets: Sequence[str] = (),
    progress: Callable[[int], None] = lambda _done: None,
) -> Importance:
    """Reads passages, pieces of about `context` tokens, with a model that computes with the observer's operations.

    Columns are in the order of GGUF files, whatever the checkpoint's. The draft head reads the passages, too, but what
    the output matrix gets from it is not counted. Experts that no token went to have counts of 0. `progress` is called
    with the number of passages that were read. Raises CheckpointError when the model's numbers are not finite.
    """
    tensors, text = llm.checkpoint.tensors, llm.config.text
    head = "lm_head.weight" if "lm_head.weight" in tensors else "embed_tokens.weight"
    for done, request in enumerate(passages, 1):
        for hidden in llm.engine.read(request, draft_head="mtp.fc.weight" in tensors):
            observer.add((head,), hidden)
        progress(done)
    statistics = {}
    for name, found in observer.statistics().items():
        if name.endswith(V_HEADS_IN_COLUMNS) and not llm.checkpoint.v_heads_tiled:
            found = replace(found, sums=_tiled(found.sums, text))
        if name != PATCH_EMBEDDING:
            statistics[gguf_name(name, text.layers)] = found
    tokens = sum(request.length for request in passages)
    return Importance(statistics, tuple(datasets), max(1, tokens // context), context)


def _experts(tensor: Tensor) -> list[Tensor]:
    """The matrices of a tensor [experts, rows, columns], each by itself."""
    return [
        replace(
            tensor,
            shape=tensor.shape[1:],
            parts=tensor.parts[expert : expert + 1],
            scales=None if tensor.scales is None else tensor.scales[expert : expert + 1],
        )
        for expert in range(tensor.shape[0])
    ]


def _tiled(sums: np.ndarray, text: TextConfig) -> np.ndarray:
    """Columns [1, V heads * width] in the order of GGUF files, where v head j reads k head j % K."""
    heads = text.linear_key_heads, text.linear_value_heads // text.linear_key_heads
    return sums.reshape(*heads, -1).swapaxes(0, 1).reshape(sums.shape)
