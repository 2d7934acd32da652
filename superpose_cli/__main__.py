"""`superpose`, and `python -m superpose_cli`."""

import sys


def main() -> None:
    """The console script. Ctrl-C while the program itself is still being loaded ends it without a word."""
    try:
        from superpose_cli.cli.app import main as run
    except KeyboardInterrupt:
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()
