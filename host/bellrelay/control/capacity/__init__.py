"""How much a network of relays carries: by events, on paper, and what to add where it ends."""
