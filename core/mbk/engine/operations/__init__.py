"""What a user can run: each operation plans, then executes its plan."""
