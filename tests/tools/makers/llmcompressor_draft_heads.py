"""compressed-tensors: draft heads copied to models that were saved without them. Arguments: target, folders."""

import sys
from pathlib import Path

import torch
from compressed_tensors.utils.mtp import save_mtp_tensors_to_checkpoint
from transformers import AutoModelForImageTextToText


def main() -> None:
    target, *sources = map(Path, sys.argv[1:])
    for source in sources:
        for name, size in (("single", "5GB"), ("shards", "200KB")):
            folder = target / source.name / name
            model = AutoModelForImageTextToText.from_pretrained(source, dtype=torch.bfloat16)
            model.save_pretrained(folder, max_shard_size=size)
            save_mtp_tensors_to_checkpoint(str(source), str(folder))
            print(folder, sorted(file.name for file in folder.iterdir()))


main()
