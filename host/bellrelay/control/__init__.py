"""What keeps a link alive: the slot clock and the senders follow the fibres and each other."""
