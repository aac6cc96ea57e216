"""Alice and Bob: what they sent, blocks, the channel between them, and the key that it costs."""
