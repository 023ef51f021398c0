"""From a name to a connection: looked up, judged, connected, secured.

A name is looked up once for all who want it at the same moment, and its addresses are
remembered for a while.  All of them were judged by the guard; the very address that a
socket connects to is judged once more when the socket is made.  Several addresses of
one name are tried as RFC 8305 has it, and again when one of them turns out not to
speak TLS as it should; nothing of a request is written before all that is done.
"""

import asyncio
import socket
import ssl
from collections import OrderedDict, deque
from collections.abc import Callable
from functools import partial
from ipaddress import ip_address
from typing import Final

import aiohappyeyeballs
from aiohttp.abc import AbstractResolver

from services.delivery.connection import Connection
from services.delivery.failures import not_connected, not_found, not_secured
from services.delivery.guard import AddressInfo, Forbidden, Guard

#: How long the first address of a name is tried before the next one is, too.
_STAGGER_SECONDS: Final = 0.25
#: How long a receiver may take to say goodbye.
_GOODBYE_SECONDS: Final = 1.0
#: How many names are remembered.
_NAMES_MAX: Final = 16_384

Infos = deque[AddressInfo]


class Dialer:
    """Makes connections that *guard* allows; *names* says where names lead."""

    def __init__(
        self, guard: Guard, names: AbstractResolver, *, remembered_seconds: float
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._guard = guard
        self._names = names
        self._remembered_seconds = remembered_seconds
        #: Until when an answer is good, and the answer; the oldest stand first.
        self._known: OrderedDict[tuple[str, int], tuple[float, Infos]] = OrderedDict()
        self._asked: dict[tuple[str, int], asyncio.Task[Infos]] = {}

    async def dial(
        self,
        host: str,
        port: int,
        context: ssl.SSLContext | None,
        made: Callable[[], Connection],
    ) -> Connection:
        """Return a connection; raises `Forbidden`, `NoAnswer` or `NoRoom`."""
        infos = await self._infos(host, port)
        while True:
            sock = await self._connected(infos)
            peer, connection = _peer_of(sock), made()
            try:
                await self._loop.create_connection(
                    lambda one=connection: one,
                    sock=sock,
                    ssl=context,
                    server_hostname=None if context is None else host,
                    ssl_shutdown_timeout=None if context is None else _GOODBYE_SECONDS,
                )
            except OSError as error:
                failure = not_secured(error)
            except asyncio.CancelledError:
                connection.give_up()
                raise
            else:
                return connection
            infos = [info for info in infos if info[4][:2] != peer]
            if not infos or peer is None:
                raise failure from None

    async def close(self) -> None:
        """Look nothing up any more."""
        for task in self._asked.values():
            task.cancel()
        await asyncio.gather(*self._asked.values(), return_exceptions=True)

    async def _connected(self, infos: list[AddressInfo]) -> socket.socket:
        try:
            return await aiohappyeyeballs.start_connection(
                infos,
                happy_eyeballs_delay=_STAGGER_SECONDS,
                interleave=1,
                loop=self._loop,
                socket_factory=self._guard.open_socket,
            )
        except Forbidden:
            raise
        except (OSError, RuntimeError) as error:
            # `RuntimeError` is what uvloop may raise of a socket.
            by_six = all(info[0] == socket.AF_INET6 for info in infos)
            raise not_connected(error, by_six=by_six) from None

    # --- names -----------------------------------------------------------------------

    async def _infos(self, host: str, port: int) -> list[AddressInfo]:
        """Return the addresses of *host*, another one first each time."""
        if _is_address(host):
            return [_info(host, port)]
        key = host, port
        until, infos = self._known.get(key, (0.0, None))
        if infos is None or until <= self._loop.time():
            task = self._asked.get(key)
            if task is None:
                task = self._asked[key] = self._loop.create_task(self._look_up(key))
                task.add_done_callback(partial(self._told, key))
            # Whoever is cancelled must not take the others along.
            infos = await asyncio.shield(task)
        infos.rotate(-1)
        return list(infos)

    async def _look_up(self, key: tuple[str, int]) -> Infos:
        host, port = key
        try:
            answers = await self._names.resolve(host, port)
        except Forbidden:
            raise
        except OSError as error:
            raise not_found(error) from None
        return deque(_info(answer["host"], port) for answer in answers)

    def _told(self, key: tuple[str, int], task: "asyncio.Task[Infos]") -> None:
        del self._asked[key]
        if task.cancelled() or task.exception() is not None:
            return
        self._known.pop(key, None)
        self._known[key] = self._loop.time() + self._remembered_seconds, task.result()
        if len(self._known) > _NAMES_MAX:
            self._known.popitem(last=False)


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _info(address: str, port: int) -> AddressInfo:
    v6 = ":" in address
    return (
        socket.AF_INET6 if v6 else socket.AF_INET,
        socket.SOCK_STREAM,
        socket.IPPROTO_TCP,
        "",
        (address, port, 0, 0) if v6 else (address, port),
    )


def _peer_of(sock: socket.socket) -> tuple[str, int] | None:
    """Return where *sock* leads, unless that has gone already."""
    try:
        host, port, *_ = sock.getpeername()
    except OSError:
        return None
    return host, port
