"""Several models behind one server: loaded when they are asked for, within a budget, unloaded when nobody does."""

import asyncio
import gc
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from qwill.errors import Busy, NotEnoughMemory
from qwill.llm import LLM
from qwill.server.names import TAG, Names
from qwill.server.worker import Worker
from qwill.weights.checkpoint import memory_needed
from qwill.weights.hub.cache import resolve_model
from qwill.weights.load import open_checkpoint

log = logging.getLogger("qwill.server")


@dataclass(eq=False)
class Served:
    """A model by the name that clients use. `adapters`: names of adapters of it, which clients ask for as models.
    `leases`: requests that need it loaded. `keep_seconds`: for which a client wants it kept when nobody asks it,
    `math.inf` for ever; None leaves that to the server.
    """

    name: str
    source: str
    options: Mapping[str, Any] = field(default_factory=dict)
    adapters: Sequence[str] = ()
    worker: Worker | None = None
    bytes: int = 0
    leases: int = 0
    last_used: float = 0.0
    keep_seconds: float | None = None
    created: int = field(default_factory=lambda: int(time.time()))
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    leaving: asyncio.TimerHandle | None = None

    def adapter(self, name: str | None) -> str | None:
        """The adapter of it that clients call so, if there is one."""
        spelled = (name, name.removesuffix(TAG)) if name else ()
        return next((adapter for adapter in self.adapters if adapter in spelled), None)


class Models:
    """Belongs to one event loop."""

    def __init__(
        self,
        served: Sequence[Served],
        max_waiting: int = 64,
        budget: int | None = None,
        idle_seconds: float | None = None,
        load: Callable[..., LLM] = LLM,
        aliases: Mapping[str, str] | None = None,
        default: str | None = None,
    ) -> None:
        """budget: bytes of weights that are loaded at a time; None is what memory holds. idle_seconds: after which a
        model that nobody asks is unloaded; None is never. load: called with an open checkpoint and the options.
        aliases, default: see `Names`. Raises InvalidArgument for an alias of no model.
        """
        adapters = {name: model.name for model in served for name in model.adapters}
        self.names = Names(served, aliases or {}, default, adapters)
        self._max_waiting = max_waiting
        self._budget = budget
        self._idle_seconds = idle_seconds
        self._load_llm = load
        self._unloading: set[asyncio.Task[bool]] = set()

    @property
    def all(self) -> list[Served]:
        return self.names.served

    def find(self, name: str | None) -> Served:
        """The model of that name, the first one without a name. Raises ModelNotFound."""
        return self.names.find(name)

    def keeps(self, served: Served) -> float | None:
        """Seconds after which a model that nobody asks is unloaded; None for never."""
        seconds = self._idle_seconds if served.keep_seconds is None else served.keep_seconds
        return None if seconds is None or seconds == float("inf") else seconds

    async def lease(self, name: str | None, keep_seconds: float | None = None) -> tuple[Served, Worker]:
        """The model, loaded, until `release`. keep_seconds: what becomes of `Served.keep_seconds`, unless it is None.

        Raises ModelNotFound, NotEnoughMemory, CheckpointError, Busy.
        """
        served = self.find(name)
        served.leases += 1
        _stop_leaving(served)
        try:
            async with served.lock:
                if served.worker is None:
                    served.worker = await self._load(served)
            if keep_seconds is not None:
                served.keep_seconds = keep_seconds
            return served, served.worker
        except BaseException:
            self.release(served)
            raise

    def release(self, served: Served) -> None:
        """A request does not need the model any more."""
        served.leases -= 1
        served.last_used = time.monotonic()
        if not served.leases:
            self._wait_to_leave(served)

    async def unload(self, served: Served) -> None:
        """Unloads a model at once, or when the last of those that use it has done."""
        served.keep_seconds = 0.0
        _stop_leaving(served)
        await self._unload(served)

    async def start(self) -> None:
        """Loads the first model."""
        served, _ = await self.lease(None)
        self.release(served)

    async def close(self) -> None:
        """Unloads all, and keeps nothing of what they have read."""
        for served in self.all:
            _stop_leaving(served)
            await self._unload(served, ending=True)

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

    async def _unload(self, served: Served, ending: bool = False) -> bool:
        """Whether the model is unloaded: one that is used stays, unless the server is `ending`."""
        async with served.lock:
            if served.leases and not ending:
                return False
            worker, served.worker, served.keep_seconds = served.worker, None, None
            if worker is not None:
                await worker.close(keep=not ending)
                log.info("unloaded", extra={"model": served.name})
            del worker
            gc.collect()  # an error that was told to a client may hold itself, and the model that it came from
            return True

    def _wait_to_leave(self, served: Served) -> None:
        """Has a model that nobody uses unloaded after its time."""
        _stop_leaving(served)
        seconds = self.keeps(served)
        if served.worker is not None and seconds is not None:
            served.leaving = asyncio.get_running_loop().call_later(seconds, self._leave, served)

    def _leave(self, served: Served) -> None:
        task = asyncio.ensure_future(self._unload(served))
        self._unloading.add(task)
        task.add_done_callback(self._unloading.discard)


def _stop_leaving(served: Served) -> None:
    if served.leaving is not None:
        served.leaving.cancel()
        served.leaving = None
