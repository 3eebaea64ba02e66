"""Runs inside alembic: takes the connection (and its open transaction) from :mod:`gemel.platform.store.migrate`."""

from __future__ import annotations

from alembic import context

from gemel.platform.store.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, transactional_ddl=True)
context.run_migrations()
