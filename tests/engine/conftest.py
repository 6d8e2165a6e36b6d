"""Both stores, as URLs that a user would write."""

from __future__ import annotations

from tests.mission.conftest import database as database
