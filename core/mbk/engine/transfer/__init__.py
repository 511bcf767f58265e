"""Moving objects between storages: the one copier, its planning, and what a storage can do."""
