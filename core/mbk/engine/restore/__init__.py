"""The target's side of a restore, whatever the backup's format: plan, checks, target, finish."""
