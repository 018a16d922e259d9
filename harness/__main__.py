"""`python -m benchwright`."""

from .cli import main

main()
