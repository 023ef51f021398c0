"""A window of the dashboard, and what the browser says of the pages in it."""

from typing import Self

from playwright.async_api import (
    Browser,
    BrowserContext,
    Page,
    ViewportSize,
    expect,
)

#: Runs before the page does: what the policy of the page stopped is told here.
LISTEN = """
document.addEventListener("securitypolicyviolation", (event) =>
  console.error(`violation of ${event.violatedDirective} by ${event.blockedURI}`));
"""
PHONE = ViewportSize(width=390, height=844)
DESK = ViewportSize(width=1280, height=900)

#: How long the page may take for what an event tells it.
expect.set_options(timeout=15_000)


class Window:
    """A window with the dashboard in it, signed in or not."""

    def __init__(self, base_url: str, context: BrowserContext, page: Page) -> None:
        self.base_url = base_url
        self.context = context
        self.page = page
        #: What went wrong in the page: errors, and violations of its policy.
        self.complaints: list[str] = []
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _hear(self, message) -> None:
        # That an answer was no success is the page's to show, and is looked at there.
        if message.type == "error" and "Failed to load resource" not in message.text:
            self.complaints.append(message.text)

    @classmethod
    async def open(
        cls, browser: Browser, base_url: str, *, size: ViewportSize = DESK, **options
    ) -> Self:
        """Open a window at the door; *options* are of the browser's context."""
        context = await browser.new_context(viewport=size, base_url=base_url, **options)
        await context.add_init_script(LISTEN)
        window = cls(base_url, context, await context.new_page())
        await window.page.goto("/")
        return window

    async def sign_in(self, api_key: str) -> None:
        """Sign in, and wait until events come."""
        await self.page.get_by_label("API key").fill(api_key)
        await self.page.get_by_role("button", name="Sign in").click()
        await expect(self.page.locator(".standing")).to_have_text("Live")

    async def go(self, path: str) -> None:
        """Go to a page by its address, and wait until it has loaded."""
        await self.page.goto("/" if path == "/" else f"/dashboard{path}")
        await self.settled()

    async def settled(self) -> None:
        """Wait until nothing is shown as loading."""
        await expect(self.page.locator("main h1")).not_to_have_count(0)
        await expect(self.page.locator("main .loading")).to_have_count(0)
        await expect(self.page.locator(".standing")).to_have_text("Live")

    async def close(self) -> None:
        """Close it."""
        await self.context.close()
