"""What the measurements compute while the clock runs, and how much room they ask for. No speed is judged."""

from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import pytest
from qwill._native import Cpu, available_isas
from random_members import tiny_family_config

import qwill.speed
from qwill import LLM
from qwill.engine.scheduler import Chunk
from qwill.errors import InvalidArgument, ModelNotFound, NotEnoughMemory
from qwill.fit.bandwidth import read_bandwidth
from qwill.fit.family import family_config
from qwill.fit.integer_rate import integer_rate
from qwill.model.config import model_config
from qwill.model.parameters import parameter_count
from qwill.quant.types import TYPES
from qwill.speed import (
    MAX_SEQUENCES,
    Case,
    all_cases,
    fitting_layers,
    language_weights,
    measure,
    operations_per_token,
    random_model,
    room_for,
    weight_bytes_per_token,
)
from qwill.system.memory import peak_memory
from qwill.weights.checkpoint import memory_needed
from qwill.weights.hub.cache import resolve_model
from qwill.weights.load import open_checkpoint
from qwill.weights.random import random_checkpoint

KV = TYPES["F16"]


@dataclass
class Watched:
    """A model and what it computed: for each step its chunks as (tokens cached before, tokens), between clock reads."""

    llm: LLM
    log: list[Any] = field(default_factory=list)

    def timed(self) -> list[list[tuple[int, int]]]:
        """The steps between the last two reads of the clock."""
        clocks = [index for index, entry in enumerate(self.log) if entry == "clock"]
        return self.log[clocks[-2] + 1 : clocks[-1]]


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Any:
    def make(case: Case, moe: bool = False) -> Watched:
        checkpoint = random_checkpoint("tiny", tiny_family_config(moe), "Q8_0")
        watched = Watched(LLM(checkpoint, threads=1, **room_for([case], model_config(checkpoint.config).text, "tiny")))
        runner = watched.llm.engine._runner
        compute = runner.hidden_states

        def hidden_states(chunks: list[Chunk]) -> Any:
            watched.log.append([(chunk.request.computed, chunk.count) for chunk in chunks])
            return compute(chunks)

        def clock() -> float:
            watched.log.append("clock")
            return float(len(watched.log))

        monkeypatch.setattr(runner, "hidden_states", hidden_states)
        monkeypatch.setattr(qwill.speed, "time", SimpleNamespace(perf_counter=clock))
        return watched

    return make


@pytest.mark.parametrize("moe", [False, True])
@pytest.mark.parametrize(
    ("case", "timed"),
    [
        (Case("prefill", 40), [[(0, 40)]]),
        (Case("prefill", 40, sequences=2), [[(0, 40), (0, 40)]]),
        (Case("prefill", 40, 30), [[(30, 40)]]),
        (Case("prefill", 1, 30), [[(30, 1)]]),
        (Case("prefill", 40, 30, 3), [[(30, 40)] * 3]),
        (Case("prefill", 513, 3), [[(3, 512)], [(515, 1)]]),
        (Case("decode", 3), [[(0, 1)], [(1, 1)], [(2, 1)]]),
        (Case("decode", 3, 30), [[(33, 1)], [(34, 1)], [(35, 1)]]),
        (Case("decode", 2, 30, 3), [[(32, 1)] * 3, [(33, 1)] * 3]),
        (Case("decode", 2, sequences=5), [[(0, 1)] * 5, [(1, 1)] * 5]),
    ],
)
def test_what_is_computed_while_the_clock_runs(watch: Any, moe: bool, case: Case, timed: list[Any]) -> None:
    case = replace(case, repeat=2)
    watched = watch(case, moe)
    speed = measure(watched.llm, case)
    assert watched.timed() == timed
    # the clock counts entries of the log: one for each step and one for itself
    assert speed.values == (case.sequences * case.tokens / (len(timed) + 1),) * 2
    watched.llm.engine.scheduler.check_integrity()


@pytest.mark.parametrize("kind", ["prefill", "decode"])
def test_contexts_that_take_several_steps(watch: Any, kind: Any) -> None:
    """3 contexts of 400 tokens are read in 3 steps; the first sequence writes until the last is ready."""
    case = Case(kind, 5, 400, 3)
    watched = watch(case)
    measure(watched.llm, case)
    timed = watched.timed()
    assert sum(count for step in timed for _, count in step) == 15
    assert all(400 <= context < case.length for step in timed for context, _ in step)
    assert max(context for context, _ in timed[0]) <= 400 + case.early_tokens
    watched.llm.engine.scheduler.check_integrity()


@pytest.mark.parametrize("sequences", [2, 100, MAX_SEQUENCES])
def test_room_suffices_for_many_sequences(watch: Any, sequences: int) -> None:
    case = Case("decode", 2, 9, sequences)
    watched = watch(case)
    measure(watched.llm, case)
    assert [len(step) for step in watched.timed()] == [sequences] * 2


def test_every_combination_is_a_case() -> None:
    labels = [case.label for case in all_cases([512, 0], [128, 64], [0, 8192], [1, 16])]
    assert labels == [
        *("pp512", "tg128", "tg64", "pp512 b16", "tg128 b16", "tg64 b16"),
        *("pp512@d8192", "tg128@d8192", "tg64@d8192", "pp512@d8192 b16", "tg128@d8192 b16", "tg64@d8192 b16"),
    ]


def test_impossible_cases() -> None:
    with pytest.raises(InvalidArgument, match="nothing to measure"):
        all_cases([0], [0], [0], [1])
    with pytest.raises(InvalidArgument, match=f"{MAX_SEQUENCES + 1} sequences"):
        all_cases([1], [1], [0], [MAX_SEQUENCES + 1])
    text = model_config(family_config("Qwen3.5-0.8B")).text
    room_for([Case("decode", 144, 262_000 - 1)], text, "it")
    with pytest.raises(InvalidArgument, match="tg145@d261999 needs a context of 262145 and it holds 262144"):
        room_for([Case("decode", 145, 262_000 - 1)], text, "it")


def test_as_many_layers_as_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    config, cases = family_config("Qwen3.5-397B-A17B"), [Case("decode", 8, 8192, 2)]
    found = []
    for gigabytes in (8, 16, 64, 500):
        monkeypatch.setattr(qwill.speed, "available_memory", lambda free=gigabytes: free * 10**9)
        found.append(fitting_layers(config, "Q4_K_S", cases, KV))
    assert found == sorted(found)
    assert 1 <= found[0] < found[1] < found[2] < found[3] == 60
    # 4.5 bits a parameter: what is taken fits, and 3 layers more would not
    for layers, gigabytes in zip(found[:3], (8, 16, 64), strict=True):
        sizes = []
        for count in (layers, layers + 3):
            cut = config | {"text_config": config["text_config"] | {"num_hidden_layers": count}}
            sizes.append(parameter_count(model_config(cut)).text * 4.5 / 8)
        assert sizes[0] < gigabytes * 1e9 < sizes[1] + 4e9
    monkeypatch.setattr(qwill.speed, "available_memory", lambda: 10**9)
    with pytest.raises(NotEnoughMemory, match=r"one layer needs \d+\.\d GB .* 1\.0 GB are free"):
        fitting_layers(config, "Q4_K_S", cases, KV)


def test_random_models_by_name() -> None:
    cases = [Case("decode", 8)]
    for name, quant, path in (
        ("qwen3.5:35b-a3b", "", "Qwen3.5-35B-A3B-Q4_K_M"),
        ("Qwen3.5:35B-q8_0", "", "Qwen3.5-35B-A3B-Q8_0"),
        ("qwen3.5-35b-a3b", "mxfp4_moe", "Qwen3.5-35B-A3B-MXFP4_MOE"),
    ):
        checkpoint = random_model(name, quant, 2, cases, KV)
        assert checkpoint.path.name == path
        assert model_config(checkpoint.config).text.layers == 2
    with pytest.raises(ModelNotFound, match=r"qwen3\.5:3b: no such member .* qwen3\.5:0\.8b"):
        random_model("qwen3.5:3b", "", 2, cases, KV)
    with pytest.raises(InvalidArgument, match=r"FP8: no recipe and no file of that name; built in are .*, Q4_K_M,"):
        random_model("qwen3.5:27b-fp8", "", 2, cases, KV)
    with pytest.raises(InvalidArgument, match="has 40 layers, 41 were asked for"):
        random_model("qwen3.5:35b", "", 41, cases, KV)


def test_weights_that_a_token_reads() -> None:
    dense = random_checkpoint("tiny", tiny_family_config(), "F16")
    assert weight_bytes_per_token(dense) == memory_needed(dense)  # embeddings are the head
    moe = random_checkpoint("tiny", tiny_family_config(moe=True, tied=False), "F16")
    idle_experts = 4 * 3 * 2 * 256 * 256  # of 4 layers: 2 of 4, three matrices each
    idle_rows = 511 * 256
    assert weight_bytes_per_token(moe) == memory_needed(moe) - 2 * (idle_experts + idle_rows)


def test_operations_of_a_prompts_token() -> None:
    """Two for every parameter of the layers' matrices that a token meets."""
    text = tiny_family_config()["text_config"]
    layers = model_config(tiny_family_config()).text.layers
    dense = random_checkpoint("tiny", tiny_family_config(), "F16")
    table = text["vocab_size"] * text["hidden_size"]
    matrices = memory_needed(dense) / 2 - table  # the rest: norms, convolutions and gates in F32
    assert 0.98 * 2 * matrices < operations_per_token(dense) < 2 * matrices
    moe = random_checkpoint("tiny", tiny_family_config(moe=True), "F16")
    idle_experts = layers * 3 * 2 * 256 * 256  # 2 of 4, three matrices each
    all_experts = operations_per_token(moe) + 2 * idle_experts
    with_all = tiny_family_config(moe=True)
    with_all["text_config"]["num_experts_per_tok"] = 4
    assert operations_per_token(random_checkpoint("tiny", with_all, "F16")) == all_experts


def test_integer_rate_counts_what_all_threads_compute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qwill.fit.integer_rate.ROUNDS", 10_000)
    for isa in available_isas():
        assert integer_rate(2, isa) > 0
        assert Cpu(isa, 3).dots(1000) == 3 * Cpu(isa, 1).dots(1000)


def test_types_of_the_weights() -> None:
    """In MB: embeddings, which are the head, 508.6 * 6.5625 / 16 = 208.6, and of 24 layers 12 have some more Q6_K."""
    name, size = language_weights(random_checkpoint("it", family_config("Qwen3.5-0.8B"), "Q4_K_M"))
    assert name == "Q6_K+Q4_K"
    assert 752e6 * 4.5 / 8 < size < 752e6 * 6.6 / 8
    assert language_weights(random_checkpoint("it", family_config("Qwen3.5-0.8B"), "IQ4_NL"))[0] == "Q6_K+IQ4_NL+Q5_K"


def test_vision_and_draft_head_do_not_count() -> None:
    checkpoint = open_checkpoint(resolve_model("demo"))
    language = [t.nbytes for t in checkpoint.tensors if t.name.startswith(("layers.", "embed", "norm.", "lm_head"))]
    assert language_weights(checkpoint) == ("Q8_0", sum(language))
    assert 0 < weight_bytes_per_token(checkpoint) <= sum(language)


def test_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    before = peak_memory()
    assert before > 10 << 20  # Python and NumPy alone
    monkeypatch.setattr("qwill.fit.bandwidth.BYTES", 32 << 20)
    assert read_bandwidth(2) > 0
    assert peak_memory() >= before
    monkeypatch.setattr("qwill.fit.bandwidth.available_memory", lambda: 0)
    assert read_bandwidth(3) > 0
