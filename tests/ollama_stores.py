"""Stores of models as Ollama lays them out, for tests."""

import hashlib
import json
from pathlib import Path
from typing import Any

KIND = "application/vnd.ollama.image."


def put_blob(store: Path, content: bytes) -> dict[str, Any]:
    """Lays a blob into the store; digest and size as a manifest has them."""
    digest = hashlib.sha256(content).hexdigest()
    (store / "blobs").mkdir(parents=True, exist_ok=True)
    (store / "blobs" / f"sha256-{digest}").write_bytes(content)
    return {"digest": f"sha256:{digest}", "size": len(content)}


def put_model(store: Path, name: str, layers: list[tuple[str, bytes]]) -> Path:
    """A model of the library, or of HOST/NAMESPACE; `name` has its tag. `layers`: kinds and contents."""
    host, namespace, last = name.split("/") if "/" in name else ("registry.ollama.ai", "library", name)
    model, tag = last.split(":")
    path = store / "manifests" / host / namespace / model / tag
    path.parent.mkdir(parents=True, exist_ok=True)
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
        "config": {"mediaType": "application/vnd.docker.container.image.v1+json"} | put_blob(store, b"{}"),
        "layers": [{"mediaType": KIND + kind} | put_blob(store, content) for kind, content in layers],
    }
    path.write_text(json.dumps(manifest))
    return path
