"""The version of the schema: `meta.version`. Rises with every migration."""

from __future__ import annotations

from typing import Final

SCHEMA_VERSION: Final = 1
