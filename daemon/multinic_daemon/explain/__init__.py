"""Why pods got their NICs, and what a pod would get: for people and programs, without touching anything."""
