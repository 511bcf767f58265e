"""Values: names, selections, plans, events, the records of the backup format. No I/O."""
