"""Information reconciliation: Bob's bits become Alice's, and what that disclosed is counted.

Engines do no I/O: they turn a message of the peer into the next one (`engine.Reconciler`). Cascade
(`cascade`) for small blocks and lowest leakage, LDPC (`ldpc`) where round trips are dear.
"""
