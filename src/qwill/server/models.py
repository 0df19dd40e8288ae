"""Several models behind one server: loaded when they are asked for, within a budget, unloaded when nobody does."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from qwill.errors import Busy, ModelNotFound, NotEnoughMemory
from qwill.llm import LLM
from qwill.server.worker import Worker
from qwill.weights.hub import resolve_model
from qwill.weights.load import memory_needed, open_checkpoint

log = logging.getLogger("qwill.server")
CHECK_SECONDS = 1.0


@dataclass(eq=False)
class Served:
    """A model by the name that clients use. `leases`: requests that need it loaded."""

    name: str
    source: str
    options: Mapping[str, Any] = field(default_factory=dict)
    worker: Worker | None = None
    bytes: int = 0
    leases: int = 0
    last_used: float = 0.0
    created: int = field(default_factory=lambda: int(time.time()))
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Models:
    """Belongs to one event loop."""

    def __init__(
        self,
        served: Sequence[Served],
        max_waiting: int = 64,
        budget: int | None = None,
        idle_seconds: float | None = None,
        load: Callable[..., LLM] = LLM,
    ) -> None:
        """budget: bytes of weights that are loaded at a time; None is what memory holds. idle_seconds: after which a
        model that nobody asks is unloaded; None is never. load: called with an open checkpoint and the options.
        """
        self._served = {model.name: model for model in served}
        self._default = served[0]
        self._max_waiting = max_waiting
        self._budget = budget
        self.idle_seconds = idle_seconds
        self._load_llm = load
        self._watch: asyncio.Task[None] | None = None

    @property
    def all(self) -> list[Served]:
        return list(self._served.values())

    def find(self, name: str | None) -> Served:
        """The model of that name, the first one without a name. Raises ModelNotFound."""
        if not name:
            return self._default
        served = self._served.get(name) or self._served.get(name.removesuffix(":latest"))
        if served is None:
            raise ModelNotFound(f"no model {name!r} here; there is {', '.join(self._served)}")
        return served

    async def lease(self, name: str | None) -> tuple[Served, Worker]:
        """The model, loaded, until `release`. Raises ModelNotFound, NotEnoughMemory, CheckpointError, Busy."""
        served = self.find(name)
        served.leases += 1
        try:
            async with served.lock:
                if served.worker is None:
                    served.worker = await self._load(served)
            return served, served.worker
        except BaseException:
            self.release(served)
            raise

    def release(self, served: Served) -> None:
        """A request does not need the model any more."""
        served.leases -= 1
        served.last_used = time.monotonic()

    async def start(self) -> None:
        """Loads the first model, and watches for idle ones."""
        served, _ = await self.lease(None)
        self.release(served)
        if self.idle_seconds is not None:
            self._watch = asyncio.create_task(self._unload_idle(self.idle_seconds))

    async def close(self) -> None:
        """Unloads all."""
        if self._watch is not None:
            self._watch.cancel()
        for served in self.all:
            await self._unload(served)

    async def _load(self, served: Served) -> Worker:
        checkpoint = await asyncio.to_thread(lambda: open_checkpoint(resolve_model(served.source)))
        served.bytes = memory_needed(checkpoint)
        while self._budget is not None and self._loaded_bytes() + served.bytes > self._budget:
            if served.bytes > self._budget:
                raise NotEnoughMemory(
                    f"{served.name} needs {served.bytes / 1e9:.1f} GB and models may take {self._budget / 1e9:.1f} GB;"
                    " start the server with more"
                )
            if not await self._unload_one():
                raise Busy("all models that are loaded are in use; send this again later")
        started = time.monotonic()
        while True:
            try:
                llm = await asyncio.to_thread(self._load_llm, checkpoint, **served.options)
                break
            except NotEnoughMemory:
                if not await self._unload_one():
                    raise
        log.info("loaded", extra={"model": served.name, "seconds": round(time.monotonic() - started, 2)})
        served.last_used = time.monotonic()
        return Worker(llm, self._max_waiting)

    def _loaded_bytes(self) -> int:
        return sum(served.bytes for served in self.all if served.worker is not None)

    async def _unload_one(self) -> bool:
        """Unloads the model that was idle longest; False if none is."""
        idle = [served for served in self.all if served.worker is not None and served.leases == 0]
        if not idle:
            return False
        await self._unload(min(idle, key=lambda served: served.last_used))
        return True

    async def _unload(self, served: Served) -> None:
        worker, served.worker = served.worker, None
        if worker is not None:
            await worker.close()
            log.info("unloaded", extra={"model": served.name})

    async def _unload_idle(self, seconds: float) -> None:
        while True:
            await asyncio.sleep(min(CHECK_SECONDS, seconds / 4))
            for served in self.all:
                if served.worker is not None and served.leases == 0 and time.monotonic() - served.last_used > seconds:
                    await self._unload(served)
