"""Statements that go to Postgres together."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from psycopg import errors as pg

from wf.history.model import Reason
from wf.history.postgres_arrays import byteas, int8s, texts
from wf.history.postgres_pool import Connection, Pool, send

MEGABYTE = b"m" * 1_000_000


@pytest.fixture
def connection(postgres_url: str) -> Iterator[Connection]:
    connection = Pool(postgres_url).connect()
    yield connection
    connection.close()


def fly(connection: Connection, *statements: str, ask: bool = False) -> None:
    """Together. `ask`: for the last answer, in the middle."""
    with connection.flight.together():
        cursors = [send(connection, statement) for statement in statements]
        if ask:
            cursors[-1].fetchall()


def test_values_arrive_as_what_they_are(connection: Connection) -> None:
    values = [None, True, 7, -(2**63), "text ü", b"\0bytes", Reason.TAKEN]
    sent = send(connection, "SELECT %s::text, %s, %s, %s, %s::text, %s, %s", values)
    assert sent.fetchall() == [tuple(values)]
    arrays = [int8s([1, -2]), byteas([b"\0", None]), texts(["a", "ü"])]
    assert send(connection, "SELECT %s, %s, %s", arrays).fetchone() == (
        [1, -2],
        [b"\0", None],
        ["a", "ü"],
    )


def test_a_value_with_a_name_may_stand_in_several_places(connection: Connection) -> None:
    values = {"one": 1, "two": 2, "unused": object()}
    sent = send(connection, "SELECT %(two)s, %(one)s, %(two)s", values)
    assert list(sent) == [(2, 1, 2)]


def test_a_text_with_a_nul_is_refused_and_the_connection_goes_on(connection: Connection) -> None:
    with pytest.raises(psycopg.DataError):
        send(connection, "SELECT %s", ["a\0b"])
    assert send(connection, "SELECT 1").fetchall() == [(1,)]


def test_rows_are_counted_where_they_are_answered_and_where_they_are_changed(
    connection: Connection,
) -> None:
    with connection.flight.together():
        send(connection, "CREATE TEMPORARY TABLE t (a int8)")
        added = send(connection, "INSERT INTO t SELECT generate_series(1, 3)")
        read = send(connection, "SELECT * FROM t WHERE a > %s", [1])
    assert (added.rowcount, read.rowcount) == (3, 2)


def test_an_answer_can_be_asked_for_in_the_middle(connection: Connection) -> None:
    with connection.flight.together():
        first = send(connection, "SELECT 1")
        ((two,),) = send(connection, "SELECT 2").fetchall()
        last = send(connection, "SELECT %s", [two + 1])
    assert [cursor.fetchone() for cursor in (first, last)] == [(1,), (3,)]


def test_the_first_failure_is_told_and_nothing_of_the_flight_has_happened(
    connection: Connection,
) -> None:
    send(connection, "CREATE TEMPORARY TABLE t (a int8)")
    with pytest.raises(pg.DivisionByZero):
        fly(connection, "INSERT INTO t VALUES (1)", "SELECT 1 / 0", "SELECT no_such_function()")
    assert send(connection, "SELECT count(*) FROM t").fetchall() == [(0,)]


def test_a_failure_is_told_to_who_asks_in_the_middle(connection: Connection) -> None:
    with pytest.raises(pg.DivisionByZero):
        fly(connection, "SELECT 1 / 0", "SELECT 2", ask=True)
    assert send(connection, "SELECT 3").fetchall() == [(3,)]


def test_what_could_not_be_prepared_is_prepared_when_it_comes_again(
    connection: Connection,
) -> None:
    with pytest.raises(pg.UndefinedTable):
        send(connection, "SELECT * FROM pg_temp.later")
    with pytest.raises(pg.DivisionByZero):
        fly(connection, "SELECT 1 / 0", "SELECT 'after it'")
    send(connection, "CREATE TEMPORARY TABLE later (a int8)")
    assert send(connection, "SELECT * FROM pg_temp.later").fetchall() == []
    assert send(connection, "SELECT 'after it'").fetchall() == [("after it",)]


def test_more_goes_both_ways_than_sockets_hold(connection: Connection) -> None:
    with connection.flight.together():
        sent = [send(connection, "SELECT %s", [MEGABYTE]) for _ in range(10)]
    assert all(cursor.fetchall() == [(MEGABYTE,)] for cursor in sent)


def test_a_connection_that_is_lost_in_flight_is_closed(connection: Connection) -> None:
    with pytest.raises(psycopg.OperationalError):
        fly(connection, "SELECT pg_terminate_backend(pg_backend_pid())", "SELECT 1")
    assert connection.closed
    with pytest.raises(psycopg.OperationalError):
        send(connection, "SELECT 1")


def test_what_goes_behind_a_transaction_is_done_after_it_and_its_failure_is_nobodys(
    connection: Connection, postgres_url: str
) -> None:
    with Pool(postgres_url).connect() as other:
        other.execute("LISTEN news")
        connection.flight.behind = ("SELECT pg_notify(%s, %s)", ["news", "one"])
        with connection.flight.together():
            sent = send(connection, "SELECT 1")
        assert sent.fetchall() == [(1,)]
        assert [notice.payload for notice in other.notifies(timeout=20, stop_after=1)] == ["one"]
        connection.flight.behind = ("SELECT 1 / %s", [0])
        assert send(connection, "SELECT 2").fetchall() == [(2,)]
        assert send(connection, "SELECT 3").fetchall() == [(3,)]
        connection.flight.behind = ("SELECT pg_notify(%s, %s)", ["news", "two"])
        with pytest.raises(pg.DivisionByZero):
            send(connection, "SELECT 1 / %s", [0])
        assert [notice.payload for notice in other.notifies(timeout=20, stop_after=1)] == ["two"]
