"""Runs llama.cpp's own converter on folders whose tokenizer is made up: `llama_convert.py TREE JOBS.json`.

The file lists the arguments of each run of convert_hf_to_gguf.py; one process does them all, since its imports take
most of the time. The converter recognises a pre-tokenizer by the hash of what a released tokenizer makes of a test
sentence. A tiny vocabulary has another hash, so that one answer is given here; everything else is as it ships.
"""

import json
import runpy
import sys
from pathlib import Path


def main() -> None:
    tree = Path(sys.argv[1])
    jobs = json.loads(Path(sys.argv[2]).read_text())
    sys.path[:0] = [str(tree), str(tree / "gguf-py")]
    from conversion.base import TextModel
    from conversion.qwen import Qwen3_5MoeTextModel, Qwen3_5TextModel

    TextModel.get_vocab_base_pre = lambda self, tokenizer: "qwen35"
    script = str(tree / "convert_hf_to_gguf.py")
    for arguments in jobs:
        for model in (Qwen3_5TextModel, Qwen3_5MoeTextModel):
            model.no_mtp = False  # the option sets it on the class, where it would outlive its run
        sys.argv = [script, *arguments]
        runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    main()
