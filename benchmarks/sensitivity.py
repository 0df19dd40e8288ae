"""Which matrices lose most by few bits: the demonstration model in Q8_0 but for one kind of tensor in Q4_K.

    QWILL_LLAMA_CPP=... QWILL_LLAMA_BIN=... python benchmarks/sensitivity.py [--texts 40]

Texts, importance and divergence are those of `quantizers.py`: of the weights alone, from the float32 file, less what
Q8_0 everywhere has. The dynamic recipes (docs/recipes.md) follow what is lost for each byte that is saved.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
from quantizers import Bench

from qwill.convert.quantize import plan_model, write_gguf
from qwill.quant.recipes import Recipe, load_recipe

KINDS = {
    "ssm_alpha, ssm_beta": ("ssm_alpha.weight", "ssm_beta.weight"),
    "routed experts' gate and up": ("ffn_gate_exps.weight", "ffn_up_exps.weight"),
    "routed experts' down": ("ffn_down_exps.weight",),
    "shared expert": ("ffn_*_shexp.weight",),
    **{name: (f"{name}.weight",) for name in ("token_embd", "output", "ssm_out", "attn_gate", "attn_qkv")},
    **{name: (f"{name}.weight",) for name in ("attn_q", "attn_k", "attn_v", "attn_output")},
}


def lowered(tensors: tuple[str, ...], folder: Path) -> Recipe:
    """Q4_K in these tensors of all layers, Q8_0 in the rest."""
    path = folder / "lowered.toml"
    path.write_text(f'default = "Q8_0"\nfallbacks = true\n[[rules]]\ntensors = {list(tensors)}\ntype = "Q4_K"\n')
    return load_recipe(str(path))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--texts", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        bench = Bench(folder, arguments.texts, arguments.seed)

        def measured(recipe: Recipe) -> tuple[int, float]:
            file = folder / "lowered.gguf"
            write_gguf(plan_model(bench.base, recipe, bench.importance), file, overwrite=True, threads=2)
            found = bench.measure(file)
            return found.nbytes, float(np.concatenate(found.weights).mean())

        whole, floor = measured(load_recipe("Q8_0"))
        rows = []
        for name, tensors in KINDS.items():
            nbytes, divergence = measured(lowered(tensors, folder))
            saved = (whole - nbytes) / 1e6
            rows.append((1e3 * (divergence - floor) / saved, name, saved, 1e3 * (divergence - floor)))
    print(f"{bench.tokens[0]:,} tokens; all in Q8_0: {floor:.1e}")
    print("| in Q4_K | saves, MB | loses, millinats | millinats a MB |\n|---|---|---|---|")
    for ratio, name, saved, loss in sorted(rows, reverse=True):
        print(f"| {name} | {saved:.3f} | {loss:.2f} | {ratio:.1f} |")


if __name__ == "__main__":
    main()
