"""What every daemon has: health and metrics, word to systemd, log lines, an end on SIGTERM."""
