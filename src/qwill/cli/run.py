"""Answer a prompt, or chat. Images and videos may go with it; the answer is shown as it comes."""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from qwill.answer import Completion
from qwill.cli.conversation import Conversation, check_text, user_message
from qwill.cli.loading import load_model
from qwill.cli.options import above_zero, add_lora_argument, add_model_argument, at_least, at_least_one, drafts, unnamed
from qwill.cli.printer import AnswerPrinter, show_ending
from qwill.effort import EFFORTS
from qwill.engine.sampling_params import SamplingParams
from qwill.errors import InvalidArgument
from qwill.media.image import read_source


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `qwill run`."""
    add_model_argument(parser)
    ask = parser.add_argument_group("what to ask")
    ask.add_argument(
        "-p", "--prompt", metavar="TEXT", help="answer TEXT and leave; - reads it from stdin. Without -p: chat"
    )
    ask.add_argument("--image", action="append", default=[], metavar="FILE", help="show this image; may be repeated")
    ask.add_argument("--video", action="append", default=[], metavar="FILE", help="show this video; may be repeated")
    ask.add_argument("--fps", type=above_zero, metavar="N", help="frames a second to take from videos (2)")
    ask.add_argument("--system", metavar="TEXT", help="what the model is told before the conversation")
    ask.add_argument(
        "--think", action=argparse.BooleanOptionalAction, default=True, help="let the model reason first (yes)"
    )
    ask.add_argument("--effort", choices=EFFORTS, metavar="WORD", help=f"how much to reason: {', '.join(EFFORTS)}")
    sampling = parser.add_argument_group("how to choose words (defaults: as the model's files say)")
    sampling.add_argument("--temp", dest="temperature", type=float, metavar="T", help="0: always the likeliest token")
    sampling.add_argument("--top-p", type=float, metavar="P", help="the likeliest tokens that sum to P")
    sampling.add_argument("--top-k", type=int, metavar="K", help="the K likeliest tokens; 0: all")
    sampling.add_argument("--min-p", type=float, metavar="P", help="tokens at least P times as likely as the likeliest")
    sampling.add_argument("--presence-penalty", type=float, metavar="X", help="against tokens already said, once each")
    sampling.add_argument("--frequency-penalty", type=float, metavar="X", help="against tokens for each time said")
    sampling.add_argument("--repetition-penalty", type=float, metavar="X", help="against tokens said or read; 1: none")
    sampling.add_argument("--seed", type=int, metavar="N", help="the same seed gives the same answer")
    sampling.add_argument("-n", "--max-tokens", type=at_least_one, metavar="N", help="at most N tokens of answer")
    sampling.add_argument(
        "--stop", action="append", default=[], metavar="TEXT", help="end at TEXT in the content; may be repeated"
    )
    sampling.add_argument("--logprobs", type=int, metavar="N", help="with --json: the N likeliest tokens at each place")
    shape = parser.add_argument_group("what the answer may be")
    shape.add_argument("--max-thinking", type=at_least(0), metavar="N", help="reason for at most N tokens, then answer")
    shape.add_argument("--json-schema", metavar="FILE", help="JSON that fits the schema in FILE; {} for any object")
    shape.add_argument("--regex", metavar="PATTERN", help="a text that matches PATTERN as a whole")
    shape.add_argument("--grammar", metavar="FILE", help="a text of the grammar in FILE, in llguidance's Lark")
    shape.add_argument("--stop-loops", action="store_true", help="end an answer that goes on repeating itself")
    machine = parser.add_argument_group("how to run")
    machine.add_argument("--ctx", type=at_least_one, metavar="N", help="tokens of conversation to hold (at most 32768)")
    machine.add_argument("--yarn", type=float, metavar="FACTOR", help="stretch the context by FACTOR, up to 4")
    machine.add_argument("--kv", default="auto", metavar="TYPE", help="cached keys and values: auto, f32, f16, q8_0")
    machine.add_argument(
        "--drafts", type=drafts, default="auto", metavar="N",
        help="tokens that the model's draft head guesses ahead: 0 to 4, or auto (as many as pay)",
    )  # fmt: skip
    machine.add_argument("--cache", metavar="FOLDER", help="keep what was read for the next start")
    add_lora_argument(machine)
    machine.add_argument("--threads", type=at_least_one, metavar="N", help="processor threads (one a core)")
    machine.add_argument("--mmproj", metavar="FILE", help="vision file of a .gguf model (the one beside it)")
    shown = parser.add_argument_group("what to show")
    shown.add_argument("--json", action="store_true", help="one JSON object when the answer is complete; needs -p")
    shown.add_argument("--show-reasoning", action="store_true", help="also when the output is not a terminal")


def execute(arguments: argparse.Namespace) -> None:
    """Answers one prompt, or chats. Raises QwillError."""
    params = _sampling_params(arguments)
    prompt = _prompt(arguments)
    if prompt is None and (arguments.json or arguments.logprobs is not None):
        raise InvalidArgument("--json and --logprobs need a prompt: -p TEXT")
    if arguments.logprobs is not None and not arguments.json:
        raise InvalidArgument("--logprobs needs --json, which shows them")
    # Before a large model is loaded for nothing.
    for image in arguments.image:
        read_source(image, "image")
    for video in arguments.video:
        read_source(video, "video")
    llm = load_model(
        arguments.model,
        max_context=arguments.ctx,
        threads=arguments.threads,
        kv=arguments.kv,
        yarn=arguments.yarn,
        mmproj=arguments.mmproj,
        lora=unnamed(arguments.lora),
        max_sequences=1,
        speculative=arguments.drafts,
        disk_cache=arguments.cache,
    )
    conversation = Conversation(llm, params, arguments.think, arguments.fps, arguments.effort)
    if arguments.system is not None:
        conversation.set_system(arguments.system)
    if prompt is None:
        from qwill.cli.chat import Chat

        Chat(conversation, arguments.model, arguments.image, arguments.video, arguments.show_reasoning).loop()
        return
    conversation.messages.append(user_message(prompt, arguments.image, arguments.video))
    if arguments.json:
        print(json.dumps(answer_object(conversation.complete()), ensure_ascii=False))
        return
    with AnswerPrinter(sys.stdout, arguments.show_reasoning) as printer:
        completion = conversation.stream(printer)
    show_ending(completion)


def answer_object(completion: Completion) -> dict[str, Any]:
    """What --json shows. Its keys are promised to stay."""
    answer = asdict(completion)
    for rare in ("logprobs", "cut_call", "prompt_logprobs", "left_out"):
        if answer[rare] in (None, ()):
            del answer[rare]
    return answer


def _sampling_params(arguments: argparse.Namespace) -> SamplingParams:
    return SamplingParams(
        temperature=arguments.temperature,
        top_p=arguments.top_p,
        top_k=arguments.top_k,
        min_p=arguments.min_p,
        presence_penalty=arguments.presence_penalty,
        frequency_penalty=arguments.frequency_penalty,
        repetition_penalty=arguments.repetition_penalty,
        seed=arguments.seed,
        max_tokens=arguments.max_tokens,
        stop=tuple(arguments.stop),
        logprobs=arguments.logprobs,
        max_thinking_tokens=arguments.max_thinking,
        loop_detection=arguments.stop_loops,
        json_schema=_read_text(arguments.json_schema, "the schema"),
        regex=arguments.regex,
        grammar=_read_text(arguments.grammar, "the grammar"),
    )


def _read_text(name: str | None, what: str) -> str | None:
    """The text of a file. Raises InvalidArgument when there is none."""
    if name is None:
        return None
    try:
        return Path(name).read_text("utf-8")
    except (OSError, ValueError) as error:
        raise InvalidArgument(f"{what} cannot be read from {name} ({error})") from error


def _prompt(arguments: argparse.Namespace) -> str | None:
    if arguments.prompt is None:
        return None
    text = arguments.prompt
    if text == "-":
        # surrogateescape, so that bytes that are not UTF-8 are found by the check.
        text = sys.stdin.buffer.read().decode("utf-8", "surrogateescape")
    if not text.strip() and not arguments.image and not arguments.video:
        raise InvalidArgument("the prompt is empty; give a text after -p")
    return check_text(text, "the prompt")
