"""The option ``--catalog``, and loading the file that it names."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import click

from slotengine.calcom.catalog import Catalog, CatalogError, load_catalog
from slotengine.cli.errors import BadInput

catalog_option: Callable[[Callable[..., None]], Callable[..., None]] = click.option(
    "--catalog",
    "catalog_path",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The catalog: a TOML or JSON file, such as examples/catalog.toml.",
)


def load(path: Path, now: datetime | None = None, keep_calendars: Path | None = None) -> Catalog:
    """Load a catalog.  Raises `BadInput` with all problems of an invalid one."""
    try:
        return load_catalog(path, now=now, keep_calendars=keep_calendars)
    except CatalogError as error:
        raise BadInput(str(error)) from None
