"""From a name to addresses: whose name server hangs delays strangers only."""

import asyncio
import socket
import threading

import pytest

from services.delivery.resolver import open_resolver
from tests.support.waiting import until

FOUND = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 0))]


class NameServers:
    """Every name server in the world: those in *hanging* do not answer."""

    def __init__(self) -> None:
        self.hanging: set[str] = set()
        self.asked: list[str] = []
        self.thaw = threading.Event()

    def look_up(self, host, *_, **__):
        self.asked.append(host)
        if host.split(".", 1)[1] in self.hanging:
            self.thaw.wait(20)
        return FOUND


@pytest.fixture
def servers(monkeypatch):
    servers = NameServers()
    monkeypatch.setattr(socket, "getaddrinfo", servers.look_up)
    yield servers
    servers.thaw.set()


async def test_a_name_is_looked_up_in_a_thread(servers):
    async with open_resolver() as names:
        (answer,) = await names.resolve("a.good.example", 443)

    assert (answer["host"], answer["port"]) == ("192.0.2.1", 443)
    assert answer["family"] == socket.AF_INET


async def test_names_that_hang_do_not_delay_those_that_were_found_before(servers):
    servers.hanging.add("bad.example")
    async with open_resolver() as names:
        await names.resolve("a.good.example", 443)
        hanging = [
            asyncio.create_task(names.resolve(f"x{i}.bad.example", 443))
            for i in range(200)
        ]
        await until(lambda: len(servers.asked) == 65)

        answers = await asyncio.wait_for(names.resolve("a.good.example", 443), 5)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(names.resolve("new.good.example", 443), 0.2)

        servers.thaw.set()
        await asyncio.gather(*hanging)
    assert len(answers) == 1


async def test_a_name_that_begins_to_hang_is_a_stranger_from_then_on(servers):
    async with open_resolver() as names:
        for i in range(40):
            await names.resolve(f"x{i}.bad.example", 443)
        await names.resolve("a.good.example", 443)
        servers.hanging.add("bad.example")
        for i in range(40):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(names.resolve(f"x{i}.bad.example", 443), 0.01)
        servers.thaw.set()
        await asyncio.wait_for(names.resolve("a.good.example", 443), 5)
        servers.thaw.clear()
        asked = len(servers.asked)
        hanging = [
            asyncio.create_task(names.resolve(f"x{i}.bad.example", 443))
            for i in range(40)
        ]
        await until(lambda: len(servers.asked) == asked + 40)

        await asyncio.wait_for(names.resolve("a.good.example", 443), 5)

        servers.thaw.set()
        await asyncio.gather(*hanging)


async def test_a_name_that_is_not_found_is_an_error(servers, monkeypatch):
    def unknown(*_, **__):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    async with open_resolver() as names:
        with pytest.raises(socket.gaierror):
            await names.resolve("nobody.example", 443)
