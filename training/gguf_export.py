"""Writes an exported model as llama.cpp's pair of files: `python -m training.gguf_export FOLDER DESTINATION`.

`demo.gguf` holds the text model, the draft head, the tokenizer and the chat template; `mmproj-demo.gguf` the vision
tower. The conversion is that of `qwill quantize`; only name and licence are the demonstration model's own.
"""

import argparse
from dataclasses import replace
from pathlib import Path

from qwill.convert.quantize import VISION_FILE_TYPES, Conversion, plan_model, plan_vision, write_gguf
from qwill.quant.recipes import load_recipe

MODEL_NAME, MMPROJ_NAME = "demo.gguf", "mmproj-demo.gguf"
DESCRIPTION = {"general.name": "qwill's demonstration model", "general.license": "apache-2.0"}


def export_gguf(folder: Path, destination: Path, text_type: str = "Q8_0", vision_type: str = "F16") -> None:
    """The pair of files in `destination`: text model by a recipe's name or file, tower in a type of VISION_FILE_TYPES.

    F16 is exact for a tower trained in bfloat16: its eight bits fit into F16's eleven, and weights beyond F16's range
    do not occur. Raises InvalidArgument for a recipe that does not suit the model.
    """
    _write(plan_model(folder, load_recipe(text_type)), destination / MODEL_NAME)
    _write(plan_vision(folder, vision_type), destination / MMPROJ_NAME)


def _write(conversion: Conversion, path: Path) -> None:
    write_gguf(replace(conversion, metadata={**conversion.metadata, **DESCRIPTION}), path, overwrite=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="what training.export wrote")
    parser.add_argument("destination", type=Path)
    parser.add_argument("--type", default="Q8_0", help="recipe of the text model")
    parser.add_argument(
        "--vision-type", default="F16", choices=VISION_FILE_TYPES, help="of the vision tower's matrices"
    )
    options = parser.parse_args()
    export_gguf(options.folder, options.destination, options.type, options.vision_type)


if __name__ == "__main__":
    main()
