"""Ids: sorted by time, the same on every replay, shown and read back."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wf.history.ids import derived_id, made_at, new_id, parse, show

TIMES = st.integers(min_value=0, max_value=2**48 - 1)


@given(TIMES)
def test_an_id_tells_when_it_was_made(at: int) -> None:
    assert made_at(new_id(at)) == at


def test_ids_of_one_millisecond_sort_as_they_were_made() -> None:
    ids = [new_id(1_000) for _ in range(3_000)]
    assert ids == sorted(ids)
    assert len(set(ids)) == len(ids)


def test_ids_made_by_many_threads_are_all_different() -> None:
    with ThreadPoolExecutor(8) as threads:
        ids = list(threads.map(new_id, [1_000] * 8_000))
    assert len(set(ids)) == len(ids)


@given(TIMES, st.binary(min_size=16, max_size=16), st.integers(1, 99), st.integers(1, 99))
def test_a_derived_id_depends_on_run_chapter_and_ordinal_alone(
    at: int, run: bytes, chapter: int, ordinal: int
) -> None:
    made = derived_id(at, run, chapter, ordinal)
    assert made == derived_id(at, run, chapter, ordinal)
    assert made_at(made) == at
    assert made != derived_id(at, run, chapter + 1, ordinal)
    assert made != derived_id(at, run, chapter, ordinal + 1)


@given(st.binary(min_size=16, max_size=16))
def test_what_is_shown_is_read_back(identifier: bytes) -> None:
    shown = show("run", identifier)
    assert parse("run", shown) == identifier
    assert len(shown) == len("run_") + 22


@pytest.mark.parametrize(
    "rubbish", ["", "run_", "42", "run_0OIl", "token_" + "1" * 22, "run_" + "z" * 22]
)
def test_rubbish_is_refused_with_what_an_id_looks_like(rubbish: str) -> None:
    with pytest.raises(ValueError, match="is no run id"):
        parse("run", rubbish)
