"""Objects of kinds that others define: read for main plugins, and written for the networks that want them."""
