"""Gateware of the relay: the stages from a detector's click to an announced outcome."""
