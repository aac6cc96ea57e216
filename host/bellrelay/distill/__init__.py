"""From announced slots to a secret key: pure functions on arrays."""
