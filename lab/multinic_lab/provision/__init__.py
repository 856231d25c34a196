"""What the project needs on a machine, installed into the checkout: the virtual environment and unpacked
Debian packages.

Everything here runs with the system's python3 and its standard library, before any virtual environment
exists.
"""
