"""One file per board, each with a ``BOARD``."""
