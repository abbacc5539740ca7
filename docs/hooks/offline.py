"""Check that a built site asks no other server for anything: `python docs/hooks/offline.py build/site`."""

from __future__ import annotations

import sys
from html.parser import HTMLParser
from pathlib import Path

#: Attributes by which a browser fetches something when it shows the element.
FETCHED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src", "audio": "src", "link": "href"}


class Requests(HTMLParser):
    """Collects what a page has a browser fetch from another server."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        address = values.get(FETCHED.get(tag, "")) or ""
        if address.startswith(("http:", "https:", "//")) and values.get("rel") != "canonical":
            self.found.append(address)


def list_requests(page: Path) -> list[str]:
    """Addresses on other servers that a browser fetches when it shows the page."""
    parser = Requests()
    parser.feed(page.read_text("utf-8"))
    return parser.found


def main(folder: str) -> None:
    pages = sorted(Path(folder).rglob("*.html"))
    found = [f"{page}: {address}" for page in pages for address in list_requests(page)]
    if not pages or found:
        sys.exit("\n".join(found) or f"{folder} has no pages. Build the site first.")
    print(f"{len(pages)} pages, no request to another server")


if __name__ == "__main__":
    main(sys.argv[1])
