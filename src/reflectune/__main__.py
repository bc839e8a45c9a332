"""`python -m reflectune`."""

from reflectune.cli import main

main()
