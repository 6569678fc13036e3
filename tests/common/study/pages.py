"""What a browser would find in a site: addresses, anchors and anything that runs or asks elsewhere."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

LOADED = {"img": "src", "link": "href", "script": "src", "iframe": "src", "source": "src", "image": "href"}


@dataclass
class Page(HTMLParser):
    """One page, parsed."""

    path: Path
    links: list[str] = field(default_factory=list)
    loaded: list[str] = field(default_factory=list)
    anchors: set[str] = field(default_factory=set)
    running: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self.text = self.path.read_text(encoding="utf-8")
        self.feed(self.text)

    def handle_starttag(self, tag, attrs):
        given = {name: value or "" for name, value in attrs}
        self.anchors.add(given.get("id", ""))
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if given.get(LOADED.get(tag, "")):
            self.loaded.append(given[LOADED[tag]])
        handlers = [name for name in given if name.startswith("on")]
        if tag == "script" or handlers:
            self.running.append(f"{tag} {handlers}")


def pages(site: Path) -> dict[Path, Page]:
    """Every page of a site by its path."""
    return {path: Page(path) for path in sorted(site.rglob("*.html"))}


def faults(site: Path) -> Iterator[str]:
    """Addresses that lead nowhere, what is loaded from elsewhere, and whatever could run."""
    found = pages(site)
    for path, page in found.items():
        name = path.relative_to(site)
        yield from (f"{name}: runs {what}" for what in page.running)
        yield from (f"{name}: loads {what}" for what in page.loaded if _is_outside(what))
        for address in (*page.links, *page.loaded):
            if (
                not _is_outside(address)
                and not address.startswith("data:")
                and not _leads(address, page, found)
            ):
                yield f"{name}: {address} leads nowhere"


def _is_outside(address: str) -> bool:
    return (":" in address.partition("/")[0] and not address.startswith("data:")) or address.startswith("//")


def _leads(address: str, page: Page, found: dict[Path, Page]) -> bool:
    place, _, anchor = (unquote(part) for part in address.partition("#"))
    target = (page.path.parent / place).resolve() if place else page.path
    if not target.is_file():
        return False
    return not anchor or (target in found and anchor in found[target].anchors)
