"""What this daemon tells the operator, and the Lease that carries it."""
