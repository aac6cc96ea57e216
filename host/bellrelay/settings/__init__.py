"""What configuration files share: checked values, errors that name the key, the reference page."""
