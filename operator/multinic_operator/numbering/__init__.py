"""Which node and which NIC network has which index, and so which block of addresses."""
