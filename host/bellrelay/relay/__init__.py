"""Charles: the link to the board, the log of announcements and its fan-out, health."""
