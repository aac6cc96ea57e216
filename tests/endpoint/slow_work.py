"""Work for a cluster's workers, who import this by its name."""

import time


def slow(seconds, value):
    time.sleep(seconds)
    return value
