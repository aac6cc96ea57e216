"""`python -m bellrelay` is `bellrelay`."""

from bellrelay.cli.main import main

main()
