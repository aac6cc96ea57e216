"""What is proved about the gateware: assumptions, properties and what must be reachable."""
