"""The entry point of the command, which says what to install if that is missing."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command ``slotengine``."""
    try:
        from slotengine.cli import cli
    except ModuleNotFoundError as missing:
        if (missing.name or "").startswith("slotengine"):
            raise
        sys.exit(
            f"The slotengine command needs {missing.name}. "
            "Install it with: pip install 'slotengine[cli,server]'"
        )
    cli()


if __name__ == "__main__":
    main()
