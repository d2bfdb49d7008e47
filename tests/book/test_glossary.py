"""The glossary: every term once, in order, with a chapter that is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "book/glossary.md").read_text("utf-8")
ENTRY = re.compile(r"(?m)^(\S.*)\n((?:  .+\n)+)")
LINK = re.compile(r"\[Chapter (\d+)\]\(\.\./notebooks/((\d\d)_\w+\.ipynb)\)\s*$")


def entries() -> list[tuple[str, str]]:
    """Every term with the text of its entry."""
    (inside,) = re.findall(r":::\{glossary\}\n(.*?):::", TEXT, re.S)
    return ENTRY.findall(inside)


def test_no_term_stands_twice_and_all_are_in_order():
    terms = [term.lower() for term, _ in entries()]
    assert len(terms) > 80
    assert terms == sorted(set(terms))


@pytest.mark.parametrize(("term", "text"), entries(), ids=[term for term, _ in entries()])
def test_an_entry_is_short_and_leads_to_its_chapter(term, text):
    link = LINK.search(text)
    assert link, f"{term}: the last line of the entry is the link to its chapter"
    assert int(link[1]) == int(link[3])
    said = LINK.sub("", text).strip()
    sentences = re.findall(r"[.!?](?=\s|$)", said)
    assert 1 <= len(sentences) <= 3 and len(said.split()) < 60
    assert (ROOT / "notebooks" / link[2]).exists(), f"{term}: {link[2]} is not there"


def test_a_term_that_is_named_has_an_entry():
    there = {term for term, _ in entries()}
    pages = "\n".join(path.read_text("utf-8") for path in (ROOT / "book").glob("*.md"))
    named = re.findall(r"\{term\}`(?:[^`<]*<)?([^`<>]+)>?`", re.sub(r"\s+", " ", pages))
    assert named and set(named) <= there, sorted(set(named) - there)
