"""Whether a network can work: judged by its text, by its neighbours and by what is around it."""
