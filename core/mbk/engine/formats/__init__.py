"""The formats a backup can have; each knows how collections become objects and are restored."""
