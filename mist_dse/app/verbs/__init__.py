"""One file per verb: ``status(job)`` does it and returns the exit status."""
