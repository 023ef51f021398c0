"""Webhooks for who has no address: the same attempts, over a connection of theirs."""

import asyncio
import json
import shlex
import signal
import sys
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web

from libs.cli.service_process import tree_environment
from libs.common.health import serve_http
from libs.common.listening import URL
from tests.support.endpoint import HANG, Answer
from tests.support.endpoints import create_endpoint
from tests.support.house import new_tenant
from tests.support.waiting import until

QUICK = {"strategy": "schedule", "schedule_seconds": [0.2], "jitter": 0}


@pytest.fixture(autouse=True)
def _carrying(carrying):
    """A pod runs in all of these tests."""


class Listener:
    """``bellhop listen`` as a process, and what it says."""

    def __init__(self, process):
        self.process = process
        self.said = []
        self.told = []

    async def read(self):
        async for line in self.process.stdout:
            self.told.append(json.loads(line))

    async def overhear(self):
        async for line in self.process.stderr:
            self.said.append(line.decode().strip())

    @property
    def secret(self):
        return next(s.split()[1] for s in self.said if s.startswith("Secret: "))

    def is_ready(self, times=1):
        return sum(one.startswith("Listening") for one in self.said) >= times


def environment_of(house, tenant):
    return {
        **{k: v for k, v in tree_environment().items() if "BELLHOP_" not in k},
        "BELLHOP_URL": house.base_url,
        "BELLHOP_API_KEY": tenant.api_key,
    }


@asynccontextmanager
async def listening(house, tenant, forward, *arguments, number=signal.SIGINT):
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "libs.cli", "listen", "--json"),
        *("--forward", forward, *arguments),
        env=environment_of(house, tenant),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    listener = Listener(process)
    async with asyncio.TaskGroup() as readers:
        readers.create_task(listener.read())
        readers.create_task(listener.overhear())
        try:
            await until(listener.is_ready, at_most=60)
            yield listener
        finally:
            if process.returncode is None:
                process.send_signal(number)
            try:
                await asyncio.wait_for(process.wait(), 30)
            except TimeoutError:
                process.kill()


async def send(api, event_type="invoice.paid", **payload):
    """Send a message; return the job of its only delivery."""
    made = await api.ask(
        "POST",
        "/messages",
        json={"event_type": event_type, "payload": payload},
        expect=201,
    )

    async def delivery():
        message = await api.ask("GET", f"/messages/{made['id']}", expect=200)
        return message["deliveries"]

    [one] = await until(delivery)
    return one["job_id"]


async def test_a_message_arrives_signed_and_its_answer_is_the_attempts(
    api, house, tenant, endpoint
):
    endpoint.otherwise = Answer(201, b"thanks", {"x-mine": "1"})
    async with listening(house, tenant, endpoint.url_of("/hook?a=1")) as listener:
        job_id = await send(api, amount=250)
        [received] = await endpoint.received(1)
        received.verify(listener.secret)
        assert received.path == "/hook?a=1"
        assert json.loads(received.body) == {"amount": 250}
        await api.until_status(job_id, "completed", at_most=30)
        await until(lambda: listener.told)

    [attempt] = await api.attempts(job_id)
    assert (attempt["outcome"], attempt["status_code"]) == ("delivered", 201)
    assert attempt["response_body"] == "thanks"
    [told] = listener.told
    assert (told["status"], told["webhook_id"]) == (201, received.id)
    assert listener.process.returncode == 130
    assert await api.ask("GET", "/endpoints", expect=200) == [], "it was for us alone"


async def test_a_refusal_is_tried_again_and_kept_with_its_answer(
    api, house, tenant, endpoint
):
    made = await create_endpoint(api, url=URL, retry=QUICK)
    endpoint.answers = [Answer(503, b"later", {"x-reason": "full"})]
    async with listening(house, tenant, endpoint.url, "--endpoint", made["id"]):
        job_id = await send(api)
        await api.until_status(job_id, "completed", at_most=30)

    first, second = sorted(
        await api.attempts(job_id), key=lambda attempt: attempt["attempt"]
    )
    assert (first["status_code"], first["response_body"]) == (503, "later")
    assert first["response_headers"]["x-reason"] == "full"
    assert second["status_code"] == 200
    ids = {received.id for received in await endpoint.received(2)}
    assert len(ids) == 1


async def test_while_nobody_listens_it_is_tried_again(api, house, tenant, endpoint):
    made = await create_endpoint(api, url=URL, retry=QUICK, max_retries=100)
    job_id = await send(api)

    async def failed():
        return await api.attempts(job_id)

    attempts = await until(failed, at_most=30)
    assert attempts[0]["error"] == "nobody listens"

    async with listening(house, tenant, endpoint.url, "--endpoint", made["id"]):
        await api.until_status(job_id, "completed", at_most=30)


async def test_a_receiver_that_hangs_or_is_away_is_one_that_did_not_answer(
    api, house, tenant, endpoint
):
    made = await create_endpoint(api, url=URL, max_retries=0, timeout_seconds=2)
    endpoint.otherwise = HANG
    async with listening(house, tenant, endpoint.url, "--endpoint", made["id"]):
        job_id = await send(api)
        await api.until_status(job_id, "deadletter", at_most=30)
    assert "timeout" in (await api.job(job_id))["last_error"]

    async with listening(
        house, tenant, "http://127.0.0.1:9/", "--endpoint", made["id"]
    ):
        job_id = await send(api)
        await api.until_status(job_id, "deadletter", at_most=30)
    assert "did not answer" in (await api.job(job_id))["last_error"]


async def test_who_leaves_in_the_middle_did_not_answer(api, house, tenant, endpoint):
    made = await create_endpoint(api, url=URL, max_retries=0, timeout_seconds=60)
    endpoint.otherwise = HANG
    async with listening(
        house, tenant, endpoint.url, "--endpoint", made["id"], number=signal.SIGKILL
    ):
        job_id = await send(api)
        await endpoint.received(1)

    await api.until_status(job_id, "deadletter", at_most=30)
    assert (await api.job(job_id))["last_error"] == "who listened has left"


async def test_an_answer_that_comes_in_pieces_is_kept_whole(api, house, tenant):
    pieces = [b"one ", b"two ", b"three"]

    async def answer(request):
        response = web.StreamResponse()
        await response.prepare(request)
        for piece in pieces:
            await response.write(piece)
            await asyncio.sleep(0.1)
        return response

    app = web.Application()
    app.router.add_post("/", answer)
    made = await create_endpoint(api, url=URL)
    async with serve_http(app, host="127.0.0.1", port=0) as port:
        forward = f"http://127.0.0.1:{port}/"
        async with listening(house, tenant, forward, "--endpoint", made["id"]):
            job_id = await send(api)
            await api.until_status(job_id, "completed", at_most=30)

    [attempt] = await api.attempts(job_id)
    assert attempt["response_body"] == b"".join(pieces).decode()


async def test_who_hangs_keeps_nobody_from_listening_again(
    api, house, tenant, endpoint
):
    made = await create_endpoint(
        api, url=URL, retry=QUICK, timeout_seconds=100, max_retries=9
    )
    endpoint.answers = [HANG]
    async with listening(
        house, tenant, endpoint.url, "--endpoint", made["id"]
    ) as listener:
        job_id = await send(api)
        await endpoint.received(1)
        await house.stop("ingest")
        await house.start("ingest")
        await until(lambda: listener.is_ready(times=2), at_most=30)
        await api.until_status(job_id, "completed", at_most=30)


async def test_who_looks_no_more_ends_it_without_a_traceback(
    api, house, tenant, endpoint
):
    made = await create_endpoint(api, url=URL)
    command = [sys.executable, "-m", "libs.cli", "listen", "--json"]
    options = ["--forward", endpoint.url, "--endpoint", made["id"]]
    process = await asyncio.create_subprocess_shell(
        f"{shlex.join([*command, *options])} | head -n 1",
        env=environment_of(house, tenant),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    assert (await process.stderr.readline()).startswith(b"Listening")
    for _ in range(2):
        await api.until_status(await send(api), "completed", at_most=30)
    told, said = await asyncio.wait_for(process.communicate(), 30)

    assert json.loads(told)["status"] == 200
    assert b"Traceback" not in said


async def test_a_test_of_an_endpoint_is_heard_too(api, house, tenant, endpoint):
    made = await create_endpoint(api, url=URL)
    async with listening(house, tenant, endpoint.url, "--endpoint", made["id"]):
        told = await api.ask("POST", f"/endpoints/{made['id']}/test", expect=200)

    assert (told["success"], told["status_code"]) == (True, 200)


async def test_only_its_owner_listens_and_only_where_somebody_may(
    api, house, tenant, database_url, endpoint
):
    elsewhere = await create_endpoint(api, url=endpoint.url)
    here = await create_endpoint(api, url=URL)
    other = await new_tenant(database_url, slug="other")
    path = f"/endpoints/{here['id']}/listen"
    assert (await api.ask("GET", path))[0] == 400
    assert (await api.ask("GET", f"/endpoints/{elsewhere['id']}/listen"))[0] == 409
    assert (await api.ask("GET", path, headers=other.headers))[0] == 404

    async with aiohttp.ClientSession() as session:
        url = f"{house.base_url}/api/v1{path}"
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await session.ws_connect(url, headers=other.headers)


async def test_a_key_that_was_revoked_hears_nothing_more(api, house):
    made = await create_endpoint(api, url=URL)
    key = await api.ask("POST", "/api-keys", json={"name": "laptop"}, expect=201)
    headers = {"Authorization": f"Bearer {key['key']}"}
    url = f"{house.base_url}/api/v1/endpoints/{made['id']}/listen"
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(url, headers=headers) as ws,
    ):
        await api.ask("DELETE", f"/api-keys/{key['id']}", expect=204)
        message = await ws.receive(timeout=30)

    assert message.type is aiohttp.WSMsgType.CLOSE
    assert ws.close_code == 1008
