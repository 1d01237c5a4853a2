"""Connections of Uvicorn that do not wait for ever for the head of a request."""

from __future__ import annotations

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

__all__ = ["protocol"]


def protocol(seconds: float) -> type[H11Protocol]:
    """Uvicorn's protocol with a limit on the time that the head of a request takes, the first and every further one.

    Uvicorn waits for ever for a head that is not whole: some hundreds of such connections (Slowloris) and nobody else
    gets one.

    Parameters
    ----------
    seconds : float
        S from the connection, or from the first byte of a further head, until the head must be whole.
    """

    class Limited(H11Protocol):
        _late: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._late = self.loop.call_later(seconds, transport.close)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            waits = self.conn.their_state is h11.IDLE
            if waits and self._late is None:
                self._late = self.loop.call_later(seconds, self.transport.close)
            elif not waits:
                self._known()

        def connection_lost(self, exc: Exception | None) -> None:
            self._known()
            super().connection_lost(exc)

        def _known(self) -> None:
            if self._late is not None:
                self._late.cancel()
                self._late = None

    return Limited
