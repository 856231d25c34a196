"""The host's side of the lab: a whole cluster on one machine, and the demo that shows it at work.

``scenario`` says how large it is, ``place`` chooses the kernel that carries the nodes, ``cluster`` brings API server,
operator and nodes up and takes them down, ``checks`` measures connections, ``demo`` tells the story.
"""
