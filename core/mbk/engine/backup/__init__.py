"""The source's side of a backup, whatever its format: inventory, consistency point, extras."""
