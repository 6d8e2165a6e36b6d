"""Python files that somebody named, as modules."""

from __future__ import annotations

from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from types import CodeType


class Source(SourceFileLoader):
    """Reads the file each time, as `python FILE` does, and leaves nothing beside it. Compiled code
    that is kept is known by second and size, so a file that is changed twice in a second (by a
    program, say) would be the one before."""

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self.get_data(self.path), self.path)


def spec_of(name: str, path: Path) -> ModuleSpec | None:
    """None: the name does not end in .py."""
    if path.suffix != ".py":
        return None
    return spec_from_file_location(name, path, loader=Source(name, str(path)))
