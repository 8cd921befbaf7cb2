"""The catalog that a command is given."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import click

from slotengine.calcom.catalog import Catalog, CatalogError, load_catalog
from slotengine.cli.errors import Wrong

catalog_option: Callable[[Callable[..., None]], Callable[..., None]] = click.option(
    "--catalog",
    "catalog_path",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="What to offer: a TOML or JSON file, such as examples/catalog.toml.",
)


def load(path: Path, now: datetime | None = None, keep_calendars: Path | None = None) -> Catalog:
    """Return the catalog of a file.  Raises `Wrong`, which lists all that is wrong with it."""
    try:
        return load_catalog(path, now=now, keep_calendars=keep_calendars)
    except CatalogError as error:
        raise Wrong(str(error)) from None
