"""The schema as scripts: `python -m wf.history.ddl` writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

from sqlalchemy import Table, create_mock_engine
from sqlalchemy.schema import CreateIndex, CreateTable

from wf.history.schema import schema
from wf.history.version import SCHEMA_VERSION

Dialect = Literal["sqlite", "postgresql"]


def ddl(dialect: Dialect) -> str:
    """The script that makes an empty database into one of SCHEMA_VERSION."""
    lines = ["-- Made from history/schema.py by `python -m wf.history.ddl`: change it there.\n"]
    engine = create_mock_engine(f"{dialect}://", _discard)
    for table in schema.tables.values():
        # Table.indexes is a set: without an order the script would differ from time to time.
        indexes = sorted(table.indexes, key=lambda index: str(index.name))
        for element in (CreateTable(table), *map(CreateIndex, indexes)):
            compiled = str(element.compile(dialect=engine.dialect)).replace("\t", "    ")
            text_lines = [line.rstrip() for line in compiled.strip().splitlines()]
            if " WITHOUT ROWID" in text_lines:
                text_lines[1:] = _key_first(text_lines[1:], table)
            lines.append("\n".join(text_lines) + ";\n")
        if dialect == "postgresql" and "fillfactor" in table.info:
            fill = table.info["fillfactor"]
            lines.append(f"ALTER TABLE {table.name} SET (fillfactor = {fill});\n")
    lines.append(f"INSERT INTO meta (version) VALUES ({SCHEMA_VERSION});\n")
    return "\n".join(lines)


def _key_first(lines: list[str], table: Table) -> list[str]:
    """`PRAGMA integrity_check` of SQLite 3.40 sees a NULL in every row of a table WITHOUT ROWID
    whose first column is not the first of its key."""
    names = [column.name for column in table.primary_key.columns]
    word = {name: f'"{name}"' if f'"{name}"' in "".join(lines) else name for name in names}
    keys = [next(line for line in lines if line.split()[0] == word[name]) for name in names]
    return keys + [line for line in lines if line not in keys]


def _discard(*_: object) -> None: ...


_SHORT: Final[dict[Dialect, str]] = {"sqlite": "sqlite", "postgresql": "postgres"}
_HERE: Final = Path(__file__).parent


def head_file(dialect: Dialect) -> Path:
    """Where the script stands."""
    return _HERE / "sql" / f"head_{_SHORT[dialect]}.sql"


def first_file(dialect: Dialect) -> Path:
    """The script of the first revision: the head's, until there is a second one."""
    return _HERE / "migrations" / "versions" / f"0001_{_SHORT[dialect]}.sql"


def write() -> None:
    for dialect in _SHORT:
        script = ddl(dialect)
        head_file(dialect).write_text(script, encoding="utf-8")
        if SCHEMA_VERSION == 1:
            first_file(dialect).write_text(script, encoding="utf-8")


if __name__ == "__main__":
    write()
