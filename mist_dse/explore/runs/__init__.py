"""Where designs are evaluated, by whom, and the run folder that survives whatever happens meanwhile."""
