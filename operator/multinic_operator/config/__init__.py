"""The Config object and what follows from it: the daemons' DaemonSet, made, kept and unwound."""
