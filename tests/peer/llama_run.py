"""Computes logits with llama.cpp in a process of its own: `llama_run.py JOB.json`.

The job names the model, files of inputs and files for results (NumPy's .npy). An abort inside llama.cpp ends this
process and not the tests. The C API is declared by the llama-cpp-python package around llama.cpp's tree.
"""

import ctypes
import json
import os
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np

F32 = 0  # ggml's number of the type
MTP_CONTEXT = 1
MAX_CONTEXT = 1024


def load_api() -> Any:
    """The package's declarations, without its `__init__`, which imports a server's worth of modules."""
    os.environ["LLAMA_CPP_LIB_PATH"] = os.environ["MTMD_CPP_LIB"] = os.environ["QWILL_LLAMA_BIN"]
    package = types.ModuleType("llama_cpp")
    package.__path__ = [str(Path(os.environ["QWILL_LLAMA_CPP"]).parents[1] / "llama_cpp")]
    sys.modules["llama_cpp"] = package
    from llama_cpp import llama_cpp

    return llama_cpp


class Llama:
    """One model; contexts on it are made as needed."""

    def __init__(self, path: str, threads: int) -> None:
        self.api = load_api()
        self.threads = threads
        # llama-ext.h declares these two for C++ alone, so they are found by their mangled names.
        self.keep_hidden = self.api._lib._Z26llama_set_embeddings_nextnP13llama_contextbb
        self.keep_hidden.argtypes, self.keep_hidden.restype = [ctypes.c_void_p, ctypes.c_bool, ctypes.c_bool], None
        self.hidden = self.api._lib._Z26llama_get_embeddings_nextnP13llama_context
        self.hidden.argtypes, self.hidden.restype = [ctypes.c_void_p], ctypes.POINTER(ctypes.c_float)
        self.api.llama_backend_init()
        params = self.api.llama_model_default_params()
        params.load_mtp = True
        self.model = self.api.llama_model_load_from_file(path.encode(), params)
        if not self.model:
            sys.exit(f"llama.cpp cannot load {path}")
        self.vocab_size = self.api.llama_vocab_n_tokens(self.api.llama_model_get_vocab(self.model))
        self.width = self.api.llama_model_n_embd(self.model)

    def context(self, **settings: Any) -> Any:
        """Keys and values in f32, and no flash attention, which rounds them to f16 whatever their type."""
        params = self.api.llama_context_default_params()
        params.n_ctx = params.n_batch = params.n_ubatch = MAX_CONTEXT
        params.n_threads = params.n_threads_batch = self.threads
        params.type_k = params.type_v = F32
        params.flash_attn_type = 0
        for name, value in settings.items():
            setattr(params, name, value)
        context = self.api.llama_init_from_model(self.model, params)
        if not context:
            sys.exit("llama.cpp cannot make a context")
        return context

    def decode(self, context: Any, token_ids: np.ndarray, hidden: np.ndarray | None = None) -> np.ndarray:
        """Logits [tokens, vocab] f32 of one batch at positions 0, 1, …; `hidden` are the states a draft head reads."""
        batch = self.api.llama_batch_ext_init(context)
        position = ctypes.c_int32()
        for i, token in enumerate(token_ids.tolist()):
            self.api.llama_batch_ext_add_token(batch, 0, token)
            position.value = i
            self.api.llama_batch_ext_set_pos(batch, i, ctypes.byref(position))
            self.api.llama_batch_ext_set_output_logits(batch, i, True)
            if hidden is not None:
                row = hidden[i].ctypes.data_as(ctypes.POINTER(ctypes.c_float))
                self.api.llama_batch_ext_set_embd_token(batch, i, self.api.llama_embd(row, 1, self.width))
        status = self.api.llama_process(context, self.api.LLAMA_PROCESS_TYPE_DECODE, batch)
        if status:
            sys.exit(f"llama_process gave {status}")
        return floats(self.api.llama_get_logits(context), len(token_ids), self.vocab_size)

    def encode_image(self, mmproj: str, pixels: np.ndarray) -> np.ndarray:
        """Embeddings [tokens, hidden_size] f32 of one image, pixels [height, width, 3] uint8."""
        from llama_cpp import mtmd_cpp as media

        params = media.mtmd_context_params_default()
        params.use_gpu, params.n_threads, params.flash_attn_type, params.warmup = False, self.threads, 0, False
        tower = media.mtmd_init_from_file(mmproj.encode(), self.model, params)
        if not tower:
            sys.exit(f"llama.cpp cannot load {mmproj}")
        height, width, _ = pixels.shape
        data = np.ascontiguousarray(pixels).ctypes.data_as(ctypes.POINTER(ctypes.c_uint8))
        bitmap = ctypes.c_void_p(media.mtmd_bitmap_init(width, height, data))
        chunks = media.mtmd_input_chunks_init()
        marker = media.mtmd_default_marker()
        text = media.mtmd_input_text(marker, len(marker), False, True)
        status = media.mtmd_tokenize(tower, chunks, ctypes.byref(text), ctypes.byref(bitmap), 1)
        if status:
            sys.exit(f"mtmd_tokenize gave {status}")
        for number in range(media.mtmd_input_chunks_size(chunks)):
            chunk = media.mtmd_input_chunks_get(chunks, number)
            if media.mtmd_input_chunk_get_type(chunk) == media.MTMD_INPUT_CHUNK_TYPE_IMAGE:
                status = media.mtmd_encode_chunk(tower, chunk)
                if status:
                    sys.exit(f"mtmd_encode_chunk gave {status}")
                return floats(media.mtmd_get_output_embd(tower), media.mtmd_input_chunk_get_n_tokens(chunk), self.width)
        sys.exit("mtmd_tokenize gave no image")


def floats(pointer: Any, rows: int, columns: int) -> np.ndarray:
    return np.ctypeslib.as_array(pointer, (rows, columns)).copy()


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text())
    llama = Llama(job["model"], job["threads"])
    if "embeddings" in job:
        np.save(job["embeddings"], llama.encode_image(job["mmproj"], np.load(job["pixels"])))
        return
    token_ids = np.load(job["tokens"])
    context = llama.context()
    if "draft_logits" in job:
        llama.keep_hidden(context, True, False)
    np.save(job["logits"], llama.decode(context, token_ids))
    if "draft_logits" in job:
        hidden = floats(llama.hidden(context), len(token_ids), llama.width)
        draft = llama.context(ctx_type=MTP_CONTEXT, ctx_other=context)
        np.save(job["hidden"], hidden)
        np.save(job["draft_logits"], llama.decode(draft, token_ids[1:], hidden[:-1]))


if __name__ == "__main__":
    main()
