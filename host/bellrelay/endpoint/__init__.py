"""Alice and Bob: what they sent, the blocks, the channel between them, and the key that it costs."""
