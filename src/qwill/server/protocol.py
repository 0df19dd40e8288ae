"""uvicorn's HTTP, with an end to requests that never begin or never stop beginning, and to clients that never read."""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

HEAD_BYTES = 64 << 10  # of a request beside its body, which the gate bounds; a chunk's own may be as many as it brings
HEAD_SECONDS = 30.0  # from the connection, or the first byte of a later request, to the end of its headers
STALLED_SECONDS = 120.0  # while the client takes nothing of what waits for it


class Protocol(HttpToolsProtocol):
    """Closes connections whose requests have more beside their bodies, or take longer to begin, and those whose
    clients do not take what they asked for. All requests of a connection hear when it ends: uvicorn tells the last one
    alone, though an earlier one may be under way.
    """

    _beside = 0
    _in_head = True
    _waiting: asyncio.TimerHandle | None = None
    _stalled: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._begun: list[RequestResponseCycle] = []
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        self._stop_stalled()
        for cycle in self._begun:
            if not cycle.response_complete:
                cycle.disconnected = True
                cycle.message_event.set()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stalled = self.loop.call_later(STALLED_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        self._stop_stalled()
        super().resume_writing()

    def data_received(self, data: bytes) -> None:
        self._beside += len(data)
        super().data_received(data)
        if self._beside > HEAD_BYTES and not self.transport.is_closing():
            if self._in_head and not self._answering:
                self.send_400_response(f"The headers may have {HEAD_BYTES} bytes.")
            else:
                self.transport.close()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._beside = min(self._beside, 0)  # what came with it in one piece may have been another request's
        self._in_head = True
        self._wait()

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._stop_waiting()
        super().on_headers_complete()
        if self._begun and not self._begun[-1].response_complete:
            self._begun.append(self.cycle)
        else:  # they are answered one after the other, so all before it are complete
            self._begun = [self.cycle]

    def on_body(self, body: bytes) -> None:
        self._beside -= 2 * len(body)
        super().on_body(body)

    @property
    def _answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _wait(self) -> None:
        self._stop_waiting()
        self._waiting = self.loop.call_later(HEAD_SECONDS, self._give_up)

    def _stop_waiting(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def _stop_stalled(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    def _give_up(self) -> None:
        if self._answering:  # another request of this connection
            self._wait()
        else:
            self.transport.close()
