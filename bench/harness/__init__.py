"""What every bench shares: reporting, timed processes, and a node with NICs in network namespaces of its own."""
