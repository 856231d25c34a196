"""What this node has given to whom: one SQLite file, its rows, and how values stand in it."""
