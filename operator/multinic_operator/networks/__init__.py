"""One MultiNicNetwork: its CIDR, pools, attachment definitions and status, written and removed."""
