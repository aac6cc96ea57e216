"""Gains and error rates of weak coherent pulses that meet at a relay, in closed form."""
