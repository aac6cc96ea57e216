"""Every stage from a tag to a Bell outcome as functions on arrays, and files of recorded tags."""
