"""The unix socket: calls of the CNI executables, read, answered, and left as notes when nobody listens."""
