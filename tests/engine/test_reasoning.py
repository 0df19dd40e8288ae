"""The reasoning's budget holds to the token, whatever is computed together."""

import numpy as np
import pytest

from qwill import LLM, SamplingParams
from qwill.engine.reasoning import Part, Reasoning, opened
from qwill.errors import InvalidArgument
from qwill.guide import Turn
from qwill.text.router import Router
from qwill.text.tokenizer import Tokenizer

QUESTIONS = ("What is 17 + 25?", "What is 8 * 7?", "Say hello in German.", "Sort: 31 4 15 9")
GREEDY = SamplingParams(temperature=0, max_tokens=90)
SAMPLED = SamplingParams(temperature=1.5, top_k=0, top_p=1, seed=3, max_tokens=90, presence_penalty=1)


@pytest.fixture(scope="module")
def llm() -> LLM:
    return LLM("demo", max_context=512, cache_tokens=4096)


@pytest.fixture(scope="module", params=[2, 4, True])
def drafting(request: pytest.FixtureRequest) -> LLM:
    return LLM("demo", max_context=512, cache_tokens=4096, speculative=request.param)


def tokenizer_of(llm: LLM) -> Tokenizer:
    assert llm.tokenizer is not None
    return llm.tokenizer


def budgeted(params: SamplingParams, budget: int | None, **more: object) -> SamplingParams:
    return SamplingParams(**{**vars(params), "max_thinking_tokens": budget, **more})


def ask(llm: LLM, question: str, params: SamplingParams, thinking: bool = True) -> list[int]:
    return llm.chat([{"role": "user", "content": question}], params, thinking=thinking).token_ids


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("params", [GREEDY, SAMPLED], ids=["greedy", "sampled"])
def test_closed_at_the_token(llm: LLM, question: str, params: SamplingParams) -> None:
    tokenizer = tokenizer_of(llm)
    tag = tokenizer.added_tokens["</think>"]
    free = ask(llm, question, params)
    length = free.index(tag) if tag in free else len(free)
    assert length > 3
    for budget in {0, 1, 2, length - 1, length, length + 1, 2 * length}:
        got = ask(llm, question, budgeted(params, budget))
        if budget > length:
            assert got == free
            continue
        assert got[:budget] == free[:budget]
        closing = tokenizer.decode(got[budget:], skip_special=False)
        expected = (
            "</think>\n\n" if budget and tokenizer.token_bytes(got[budget - 1]).endswith(b"\n") else "\n</think>\n\n"
        )
        assert closing.startswith(expected)
        assert got.index(tag) - budget == (0 if expected.startswith("<") else 1)


def test_the_exact_length_changes_nothing(llm: LLM) -> None:
    """The model closes with a newline, the tag and the gap, and so does the budget."""
    free = ask(llm, QUESTIONS[0], GREEDY)
    length = free.index(tokenizer_of(llm).added_tokens["</think>"])
    assert ask(llm, QUESTIONS[0], budgeted(GREEDY, length)) == free


@pytest.mark.parametrize("budget", [0, 1, 3, 7, 20])
@pytest.mark.parametrize("params", [GREEDY, SAMPLED], ids=["greedy", "sampled"])
def test_same_tokens_with_drafts_and_company(llm: LLM, drafting: LLM, params: SamplingParams, budget: int) -> None:
    params = budgeted(params, budget, logprobs=2)
    conversations = [[{"role": "user", "content": question}] for question in QUESTIONS]
    alone = [llm.chat(one, params) for one in conversations]
    for answers in (drafting.chat(conversations, params), [drafting.chat(one, params) for one in conversations]):
        for got, expected in zip(answers, alone, strict=True):
            assert (got.token_ids, got.text, got.reasoning) == (expected.token_ids, expected.text, expected.reasoning)
            assert got.logprobs == expected.logprobs


def test_drafts_know_what_is_forced(llm: LLM) -> None:
    rules = llm._guide.rules(budgeted(GREEDY, 0), [1], Turn(opened=True, thinking=True, functions={}))
    assert rules is not None
    logits, drafts = np.arange(2048, dtype=np.float32), list[int]()
    closing = tokenizer_of(llm).encode("\n</think>\n\n", allow_special=True)
    while len(drafts) < len(closing):
        drafts.append(int(rules.foresee(logits, drafts).argmax()))
    assert drafts == closing
    assert rules.foresee(logits, drafts) is logits


def test_forced_tokens_have_the_models_own_log_probabilities(llm: LLM) -> None:
    answer = llm.chat([{"role": "user", "content": QUESTIONS[0]}], budgeted(GREEDY, 2, logprobs=1))
    assert answer.logprobs is not None
    newline, drawn = answer.logprobs[2], answer.logprobs[0]
    assert newline.top[0][0] != newline.token_id
    assert newline.logprob < newline.top[0][1]
    assert drawn.top[0] == (drawn.token_id, drawn.logprob)


def test_without_reasoning_there_is_nothing_to_close(llm: LLM) -> None:
    for budget in (0, 5):
        assert ask(llm, QUESTIONS[0], budgeted(GREEDY, budget), False) == ask(llm, QUESTIONS[0], GREEDY, False)


def test_an_answer_that_opens_its_reasoning_itself(llm: LLM) -> None:
    """As when a template does not open it: then the tokens after the tag count."""
    tokenizer = tokenizer_of(llm)
    reasoning = Reasoning(tokenizer, Part.BEGINNING)
    parts = []
    for token in tokenizer.encode("\n<think>\nab\n</think>\n\nx", allow_special=True):
        reasoning.add(token)
        parts.append(reasoning.part)
    assert parts.count(Part.REASONING) == 1 + reasoning.count
    assert parts[0] is Part.BEGINNING
    assert parts[-1] is Part.CONTENT
    begun = tokenizer.encode("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n", allow_special=True)
    answer = llm.answer(begun, budgeted(GREEDY, 2))
    answer.request.extend(tokenizer.encode("<think>\n", allow_special=True))
    for _ in llm.steps([answer]):
        pass
    assert "</think>" in tokenizer.decode(answer.request.output_ids[3:6], skip_special=False)


@pytest.mark.parametrize(
    "text",
    [
        "ab</think>\n\nc",
        "a<think>b</think>c",
        "</think>",
        "a</thin</think>x",
        "no end",
        "<thin",
        " \n<think>a</think>b",
    ],
)
@pytest.mark.parametrize("start", [Part.BEGINNING, Part.REASONING])
def test_reads_tags_as_the_router_does(llm: LLM, text: str, start: Part) -> None:
    """Also where a tag is spelled in other tokens than its own."""
    tokenizer = tokenizer_of(llm)
    for tokens in (tokenizer.encode(text), tokenizer.encode(text, allow_special=True)):
        reasoning, router, shown = Reasoning(tokenizer, start), Router(start is Part.REASONING), ""
        for token in [*tokens, *tokenizer.encode("#")]:
            reasoning.add(token)
            shown += "".join(delta.kind[0] for delta in router.feed(tokenizer.decode([token], False)))
        shown += "".join(delta.kind[0] for delta in router.finish())
        assert reasoning.part is (Part.CONTENT if shown.endswith("c") else Part.REASONING)


def test_prompts_that_end_inside_reasoning(llm: LLM) -> None:
    tokenizer = tokenizer_of(llm)
    prompts = {"<think>a": True, "<think>\na\n</think>b": False, "a": False, "<think></think><think>": True}
    for text, expected in prompts.items():
        assert opened(tokenizer, tokenizer.encode(text, allow_special=True)) is expected
    prompt = "<|im_start|>user\nWhat is 17 + 25?<|im_end|>\n<|im_start|>assistant\n<think>\n"
    answer = llm.generate([prompt], budgeted(GREEDY, 3))[0]
    assert answer.token_ids == ask(llm, QUESTIONS[0], budgeted(GREEDY, 3))


@pytest.mark.parametrize("budget", [-1, 1.5, "5", True])
def test_bad_budgets(budget: object) -> None:
    with pytest.raises(InvalidArgument, match="max_thinking_tokens must be a whole number of at least 0"):
        SamplingParams(max_thinking_tokens=budget)  # type: ignore[arg-type]
