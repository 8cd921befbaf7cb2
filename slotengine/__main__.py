"""The entry point of the command ``slotengine``; works without its extras installed."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command ``slotengine``."""
    try:
        from slotengine.cli import cli
    except ModuleNotFoundError as missing:
        if missing.name != "click":
            raise
        _without_click(sys.argv[1:])
    else:
        cli()


def _without_click(arguments: list[str]) -> None:
    """Print the version if asked for; exit with what to install for anything else."""
    if arguments == ["--version"]:
        from slotengine import __version__

        print(f"slotengine, version {__version__}")  # noqa: T201  # as click does
        return
    sys.exit(
        "The slotengine command needs click, which is not installed; "
        "install it with: pip install 'slotengine[cli,server]'"
    )


if __name__ == "__main__":
    main()
