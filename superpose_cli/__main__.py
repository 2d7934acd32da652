"""`python -m superpose_cli` is `superpose`."""

from superpose_cli.cli.app import main

main()
