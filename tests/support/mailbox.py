"""A mail server for tests: it speaks as much SMTP as it takes to hand over a mail."""

import asyncio
import re
from base64 import b64decode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage


@dataclass
class Mailbox:
    """What arrived, and who signed in to hand it over."""

    port: int = 0
    letters: list[EmailMessage] = field(default_factory=list)
    users: list[tuple[str, str]] = field(default_factory=list)
    #: Addresses that the server does not take.
    refused: set[str] = field(default_factory=set)

    def code_for(self, address: str) -> str:
        """Return the six digits that were last sent to *address*."""
        letter = next(one for one in reversed(self.letters) if one["To"] == address)
        found = re.search(r"\b\d{6}\b", letter.get_content())
        assert found
        return found[0]

    async def serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Take mails on one connection until its client leaves."""

        async def say(line: str) -> None:
            writer.write(f"{line}\r\n".encode())
            await writer.drain()

        try:
            await say("220 mailbox")
            while line := (await reader.readline()).decode().strip():
                if not await self._obey(line, reader, say):
                    break
        finally:
            writer.close()

    async def _obey(self, line, reader, say) -> bool:
        verb = line.split(maxsplit=1)[0].upper()
        if verb == "EHLO":
            await say("250-mailbox")
            await say("250 AUTH PLAIN")
        elif verb == "AUTH":
            _, user, password = b64decode(line.split()[2]).decode().split("\0")
            self.users.append((user, password))
            await say("235 welcome")
        elif verb == "RCPT" and any(one in line for one in self.refused):
            await say("550 no such mailbox")
        elif verb == "DATA":
            await say("354 go on")
            text = await reader.readuntil(b"\r\n.\r\n")
            letter = message_from_bytes(text[:-3], policy=policy.default)
            self.letters.append(letter)
            await say("250 taken")
        elif verb == "QUIT":
            await say("221 bye")
            return False
        else:
            await say("250 ok")
        return True


@asynccontextmanager
async def run_mailbox() -> AsyncIterator[Mailbox]:
    """Run a mail server on a free port."""
    mailbox = Mailbox()
    server = await asyncio.start_server(mailbox.serve, "127.0.0.1", 0)
    mailbox.port = server.sockets[0].getsockname()[1]
    try:
        yield mailbox
    finally:
        server.close()
        await server.wait_closed()
