"""The host of an MDI-QKD relay: from the words on the link to announced Bell-state measurements."""
