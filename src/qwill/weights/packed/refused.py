"""Quantizations that are not read: what each is, and what to take in its place."""

from dataclasses import dataclass

_TWO_BITS = "a GGUF file of its size, such as UD-Q2_K_XL, IQ2_M or IQ3_XXS"
_FOUR_BITS = "a GGUF file of its size, such as Q4_K_M, or a GPTQ, AWQ or AutoRound folder"
_FOUR_BIT_FLOATS = "an NVFP4 folder of modelopt or llm-compressor, or an MXFP4 GGUF file"
_EIGHT_BITS = "the FP8 release, or a Q8_0 GGUF file"
_ANY_BITS = "the BF16 or FP8 release, or a GGUF file of its size"


@dataclass(frozen=True)
class Refused:
    """`what` a quantization is, in a few words behind its name; `instead`: what to take."""

    what: str
    instead: str


# By `quant_method`, in lower case.
REFUSED = {
    "aqlm": Refused("AQLM, sums of codebook vectors", _TWO_BITS),
    "bitblas": Refused("BitBLAS, a layout for its kernels", _FOUR_BITS),
    "bitnet": Refused("BitNet, ternary weights of models trained so", _ANY_BITS),
    "deepspeedfp": Refused("DeepSpeed's FP6 to FP12, made while a model is loaded", _EIGHT_BITS),
    "eetq": Refused("EETQ, eight-bit codes in the order of its CUDA kernel", _EIGHT_BITS),
    "exl2": Refused("EXL2, a layout for ExLlamaV2's CUDA kernels", _FOUR_BITS),
    "exl3": Refused("EXL3, trellis codes of rotated weights for ExLlamaV3", _FOUR_BITS),
    "experts_int8": Refused("experts_int8, made while a model is loaded", _EIGHT_BITS),
    "fouroversix": Refused("Four Over Six, NVFP4 in the order of its kernels", _FOUR_BIT_FLOATS),
    "fp_quant": Refused("FP-Quant, four-bit floats of rotated weights", _FOUR_BIT_FLOATS),
    "gemma": Refused("a quantization of another family", _ANY_BITS),
    "gguf": Refused("GGUF, whose files are read without a folder", "the .gguf file itself"),
    "higgs": Refused("HIGGS, codebook vectors of rotated weights", _FOUR_BITS),
    "hqq": Refused("HQQ, codes whose zeros are no whole numbers", _FOUR_BITS),
    "marlin": Refused("Marlin, a layout for one CUDA kernel", _FOUR_BITS),
    "metal": Refused("transformers' Metal layout", "an MLX folder, or a GGUF file of its size"),
    "nvfp4": Refused("transformers' NVFP4, in the order of its kernel", _FOUR_BIT_FLOATS),
    "paroquant": Refused("ParoQuant, four-bit codes of rotated weights", _FOUR_BITS),
    "qqq": Refused("QQQ, a layout for one CUDA kernel", _FOUR_BITS),
    "quanto": Refused("optimum-quanto", _EIGHT_BITS),
    "quip": Refused("QuIP, codebook vectors of rotated weights", _TWO_BITS),
    "quip_sharp": Refused("QuIP#, codebook vectors of rotated weights", _TWO_BITS),
    "qtip": Refused("QTIP, trellis codes of rotated weights", _TWO_BITS),
    "sinq": Refused("SINQ, with factors of rows and columns", _FOUR_BITS),
    "spqr": Refused("SpQR, codes with outliers kept apart", _FOUR_BITS),
    "squeezellm": Refused("SqueezeLLM, codebooks with outliers kept apart", _FOUR_BITS),
    "tpu_int8": Refused("tpu_int8, made while a model is loaded", _EIGHT_BITS),
    "vptq": Refused("VPTQ, codebook vectors", _TWO_BITS),
}


def refusal(method: str) -> str:
    """Why a `quant_method` is not read, and what to take; for one that nobody knows, what is read at all."""
    known = REFUSED.get(method)
    if known is None:
        return f"quantization {method or None!r} is not supported; use {_ANY_BITS}"
    return f"quantization {method!r} ({known.what}) is not supported; use {known.instead}"
