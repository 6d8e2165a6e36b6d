"""Alembic's folder: one revision per version of the schema."""
