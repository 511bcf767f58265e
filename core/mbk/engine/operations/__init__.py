"""What a user can ask for: each operation plans, then executes its plan."""
