"""Sources, channel, interference and detectors, and the twin: a board that is not there."""
