"""What a network's status says, and from what: outcomes, counts and the daemons' own reports."""
