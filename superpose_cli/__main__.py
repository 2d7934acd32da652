"""`superpose`, and `python -m superpose_cli`."""

import sys

try:
    from superpose_cli.cli.app import main
except KeyboardInterrupt:  # Ctrl-C while the program itself is still being loaded: nothing has happened yet
    sys.exit(130)

if __name__ == "__main__":
    main()
