"""One page that needs nothing else: no script, no font, no picture from elsewhere. For a browser, a phone, an e-mail.

It is built as a tree and serialised, so that every text and attribute is escaped by the serialiser.
"""

from xml.etree import ElementTree as ET

NOBODY_ELSE = "default-src 'none'; style-src 'unsafe-inline'"  # what the browser may load: nothing


def new_page(title: str, style: str) -> tuple[ET.Element, ET.Element]:
    """Return a page and its part that holds what is shown."""
    page = ET.Element("html", {"lang": "en"})
    head = add(page, "head")
    add(head, "meta", charset="utf-8")
    add(head, "meta", {"http-equiv": "Content-Security-Policy", "content": NOBODY_ELSE})
    add(head, "meta", name="viewport", content="width=device-width, initial-scale=1")
    add(head, "title", title)
    add(head, "style", style)
    return page, add(add(page, "body"), "main")


def written(page: ET.Element) -> str:
    """Return the page as text."""
    return f"<!DOCTYPE html>\n{ET.tostring(page, encoding='unicode', method='html')}\n"


def add(parent: ET.Element, tag: str, text: str | dict[str, str] = "", /, kind: str = "", **attributes: str) -> ET.Element:
    """Add an element with its text, or with attributes whose names are no identifiers; `kind` is its class."""
    given = text if isinstance(text, dict) else {}
    child = ET.SubElement(parent, tag, given | attributes | ({"class": kind} if kind else {}))
    child.text = text if isinstance(text, str) else None
    return child


def section(main: ET.Element, title: str) -> ET.Element:
    """Add a part with a heading."""
    part = add(main, "section")
    add(part, "h2", title)
    return part
