"""Tensor types of GGUF files that qwill does not read, by their numbers, and whose they are: for messages."""

# Numbers of ggml's enumeration that are of other programs, of the past, or no types of weights.
_LLAMA_CPP = {
    9: "Q8_1", 15: "Q8_K", 24: "I8", 25: "I16", 26: "I32", 27: "I64", 28: "F64", 34: "TQ1_0", 35: "TQ2_0", 41: "Q1_0",
    42: "Q2_0",
}  # fmt: skip
_OLD_LLAMA_CPP = {
    4: "Q4_2", 5: "Q4_3", 31: "Q4_0_4_4", 32: "Q4_0_4_8", 33: "Q4_0_8_8", 37: "IQ4_NL_4_8", 38: "IQ4_NL_8_8",
}  # fmt: skip
_IK_LLAMA_CPP = {
    36: "I2_S", 97: "Q8_0_X4", 98: "Q8_1_X4", 99: "Q8_2_X4", 133: "Q6_0", 134: "IQ1_BN", 135: "IQ2_BN", 136: "Q8_K64",
    137: "IQ2_K", 138: "IQ3_K", 139: "IQ4_K", 140: "IQ5_K", 141: "IQ6_K", 144: "IQ4_KS", 145: "IQ2_KS", 146: "IQ4_KSS",
    147: "Q8_K16", 148: "Q8_K32", 149: "Q8_KR8", 150: "Q8_K128", 151: "Q8_KV", 152: "IQ5_KS", 153: "IQ2_KT",
    154: "IQ3_KT", 155: "IQ4_KT", 156: "IQ3_KS", 157: "IQ2_KL", 158: "IQ1_KT", 202: "Q4_0_R8", 206: "Q5_0_R4",
    208: "Q8_0_R8", 210: "Q2_K_R4", 211: "Q3_K_R4", 212: "Q4_K_R4", 213: "Q5_K_R4", 214: "Q6_K_R4", 216: "IQ2_XXS_R4",
    217: "IQ2_XS_R4", 218: "IQ3_XXS_R4", 219: "IQ1_S_R4", 220: "IQ4_NL_R4", 221: "IQ3_S_R4", 222: "IQ2_S_R4",
    223: "IQ4_XS_R8", 229: "IQ1_M_R4", 230: "BF16_R16", 233: "Q6_0_R4", 335: "IQ2_BN_R4", 337: "IQ2_K_R4",
    338: "IQ3_K_R4", 339: "IQ4_K_R4", 340: "IQ5_K_R4", 344: "IQ4_KS_R4", 352: "IQ5_KS_R4", 398: "Q8_KV_R8",
    399: "Q8_K_R8",
}  # fmt: skip
_INSTEAD = "take a file of one that llama.cpp has too, such as Q4_K_M or Q8_0"


def why_not(type_id: int) -> str:
    """What the type of that number is, and what to take instead."""
    if type_id in _IK_LLAMA_CPP:
        return f"{type_id} ({_IK_LLAMA_CPP[type_id]}), one of ik_llama.cpp's own, which is not supported; {_INSTEAD}"
    if type_id in _OLD_LLAMA_CPP:
        return f"{type_id} ({_OLD_LLAMA_CPP[type_id]}), which llama.cpp has given up; {_INSTEAD}"
    if type_id in _LLAMA_CPP:
        return f"{type_id} ({_LLAMA_CPP[type_id]}), which is not supported; take a file of another type, such as Q4_K_M"
    return f"{type_id}, which is not supported: it is newer than this qwill, or another program's own; {_INSTEAD}"
