"""What the documentation says is true: every block of every page is run."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, ROOT, Reader, blocks_of, matches
from wf.history import errors


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_block_of_a_page_does_what_it_says(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    reader = Reader(page, tmp_path)
    monkeypatch.setitem(sys.modules, "page", reader.module)
    try:
        reader.read()
    finally:
        reader.close()


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    linked = set(re.findall(r"\]\(([\w-]+\.md)\)", index))
    assert linked == {page.name for page in PAGES if page.parent.name == "docs"} - {"README.md"}


def test_every_page_leads_to_the_next_one_of_the_index() -> None:
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    order = re.findall(r"^\d+\. \[[^\]]+\]\(([\w-]+\.md)\)", index, re.MULTILINE)
    texts = [(ROOT / "docs" / page).read_text(encoding="utf-8") for page in order]
    told = [re.findall(r"^Next: \[[^\]]+\]\(([\w-]+\.md)\)\.$", one, re.MULTILINE) for one in texts]
    assert told == [*([page] for page in order[1:]), []]


def test_every_link_of_a_page_leads_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_error_code_has_a_page() -> None:
    codes = {
        value.code: name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.Error)
    }
    text = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    told = dict(re.findall(r"^### (WF\d{4}) (?:wf\.)?(\w+)", text, re.MULTILINE))
    assert told == codes


def test_a_page_that_says_something_else_is_found_out() -> None:
    assert matches("a … c\n\nd", "x\na b c\ny\nd\n")
    assert not matches("d\na", "a\nd\n")
    assert not matches("a b", "a c")
    assert blocks_of(ROOT / "README.md")
