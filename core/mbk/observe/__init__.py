"""What is counted, measured and traced of runs, for whoever shows it."""
