"""Which Bellhop a command asks, and with which key.

What the command line says goes before the environment, and that before the stack that
runs on this machine.
"""

from dataclasses import dataclass
from urllib.parse import urlsplit

from libs.cli.settings import StackSettings, Unusable
from libs.cli.stack_file import NothingRuns, StackFile, read_stack


@dataclass(frozen=True, slots=True)
class Access:
    """An address, and what opens it: an API key, or the administrator's."""

    url: str
    key: str
    admin: bool = False

    @property
    def headers(self) -> dict[str, str]:
        """How a request says who asks."""
        if self.admin:
            return {"X-Admin-Key": self.key}
        return {"Authorization": f"Bearer {self.key}"}


def find_access(url: str | None, key: str | None, *, admin: bool) -> Access:
    """Return what was given, completed by the stack of this machine.

    Raises `Unusable` with what is missing.  The stack's key goes to no other address.
    """
    stack = None if url and key else _stack()
    if url is None:
        if stack is None:
            raise Unusable(
                "nothing says where Bellhop is: give --url or BELLHOP_URL, or start "
                "one here with `bellhop up`"
            )
        url = stack.base_url
    if urlsplit(url).scheme not in {"http", "https"}:
        raise Unusable("--url: must begin with http:// or https://")
    url = url.rstrip("/").removesuffix("/api/v1")
    if key is None and stack is not None and stack.base_url == url:
        key = stack.admin_key if admin else stack.api_key
    if key is None:
        option = "--admin-key or BELLHOP_ADMIN_KEY" if admin else _KEY
        raise Unusable(f"there is no key for {url}: give {option}")
    return Access(url, key, admin)


_KEY = "--api-key or BELLHOP_API_KEY"


def _stack() -> StackFile | None:
    try:
        return read_stack(StackSettings.from_env().data_dir)
    except NothingRuns:
        return None
