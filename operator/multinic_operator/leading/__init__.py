"""One of several operators works: the leader, once it knows what the one before it wrote."""
